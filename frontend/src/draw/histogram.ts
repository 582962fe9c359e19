/** Histograms in two forms: all of them over steps as a heat-map, one of them as bars. */

import { stepX, type StepAxis } from '../scale/axis';
import type { Palette } from '../scale/colour';
import {
  nonfiniteMark,
  nonfiniteShare,
  signedShares,
  type Histogram,
  type HistogramFrame,
} from '../scale/histogram';
import { drawMissing, drawNonfinite, drawNonfiniteStretches } from './marks';
import { drawMany, type Pen } from './pen';

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
  context: Pen,
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
    const from = Math.max(0, Math.round(stepX(axis, step)));
    const to = next === undefined ? axis.width : Math.round(stepX(axis, next));
    const seen = to > 0 && from < axis.width;
    return { frame, from, to: seen ? Math.min(axis.width, Math.max(from + 1, to)) : from };
  });
  const marked = new Uint8Array(axis.width);
  const begin = columns[0]?.from ?? axis.width;
  if (begin > 0) drawMissing(context, palette, x, top, begin, height - top - 4);
  drawMany(context, { x, y: top, width: axis.width, height: height - top }, (pen) => {
    for (const { frame, from, to } of columns) {
      if (to <= from) continue;
      if (!frame) {
        drawMissing(pen, palette, x + from, top, to - from, height - top - 4);
        continue;
      }
      pen.fillStyle = palette.first;
      signedShares(frame).forEach((share, bin) => {
        if (share === 0) return;
        pen.globalAlpha = ink(share);
        const [y0, y1] = [yOf(bin + 1), yOf(bin)];
        pen.fillRect(x + from, y0, to - from, y1 - y0);
      });
      pen.globalAlpha = 1;
      marked.fill(nonfiniteMark(frame), from, to);
    }
  });
  drawNonfiniteStretches(context, palette, marked, x, 0, NONFINITE_BAND);
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

/** Where the bins lie beside each other: negative, zero with room around it, positive. */
export interface BinScale {
  readonly octaves: number;
  readonly unit: number;
  /** Left edge of a bin of `signedShares`. */
  readonly left: (bin: number) => number;
  readonly width: (bin: number) => number;
}

const ZERO_WIDTH = 10;
const ZERO_ROOM = 4;

export function binScale({ first, last }: Histogram, width: number): BinScale {
  const octaves = last - first + 1;
  const unit = (width - ZERO_WIDTH - 2 * ZERO_ROOM) / (2 * octaves);
  return {
    octaves,
    unit,
    left: (bin) =>
      bin < octaves
        ? bin * unit
        : bin === octaves
          ? octaves * unit + ZERO_ROOM
          : (bin - 1) * unit + ZERO_WIDTH + 2 * ZERO_ROOM,
    width: (bin) => (bin === octaves ? ZERO_WIDTH : unit),
  };
}

/** Powers of ten below the bins. */
export function drawBinLabels(
  context: Pen,
  { first, last }: Histogram,
  { octaves, unit, left }: BinScale,
  y: number,
  palette: Palette,
): void {
  context.fillStyle = palette.quiet;
  context.textBaseline = 'top';
  context.textAlign = 'center';
  context.fillText('0', left(octaves) + ZERO_WIDTH / 2, y);
  const labels = Math.max(1, Math.floor((octaves * unit) / 54));
  for (const { octave, label } of decades(first, last, labels)) {
    const place = (octave - first) * unit;
    if (place < 24 || place > octaves * unit - 10) continue;
    context.fillText(label, left(octaves + 1) + place, y);
    context.fillText(`−${label}`, octaves * unit - place, y);
  }
}

/** A histogram laid over another one: an outline. */
export interface Overlay {
  readonly frame: HistogramFrame;
  readonly colour: string;
  readonly dashed: boolean;
}

export function drawHistogramBars(
  context: Pen,
  histogram: Histogram,
  frame: HistogramFrame,
  overlays: readonly Overlay[],
  width: number,
  height: number,
  palette: Palette,
): void {
  const shares = signedShares(frame);
  const nonfinite = nonfiniteShare(frame);
  const others = overlays.map((overlay) => signedShares(overlay.frame));
  const right = nonfinite > 0 ? 26 : 0;
  const bins = binScale(histogram, width - right);
  const floor = height - 18;
  const most = Math.max(nonfinite, ...shares, ...others.flat());
  const tall = (share: number): number => (most > 0 ? (share / most) * (floor - 4) : 0);
  context.lineWidth = 1;
  context.strokeStyle = palette.line;
  context.beginPath();
  context.moveTo(0, floor + 0.5);
  context.lineTo(width, floor + 0.5);
  context.stroke();
  shares.forEach((share, bin) => {
    if (share === 0) return;
    context.fillStyle = bin === bins.octaves ? palette.zeroLine : palette.first;
    const size = Math.max(1, tall(share));
    const wide = Math.max(1, bins.width(bin) - (bin === bins.octaves ? 0 : 0.5));
    context.fillRect(bins.left(bin), floor - size, wide, size);
  });
  overlays.forEach(({ colour, dashed }, i) => {
    context.strokeStyle = colour;
    context.lineWidth = 1.5;
    context.setLineDash(dashed ? [3, 2] : []);
    outline(context, others[i] ?? [], bins, (share) => floor - tall(share));
    context.setLineDash([]);
  });
  if (nonfinite > 0) {
    const size = Math.max(11, tall(nonfinite));
    drawNonfinite(context, palette, width - 16, floor - size, 12, size, nonfiniteMark(frame));
  }
  drawBinLabels(context, histogram, bins, floor + 4, palette);
}

