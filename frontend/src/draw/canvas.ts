/** A canvas as large as its box, sharp on any screen, redrawn at most once per animation frame. */

import { h } from '../dom';
import type { Pen } from './pen';

export interface Drawing {
  readonly element: HTMLCanvasElement;
  /** Draw soon; many calls make one drawing. */
  request(): void;
  destroy(): void;
}

export type Draw = (context: Pen, width: number, height: number) => void;

const drawings = new WeakMap<HTMLCanvasElement, Draw>();

/** What a canvas shows, drawn once more, with another pen; null for a canvas that is not ours. */
export function drawnAgain(element: HTMLCanvasElement): ((pen: Pen) => void) | null {
  const draw = drawings.get(element);
  const { clientWidth: width, clientHeight: height } = element;
  return draw
    ? (pen) => {
        draw(pen, width, height);
      }
    : null;
}

export function createDrawing(className: string, draw: Draw): Drawing {
  const element = h('canvas', { class: className });
  const context = element.getContext('2d');
  drawings.set(element, draw);
  let frame = 0;

  function redraw(): void {
    frame = 0;
    const { clientWidth: width, clientHeight: height } = element;
    // A hidden tab has no height; it asks again when it is shown.
    if (!context || width === 0 || height === 0) return;
    const ratio = window.devicePixelRatio || 1;
    const [w, t] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (element.width !== w) element.width = w;
    if (element.height !== t) element.height = t;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    draw(context, width, height);
  }

  function request(): void {
    frame ||= requestAnimationFrame(redraw);
  }

  const observer = new ResizeObserver(request);
  observer.observe(element);
  return {
    element,
    request,
    destroy() {
      observer.disconnect();
      cancelAnimationFrame(frame);
    },
  };
}
