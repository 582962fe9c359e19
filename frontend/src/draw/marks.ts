/** What is no colour: zero, NaN, Inf, not measured. Each has a shape. */

import type { Palette } from '../scale/colour';
import { MARK_SHAPES, markShape } from '../scale/nonfinite';
import { stretches } from '../scale/reduce';
import type { Pen } from './pen';

/** Zero: docked at the bottom, below the lowest value. */
export function drawZero(
  context: Pen,
  palette: Palette,
  x: number,
  y: number,
  width: number,
  height: number,
): void {
  context.fillStyle = palette.zero;
  context.fillRect(x, y, width, height);
  context.fillStyle = palette.zeroLine;
  context.fillRect(x, y + height - 1, width, 1);
}

const CROSS = 9;

/**
 * On black in magenta, repeated over a long stretch: a cross for NaN, two rings for Inf.
 *
 * A single pixel column among thousands must still be seen, so the mark never gets
 * narrower than its shape.
 */
export function drawNonfinite(
  context: Pen,
  palette: Palette,
  x: number,
  y: number,
  width: number,
  height: number,
  mark: number,
): void {
  const shape = markShape(mark);
  const size = Math.min(CROSS, height);
  const wide = Math.max(width, size);
  const left = x - (wide - width) / 2;
  context.fillStyle = palette.nonfiniteGround;
  context.fillRect(left, y, wide, height);
  context.strokeStyle = palette.nonfinite;
  context.lineWidth = 1.5;
  context.beginPath();
  const count = Math.max(1, Math.floor(wide / (2.5 * size)));
  const arm = size / 2 - 1.5;
  for (let i = 0; i < count; i++) {
    const cx = left + (wide * (i + 0.5)) / count;
    const cy = y + height / 2;
    if (shape === 'inf' || (shape === 'both' && i % 2 === 1)) rings(context, cx, cy, arm);
    else cross(context, cx, cy, arm);
  }
  context.stroke();
}

function cross(context: Pen, x: number, y: number, arm: number): void {
  context.moveTo(x - arm, y - arm);
  context.lineTo(x + arm, y + arm);
  context.moveTo(x - arm, y + arm);
  context.lineTo(x + arm, y - arm);
}

/** The sign of infinity. */
function rings(context: Pen, x: number, y: number, arm: number): void {
  const radius = Math.max(1, 0.72 * arm);
  for (const centre of [x - radius, x + radius]) {
    context.moveTo(centre + radius, y);
    context.arc(centre, y, radius, 0, 2 * Math.PI);
  }
}

/** Every stretch of pixel columns that are marked alike. */
export function drawNonfiniteStretches(
  context: Pen,
  palette: Palette,
  marked: Uint8Array,
  x: number,
  y: number,
  height: number,
): void {
  if (!marked.some((mark) => mark > 0)) return;
  for (const shape of MARK_SHAPES) {
    const here = (i: number): boolean => {
      const mark = marked[i] ?? 0;
      return mark > 0 && markShape(mark) === shape;
    };
    for (const [from, to] of stretches(marked.length, here)) {
      drawNonfinite(context, palette, x + from, y, to - from, height, marked[from] ?? 0);
    }
  }
}

/** Not measured: hatching on the bare page, no fill. */
export function drawMissing(
  context: Pen,
  palette: Palette,
  x: number,
  y: number,
  width: number,
  height: number,
): void {
  context.strokeStyle = palette.hatch;
  context.lineWidth = 1;
  context.beginPath();
  const first = Math.floor((x - height) / 6) * 6;
  for (let at = first; at < x + width; at += 6) {
    const [from, to] = [Math.max(x, at), Math.min(x + width, at + height)];
    if (to <= from) continue;
    context.moveTo(from, y + height - (from - at));
    context.lineTo(to, y + height - (to - at));
  }
  context.stroke();
}

/** Tells runs apart where colour does not. */
export type Shape = 'dot' | 'diamond' | 'square' | 'triangle';
/** Of the runs side by side. */
export const SHAPES: readonly Shape[] = ['dot', 'diamond', 'square', 'triangle'];

/** The path of a shape around a point; to be filled or stroked. */
export function traceShape(context: Pen, shape: string, x: number, y: number, size: number): void {
  context.beginPath();
  if (shape === 'diamond') {
    context.moveTo(x, y - size - 1);
    context.lineTo(x + size + 1, y);
    context.lineTo(x, y + size + 1);
    context.lineTo(x - size - 1, y);
    context.closePath();
  } else if (shape === 'square') {
    context.rect(x - size, y - size, 2 * size, 2 * size);
  } else if (shape === 'triangle') {
    context.moveTo(x, y - size - 1);
    context.lineTo(x + size + 1, y + size);
    context.lineTo(x - size - 1, y + size);
    context.closePath();
  } else context.arc(x, y, size, 0, 2 * Math.PI);
}

/** The first step of a flag: a small flag pole on the cell's left edge. */
export function drawOnset(
  context: Pen,
  palette: Palette,
  colour: string,
  x: number,
  y: number,
  height: number,
): void {
  context.fillStyle = palette.surface;
  context.strokeStyle = palette.surface;
  context.lineWidth = 3;
  context.beginPath();
  context.moveTo(x, y + 1);
  context.lineTo(x + 8, y + 5);
  context.lineTo(x, y + 9);
  context.closePath();
  context.stroke();
  context.fillRect(x - 1.5, y, 4, height);
  context.fillStyle = colour;
  context.fill();
  context.fillRect(x - 0.5, y, 2, height);
}