/** Steps along the tops of the bins, with a gap around zero. */
function outline(
  context: Pen,
  shares: readonly number[],
  bins: BinScale,
  y: (share: number) => number,
): void {
  context.beginPath();
  shares.forEach((share, bin) => {
    const [left, right] = [bins.left(bin), bins.left(bin) + bins.width(bin)];
    if (bin === 0 || bin === bins.octaves || bin === bins.octaves + 1) {
      context.moveTo(left, y(0));
    }
    context.lineTo(left, y(share));
    context.lineTo(right, y(share));
    if (bin === bins.octaves || bin === bins.octaves - 1) context.lineTo(right, y(0));
  });
  context.stroke();
}

/** One line of the ridge-line form. */
export interface Ridge {
  readonly frame: HistogramFrame | null;
  /** The same step of the other runs. */
  readonly others: readonly { readonly frame: HistogramFrame; readonly colour: string }[];
  readonly label: string;
  readonly chosen: 'first' | 'second' | null;
}

const RIDGE_LABELS = 20;
const RIDGE_NONFINITE = 20;

/** Base line of each ridge, the earliest at the top: later ones stand in front. */
export function ridgeBase(index: number, count: number, height: number): number {
  const top = 40;
  return top + ((height - RIDGE_LABELS - top) * (index + 1)) / Math.max(1, count);
}

/** Distributions over steps, one behind the other; one height scale for all. */
export function drawRidges(
  context: Pen,
  histogram: Histogram,
  ridges: readonly Ridge[],
  width: number,
  height: number,
  palette: Palette,
): void {
  const bins = binScale(histogram, width - RIDGE_NONFINITE);
  const most = Math.max(
    1e-9,
    ...ridges.flatMap(({ frame, others }) =>
      [frame, ...others.map((other) => other.frame)].flatMap((one) =>
        one ? [...one.positive, ...one.negative] : [],
      ),
    ),
  );
  const between = ridgeBase(1, ridges.length, height) - ridgeBase(0, ridges.length, height);
  const tall = Math.max(14, Math.min(60, 2.6 * between));
  ridges.forEach((ridge, i) => {
    drawRidge(
      context,
      ridge,
      bins,
      ridgeBase(i, ridges.length, height),
      tall,
      most,
      width,
      palette,
    );
  });
  drawBinLabels(context, histogram, bins, height - RIDGE_LABELS + 6, palette);
}

function drawRidge(
  context: Pen,
  { frame, others, label, chosen }: Ridge,
  bins: BinScale,
  base: number,
  tall: number,
  most: number,
  width: number,
  palette: Palette,
): void {
  const y = (share: number): number => base - tall * Math.min(1, share / most);
  context.textAlign = 'right';
  context.textBaseline = 'alphabetic';
  context.fillStyle = chosen ? palette.text : palette.quiet;
  context.fillText(chosen === 'first' ? `▸ ${label}` : chosen ? `▹ ${label}` : label, -6, base + 3);
  if (frame) {
    const shares = signedShares(frame);
    context.fillStyle = palette.surface;
    context.strokeStyle = chosen ? palette.text : palette.first;
    context.lineWidth = chosen ? 2 : 1;
    context.setLineDash(chosen === 'second' ? [4, 2] : []);
    for (const [from, to] of [
      [0, bins.octaves],
      [bins.octaves + 1, shares.length],
    ] as const) {
      context.beginPath();
      context.moveTo(bins.left(from), base);
      for (let bin = from; bin < to; bin++) {
        context.lineTo(bins.left(bin) + bins.width(bin) / 2, y(shares[bin] ?? 0));
      }
      context.lineTo(bins.left(to - 1) + bins.width(to - 1), base);
      context.globalAlpha = 0.85;
      context.fill();
      context.globalAlpha = 1;
      context.stroke();
    }
    context.setLineDash([]);
    if (frame.zero > 0) {
      // All zeros are as tall as the room above: a share, not to the scale of the bins.
      const size = Math.max(1.5, (tall / 2) * Math.sqrt(frame.zero));
      context.fillStyle = palette.zeroLine;
      context.fillRect(bins.left(bins.octaves), base - size, ZERO_WIDTH, size);
    }
    const mark = nonfiniteMark(frame);
    if (mark > 0) {
      drawNonfinite(context, palette, width - RIDGE_NONFINITE + 6, base - 10, 10, 10, mark);
    }
  }
  for (const other of others) {
    const shares = signedShares(other.frame);
    context.strokeStyle = other.colour;
    context.lineWidth = 1.2;
    context.setLineDash([3, 2]);
    context.beginPath();
    shares.forEach((share, bin) => {
      if (bin === bins.octaves) return;
      const x = bins.left(bin) + bins.width(bin) / 2;
      if (bin === 0 || bin === bins.octaves + 1) context.moveTo(x, y(share));
      else context.lineTo(x, y(share));
    });
    context.stroke();
    context.setLineDash([]);
  }
}
