/** Histograms in two forms: all of them over steps as a heat-map, one of them as bars. */

import { stepX, type StepAxis } from '../scale/axis';
import type { Palette } from '../scale/colour';
import {
  nonfiniteShare,
  signedShares,
  type Histogram,
  type HistogramFrame,
} from '../scale/histogram';
import { stretches } from '../scale/reduce';
import { drawMissing, drawNonfinite } from './marks';

const NONFINITE_BAND = 11;

/** Powers of ten among octaves, for labels: exponent of two -> text. */
function decades(first: number, last: number, most: number): { octave: number; label: string }[] {
  const low = Math.ceil((first + 0.5) * Math.LOG10E * Math.LN2);
  const high = Math.floor((last + 0.5) * Math.LOG10E * Math.LN2);
  const stride = Math.max(1, Math.ceil((high - low + 1) / most));
  const found = [];
  for (let ten = high; ten >= low; ten -= stride) {
    found.push({ octave: ten * Math.log2(10), label: `1e${ten}` });
  }
  return found;
}

/** Frequent and rare bins both show: ink follows the square root of the share. */
const ink = (share: number): number => 0.12 + 0.88 * Math.sqrt(Math.min(1, 3 * share));

export function drawHistogramMap(
  context: CanvasRenderingContext2D,
  histogram: Histogram,
  histogramSteps: readonly number[],
  axis: StepAxis,
  x: number,
  height: number,
  palette: Palette,
): void {
  const octaves = histogram.last - histogram.first + 1;
  const bins = 2 * octaves + 1;
  const top = NONFINITE_BAND + 2;
  // Zero is one bin among fifty; it is drawn three times as thick to be seen.
  const unit = (height - top - 4) / (bins + 2);
  const yOf = (bin: number): number => height - 4 - unit * (bin <= octaves ? bin : bin + 2);
  const columns = histogram.frames.map((frame, i) => {
    const step = histogramSteps[i] ?? 0;
    const next = histogramSteps[i + 1];
    const from = Math.round(stepX(axis, step));
    const to = next === undefined ? axis.width : Math.round(stepX(axis, next));
    return { frame, from, to: Math.max(from + 1, to) };
  });
  const marked = new Uint8Array(axis.width);
  const begin = columns[0]?.from ?? axis.width;
  if (begin > 0) drawMissing(context, palette, x, top, begin, height - top - 4);
  for (const { frame, from, to } of columns) {
    if (!frame) {
      drawMissing(context, palette, x + from, top, to - from, height - top - 4);
      continue;
    }
    context.fillStyle = palette.first;
    signedShares(frame).forEach((share, bin) => {
      if (share === 0) return;
      context.globalAlpha = ink(share);
      const [y0, y1] = [yOf(bin + 1), yOf(bin)];
      context.fillRect(x + from, y0, to - from, y1 - y0);
    });
    context.globalAlpha = 1;
    if (nonfiniteShare(frame) > 0) marked.fill(1, from, to);
  }
  for (const [from, to] of stretches(axis.width, (i) => marked[i] === 1)) {
    drawNonfinite(context, palette, x + from, 0, to - from, NONFINITE_BAND);
  }
  context.fillStyle = palette.quiet;
  context.textAlign = 'right';
  context.textBaseline = 'middle';
  const labels = Math.max(1, Math.floor((octaves * unit) / 16));
  for (const { octave, label } of decades(histogram.first, histogram.last, labels)) {
    const place = octave - histogram.first;
    if (unit * (place + 1.5) < 12) continue; // would touch the label of zero
    context.fillText(label, x - 6, yOf(octaves + 1) - unit * place);
    context.fillText(`−${label}`, x - 6, yOf(octaves) + unit * place);
  }
  context.fillText('0', x - 6, (yOf(octaves) + yOf(octaves + 1)) / 2);
}

export function drawHistogramBars(
  context: CanvasRenderingContext2D,
  histogram: Histogram,
  frame: HistogramFrame,
  width: number,
  height: number,
  palette: Palette,
): void {
  const shares = signedShares(frame);
  const nonfinite = nonfiniteShare(frame);
  const octaves = histogram.last - histogram.first + 1;
  const zeroWidth = 10;
  const right = nonfinite > 0 ? 26 : 0;
  const unit = (width - zeroWidth - 8 - right) / (2 * octaves);
  const floor = height - 18;
  const most = Math.max(nonfinite, ...shares);
  const tall = (share: number): number => (most > 0 ? (share / most) * (floor - 4) : 0);
  const xOf = (bin: number): number =>
    bin <= octaves ? bin * unit : bin * unit - unit + zeroWidth + 8;
  context.strokeStyle = palette.line;
  context.beginPath();
  context.moveTo(0, floor + 0.5);
  context.lineTo(width, floor + 0.5);
  context.stroke();
  shares.forEach((share, bin) => {
    if (share === 0) return;
    const zero = bin === octaves;
    context.fillStyle = zero ? palette.zeroLine : palette.first;
    const left = zero ? octaves * unit + 4 : xOf(bin);
    const size = Math.max(1, tall(share));
    context.fillRect(left, floor - size, zero ? zeroWidth : Math.max(1, unit - 0.5), size);
  });
  if (nonfinite > 0) {
    const size = Math.max(11, tall(nonfinite));
    drawNonfinite(context, palette, width - 16, floor - size, 12, size);
  }
  context.fillStyle = palette.quiet;
  context.textBaseline = 'top';
  context.textAlign = 'center';
  context.fillText('0', octaves * unit + 4 + zeroWidth / 2, floor + 4);
  const labels = Math.max(1, Math.floor((octaves * unit) / 40));
  for (const { octave, label } of decades(histogram.first, histogram.last, labels)) {
    const place = (octave - histogram.first) * unit;
    if (place < 24 || place > octaves * unit - 10) continue;
    context.fillText(label, octaves * unit + zeroWidth + 8 + place, floor + 4);
    context.fillText(`−${label}`, octaves * unit - place, floor + 4);
  }
}
