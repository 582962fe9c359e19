/**
 * Rows of reduced values -> coloured cells.
 *
 * A cell that stands for several values is split: the largest above, the smallest below.
 * Colours go through one small image, two lines per row, that is stretched to the row
 * height; marks are drawn over it as shapes.
 */

import { isZero, type Domain } from '../scale/domain';
import { rampIndex, type Palette, type Ramp } from '../scale/colour';
import { stretches, type Strip } from '../scale/reduce';
import { drawMissing, drawNonfinite, drawZero } from './marks';

export interface Cells {
  readonly strip: Strip;
  readonly y: number;
  readonly height: number;
}

const scratch = { canvas: null as HTMLCanvasElement | null };

export function drawCells(
  context: CanvasRenderingContext2D,
  rows: readonly Cells[],
  x: number,
  width: number,
  domain: Domain,
  ramp: Ramp,
  palette: Palette,
): void {
  if (rows.length === 0 || width < 1) return;
  const canvas = (scratch.canvas ??= document.createElement('canvas'));
  canvas.width = width;
  canvas.height = 2 * rows.length;
  const image = new ImageData(width, 2 * rows.length);
  rows.forEach(({ strip }, row) => {
    paintLine(image, 2 * row, strip.high, domain, ramp);
    paintLine(image, 2 * row + 1, strip.low, domain, ramp);
  });
  canvas.getContext('2d')?.putImageData(image, 0, 0);
  context.imageSmoothingEnabled = false;
  rows.forEach(({ strip, y, height }, row) => {
    context.drawImage(canvas, 0, 2 * row, width, 2, x, y, width, height);
    drawMarks(context, strip, x, y, height, width, domain, palette);
  });
}

function paintLine(
  image: ImageData,
  line: number,
  values: Float32Array,
  domain: Domain,
  ramp: Ramp,
): void {
  for (let x = 0; x < image.width; x++) {
    const colour = rampIndex(domain, values[x] ?? Number.NaN);
    if (colour < 0) continue;
    const pixel = 4 * (line * image.width + x);
    image.data.set(ramp.subarray(3 * colour, 3 * colour + 3), pixel);
    image.data[pixel + 3] = 255;
  }
}

function drawMarks(
  context: CanvasRenderingContext2D,
  { low, high, marked }: Strip,
  x: number,
  y: number,
  height: number,
  width: number,
  domain: Domain,
  palette: Palette,
): void {
  const at = (values: Float32Array, i: number): number => values[i] ?? Number.NaN;
  for (const [from, to] of stretches(width, (i) => Number.isNaN(at(high, i)))) {
    drawMissing(context, palette, x + from, y, to - from, height);
  }
  for (const [from, to] of stretches(width, (i) => isZero(domain, at(high, i)))) {
    drawZero(context, palette, x + from, y, to - from, height);
  }
  const partly = (i: number): boolean => isZero(domain, at(low, i)) && !isZero(domain, at(high, i));
  for (const [from, to] of stretches(width, partly)) {
    drawZero(context, palette, x + from, y + height / 2, to - from, height / 2);
  }
  for (const [from, to] of stretches(width, (i) => marked[i] === 1)) {
    drawNonfinite(context, palette, x + from, y, to - from, height);
  }
}
