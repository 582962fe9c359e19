/**
 * Choosing by pointer on a picture over steps: press for one step, drag for a range of them,
 * press twice for all.
 */

import { h } from '../dom';
import { frameAtX, type StepAxis } from '../scale/axis';
import type { Actions } from '../store/actions';

/** A press that moves less is a click with an unsteady hand. */
const LEAST_PIXELS = 5;

interface Options {
  /** The axis in the element's own pixels, from `left` on; null: nothing is drawn yet. */
  readonly axis: () => StepAxis | null;
  readonly left: number;
  readonly press: (event: PointerEvent) => void;
}

/** Returns whether a range is being dragged: then no tooltip should be in the way. */
export function attachBrush(
  element: HTMLElement,
  actions: Pick<Actions, 'setStepRange'>,
  { axis, left, press }: Options,
): () => boolean {
  const band = h('div', { class: 'brush', hidden: true });
  let from: number | null = null;

  const place = (event: PointerEvent): number => {
    const x = event.clientX - element.getBoundingClientRect().left - left;
    return Math.max(0, Math.min((axis()?.width ?? 1) - 1, x));
  };
  const stop = (): void => {
    from = null;
    band.remove();
    band.hidden = true;
  };
  const stepAt = (scale: StepAxis, x: number): number =>
    scale.steps[frameAtX(scale, Math.floor(x))] ?? 0;

  element.addEventListener('pointerdown', (event) => {
    if (event.button !== 0 || !axis()) return;
    element.setPointerCapture(event.pointerId);
    from = place(event);
  });
  element.addEventListener('pointermove', (event) => {
    if (from === null) return;
    const to = place(event);
    if (band.hidden && Math.abs(to - from) < LEAST_PIXELS) return;
    const box = element.getBoundingClientRect();
    if (band.hidden) {
      band.hidden = false;
      document.body.append(band);
    }
    band.style.left = `${box.left + left + Math.min(from, to)}px`;
    band.style.width = `${Math.abs(to - from)}px`;
    band.style.top = `${box.top}px`;
    band.style.height = `${box.height}px`;
  });
  element.addEventListener('pointerup', (event) => {
    const scale = axis();
    if (from === null || !scale) return;
    const [begin, end] = [from, place(event)];
    const dragged = !band.hidden;
    stop();
    if (!dragged) {
      press(event);
      return;
    }
    const range = [
      stepAt(scale, Math.min(begin, end)),
      stepAt(scale, Math.max(begin, end)),
    ] as const;
    if (range[1] > range[0]) actions.setStepRange(range);
  });
  element.addEventListener('pointercancel', stop);
  element.addEventListener('dblclick', () => {
    actions.setStepRange(null);
  });
  return () => !band.hidden;
}
