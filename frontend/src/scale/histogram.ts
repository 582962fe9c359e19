/**
 * The fixed signed log2 bins of a histogram, as something to draw. Pure.
 *
 * On disk: zero, NaN, +Inf, -Inf, positive octaves, negative octaves. To look at: from the
 * most negative over zero to the most positive, cropped to the octaves that occur, with
 * the non-finite ones apart.
 */

import type { HistogramBins } from '../api/types';
import { INF, NAN, NONFINITE } from './nonfinite';

const ZERO = 0;
const NAN_BIN = 1;
const POSITIVE_INF = 2;
const NEGATIVE_INF = 3;
const POSITIVE = 4;

export interface Histogram {
  /** Lowest and highest exponent that occur in any of the frames. */
  readonly first: number;
  readonly last: number;
  /** Null: this variable had no histogram then. */
  readonly frames: readonly (HistogramFrame | null)[];
}

export interface HistogramFrame {
  /** Shares of all elements, by exponent from `first` to `last`. */
  readonly positive: readonly number[];
  readonly negative: readonly number[];
  readonly zero: number;
  readonly nan: number;
  readonly positiveInf: number;
  readonly negativeInf: number;
  /** Elements counted; a large variable is sampled. */
  readonly total: number;
}

const FEWEST_OCTAVES = 8;

export function readHistogram(counts: Float32Array, bins: HistogramBins): Histogram {
  const [histogram] = readHistograms([counts], bins);
  if (!histogram) throw new Error('one in, one out');
  return histogram;
}

/** Histograms to be laid over each other: cropped alike. */
export function readHistograms(all: readonly Float32Array[], bins: HistogramBins): Histogram[] {
  const size = POSITIVE + 2 * bins.octaves;
  let first = Infinity;
  let last = -Infinity;
  for (const counts of all) {
    for (let frame = 0; frame < Math.floor(counts.length / size); frame++) {
      for (let octave = 0; octave < bins.octaves; octave++) {
        const at = frame * size + POSITIVE + octave;
        if (!((counts[at] ?? 0) + (counts[at + bins.octaves] ?? 0) > 0)) continue;
        first = Math.min(first, octave);
        last = Math.max(last, octave);
      }
    }
  }
  if (last < first) [first, last] = [-bins.lowestExponent - 10, -bins.lowestExponent];
  for (let below = true; last - first + 1 < FEWEST_OCTAVES; below = !below) {
    if (below && first > 0) first -= 1;
    else last += 1;
  }
  return all.map((counts) => ({
    first: first + bins.lowestExponent,
    last: last + bins.lowestExponent,
    frames: Array.from({ length: Math.floor(counts.length / size) }, (_, i) =>
      readFrame(counts.subarray(i * size, (i + 1) * size), bins.octaves, first, last),
    ),
  }));
}

/** The histogram in force at a step: the last one taken at or before it; -1 if there is none. */
export const histogramAt = (taken: readonly number[], step: number): number =>
  taken.findLastIndex((at) => at <= step);

/**
 * At most `most` of the histograms taken from one step to another, evenly chosen; the first and
 * the last are always among them.
 */
export function pickHistograms(
  taken: readonly number[],
  from: number,
  to: number,
  most: number,
): number[] {
  const inside = taken.flatMap((step, i) => (step >= from && step <= to ? [i] : []));
  const count = Math.min(Math.max(2, most), inside.length);
  if (count <= 1) return inside;
  return Array.from(
    { length: count },
    (_, i) => inside[Math.round((i * (inside.length - 1)) / (count - 1))] ?? 0,
  );
}

function readFrame(
  counts: Float32Array,
  octaves: number,
  first: number,
  last: number,
): HistogramFrame | null {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (Number.isNaN(total)) return null;
  const share = (bin: number): number => (total > 0 ? (counts[bin] ?? 0) / total : 0);
  const octave = (from: number) =>
    Array.from({ length: last - first + 1 }, (_, i) => share(from + first + i));
  return {
    positive: octave(POSITIVE),
    negative: octave(POSITIVE + octaves),
    zero: share(ZERO),
    nan: share(NAN_BIN),
    positiveInf: share(POSITIVE_INF),
    negativeInf: share(NEGATIVE_INF),
    total,
  };
}

/** Shares from the most negative magnitude over zero to the most positive one. */
export function signedShares(frame: HistogramFrame): number[] {
  return [...frame.negative].reverse().concat(frame.zero, frame.positive);
}

/** The same as a mark; 0: all were finite. */
export function nonfiniteMark({ nan, positiveInf, negativeInf }: HistogramFrame): number {
  const inf = positiveInf + negativeInf;
  return (nan + inf > 0 ? NONFINITE : 0) | (nan > 0 ? NAN : 0) | (inf > 0 ? INF : 0);
}

export const nonfiniteShare = (frame: HistogramFrame): number =>
  frame.nan + frame.positiveInf + frame.negativeInf;
