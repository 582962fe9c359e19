/** A canvas as large as its box, sharp on any screen, redrawn at most once per animation frame. */

import { h } from '../dom';

export interface Drawing {
  readonly element: HTMLCanvasElement;
  /** Draw soon; many calls make one drawing. */
  request(): void;
  destroy(): void;
}

export type Draw = (context: CanvasRenderingContext2D, width: number, height: number) => void;

export function createDrawing(className: string, draw: Draw): Drawing {
  const element = h('canvas', { class: className });
  const context = element.getContext('2d');
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
