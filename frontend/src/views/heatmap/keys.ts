/** The keys of the heat-map: from row to row, from frame to frame, closer or further. */

import type { Row } from '../../scale/rows';
import type { Actions } from '../../store/actions';
import { shownFrame, shownFrames } from '../../store/selectors';
import { indexOfActive, type Shown } from './shown';

/** What a key brings about beside what the actions do. */
interface Hands {
  readonly choose: (row: Row) => void;
  /** Scroll a row into view. */
  readonly reveal: (row: number) => void;
  /** Say what is at the place that the keyboard has come to. */
  readonly speak: () => void;
}

/** Whether the heat-map has a use for a key; if so, it was done. */
export function createKeys(
  shown: Shown,
  actions: Actions,
  { choose, reveal, speak }: Hands,
): (key: string) => boolean {
  function handleKey(key: string): boolean {
    const index = indexOfActive(shown);
    const row = shown.rows[index];
    switch (key) {
      case 'ArrowDown':
        return moveTo(index + 1);
      case 'ArrowUp':
        return moveTo(index < 0 ? 0 : index - 1);
      case 'PageDown':
        return moveTo(index + 10);
      case 'PageUp':
        return moveTo(index - 10);
      case 'Home':
        return moveTo(0);
      case 'End':
        return moveTo(shown.rows.length - 1);
      case 'ArrowLeft':
      case 'ArrowRight':
        return moveStep(key === 'ArrowLeft' ? -1 : 1);
      case '+':
      case '-':
      case '0':
        return zoom(key);
      case 'Enter':
      case ' ':
        if (row) choose(row);
        return row !== undefined;
      case 'Escape':
        actions.selectVariable(null);
        return true;
      default:
        return false;
    }
  }

  function moveTo(wanted: number): boolean {
    const { rows, state } = shown;
    const index = Math.max(0, Math.min(rows.length - 1, wanted));
    const row = rows[index];
    if (!row) return false;
    shown.active = row.key;
    reveal(index);
    // Once the panel is open it follows; before that, moving about opens nothing.
    if (row.kind === 'variable' && state?.selectedVariable !== null)
      actions.selectVariable(row.key);
    speak();
    return true;
  }

  /** One frame on; within a zoom never out of sight. */
  function moveStep(by: number): boolean {
    const { state, sides } = shown;
    const run = sides[0]?.run;
    if (!run || !state) return false;
    const { from, to } = shownFrames(run.steps, state.stepRange);
    const frame = shownFrame(run, state.selectedStep) + by;
    actions.selectStep(run.steps[Math.max(from, Math.min(to - 1, frame))] ?? null);
    speak();
    return true;
  }

  /** Half as many frames around the chosen one, or twice as many. */
  function zoom(key: '+' | '-' | '0'): boolean {
    const { state, sides } = shown;
    const run = sides[0]?.run;
    if (!run || !state) return false;
    const { from, to } = shownFrames(run.steps, state.stepRange);
    const size = Math.max(2, Math.round((to - from) * (key === '+' ? 0.5 : 2)));
    if (key === '0' || size >= run.steps.length) {
      actions.setStepRange(null);
      return true;
    }
    const middle = shownFrame(run, state.selectedStep);
    const first = Math.max(0, Math.min(run.steps.length - size, middle - (size >> 1)));
    actions.setStepRange([run.steps[first] ?? 0, run.steps[first + size - 1] ?? 0]);
    return true;
  }

  return handleKey;
}
