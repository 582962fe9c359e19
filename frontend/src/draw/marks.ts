/** The three things that are no colour: zero, non-finite, not measured. Each has a shape. */

import type { Palette } from '../scale/colour';

type Context = CanvasRenderingContext2D;

/** Zero: docked at the bottom, below the lowest value. */
export function drawZero(
  context: Context,
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
 * NaN or Inf: a magenta cross on black, repeated over a long stretch.
 *
 * A single pixel column among thousands must still be seen, so the mark never gets
 * narrower than its cross.
 */
export function drawNonfinite(
  context: Context,
  palette: Palette,
  x: number,
  y: number,
  width: number,
  height: number,
): void {
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
    context.moveTo(cx - arm, cy - arm);
    context.lineTo(cx + arm, cy + arm);
    context.moveTo(cx - arm, cy + arm);
    context.lineTo(cx + arm, cy - arm);
  }
  context.stroke();
}

/** Not measured: hatching on the bare page, no fill. */
export function drawMissing(
  context: Context,
  palette: Palette,
  x: number,
  y: number,
  width: number,
  height: number,
): void {
  context.save();
  context.beginPath();
  context.rect(x, y, width, height);
  context.clip();
  context.strokeStyle = palette.hatch;
  context.lineWidth = 1;
  context.beginPath();
  const first = Math.floor((x - height) / 6) * 6;
  for (let at = first; at < x + width; at += 6) {
    context.moveTo(at, y + height);
    context.lineTo(at + height, y);
  }
  context.stroke();
  context.restore();
}

/** The first step of a flag: a small flag pole on the cell's left edge. */
export function drawOnset(
  context: Context,
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
