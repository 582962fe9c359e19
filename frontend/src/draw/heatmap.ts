/**
 * Rows of reduced values -> coloured cells.
 *
 * A cell that stands for several values is split: the largest above, the smallest below.
 * Colours go through one small image, two lines per row, that is stretched to the row
 * height, and are one image in a vector picture too; marks are drawn over it as shapes.
 */

import { isZero, type Domain } from '../scale/domain';
import { rampIndex, type Palette, type Ramp } from '../scale/colour';
import { stretches, type Strip } from '../scale/reduce';
import { drawMissing, drawNonfiniteStretches, drawZero } from './marks';
import { drawMany, drawPixels, type Pen } from './pen';

export interface Cells {
  readonly strip: Strip;
  readonly y: number;
  readonly height: number;
}

const scratch = { canvas: null as HTMLCanvasElement | null };

export function drawCells(
  context: Pen,
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
    image.data.set(pixelsOf(strip, domain, ramp), 8 * width * row);
  });
  canvas.getContext('2d')?.putImageData(image, 0, 0);
  const top = rows[0]?.y ?? 0;
  const bottom = Math.max(...rows.map(({ y, height }) => y + height));
  const box = { x, y: top, width, height: bottom - top };
  drawPixels(context, box, (pixels) => {
    pixels.imageSmoothingEnabled = false;
    rows.forEach(({ y, height }, row) => {
      pixels.drawImage(canvas, 0, 2 * row, width, 2, x, y, width, height);
    });
  });
  drawMany(context, box, (pen) => {
    for (const { strip, y, height } of rows) {
      drawMarks(pen, strip, x, y, height, width, domain, palette);
    }
  });
}

interface Painted {
  readonly domain: Domain;
  readonly ramp: Ramp;
  readonly pixels: Uint8ClampedArray;
}

/** Scrolling shows the same rows again and again; their colours are looked up once. */
const painted = new WeakMap<Strip, Painted>();

/** The two lines of a row: its largest values, then its smallest. */
function pixelsOf(strip: Strip, domain: Domain, ramp: Ramp): Uint8ClampedArray {
  const last = painted.get(strip);
  if (last?.domain === domain && last.ramp === ramp) return last.pixels;
  const width = strip.high.length;
  const pixels = new Uint8ClampedArray(8 * width);
  for (let x = 0; x < width; x++) {
    paint(pixels, 4 * x, rampIndex(domain, strip.high[x] ?? Number.NaN), ramp);
    paint(pixels, 4 * (width + x), rampIndex(domain, strip.low[x] ?? Number.NaN), ramp);
  }
  painted.set(strip, { domain, ramp, pixels });
  return pixels;
}

function paint(pixels: Uint8ClampedArray, at: number, colour: number, ramp: Ramp): void {
  if (colour < 0) return;
  pixels[at] = ramp[3 * colour] ?? 0;
  pixels[at + 1] = ramp[3 * colour + 1] ?? 0;
  pixels[at + 2] = ramp[3 * colour + 2] ?? 0;
  pixels[at + 3] = 255;
}

function drawMarks(
  context: Pen,
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
  drawNonfiniteStretches(context, palette, marked, x, y, height);
}
