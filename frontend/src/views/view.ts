/** What every view is: made once in a parent, given each new state, taken away again. */

import type { State } from '../store/state';

export interface View {
  update(state: State): void;
  destroy(): void;
}
