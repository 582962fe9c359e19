/** Whether the run still grows: "live · step 312 · 4 s ago", or since when it does not. */

import { h } from '../dom';
import { pulseOf } from '../store/pulse';
import type { State } from '../store/state';
import type { View } from './view';

const TITLE = 'Age of the newest frame. The tab reads what is new by itself.';

/** Its text changes every second: nothing for a screen reader to announce. */
export function createLive(): { readonly element: HTMLElement; readonly view: View } {
  const element = h('p', { class: 'live', title: TITLE, hidden: true });
  let shown: State | null = null;
  const draw = (): void => {
    const pulse = shown && pulseOf(shown, Date.now());
    element.hidden = pulse === null;
    if (!pulse || element.textContent === pulse.text) return;
    element.dataset.live = pulse.kind;
    element.textContent = pulse.text;
  };
  const timer = setInterval(draw, 1000);
  return {
    element,
    view: {
      update(state) {
        shown = state;
        draw();
      },
      destroy() {
        clearInterval(timer);
        element.remove();
      },
    },
  };
}
