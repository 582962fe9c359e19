/**
 * Many values -> one pixel column, without losing what is faulty.
 *
 * Several steps may share a pixel, and a closed module stands for all of its variables.
 * Kept of them: the smallest and the largest value, and whether any was non-finite or not
 * measured. Never a mean, never a random pick: a mean hides the one faulty value.
 */

import type { StepAxis } from './axis';

/** Numbers in columns of frames, the rows of each column together: [columns, rows]. */
export interface Grid {
  /** How many numbers a column has. */
  readonly rows: number;
  /** First frame of each column, and one past the last: [columns + 1]. */
  readonly edges: Int32Array;
  /** Largest and smallest value of the column's frames; NaN: not measured. */
  readonly high: Float32Array;
  readonly low: Float32Array;
  /** What was not finite: see `nonfinite.ts`. */
  readonly marks: Uint8Array | null;
}

/** One value a frame, such as a series over time. */
export function seriesGrid(values: Float32Array, marks: Uint8Array | null = null): Grid {
  const edges = Int32Array.from({ length: values.length + 1 }, (_, i) => i);
  return { rows: 1, edges, high: values, low: values, marks };
}

/** Which extreme of a statistic is the faulty one: decides what a closed module shows. */
export type Worst = 'high' | 'low' | 'both';

export interface Strip {
  /** NaN where nothing was measured. */
  readonly low: Float32Array;
  readonly high: Float32Array;
  /** The marks of all values of the pixel together; 0: all were finite. */
  readonly marked: Uint8Array;
}

/**
 * One row of pixels for some variables (usually one); no variable: nothing measured.
 *
 * With `worst` "high" or "low" a group first keeps its worst variable at every step; with
 * "both" it keeps both extremes.
 */
export function reduceRow(
  grid: Grid,
  variables: readonly number[],
  axis: StepAxis,
  worst: Worst,
): Strip {
  const { width } = axis;
  const { rows, edges, marks } = grid;
  const low = new Float32Array(width).fill(Number.NaN);
  const high = new Float32Array(width).fill(Number.NaN);
  const marked = new Uint8Array(width);
  for (let column = 0; column + 1 < edges.length; column++) {
    const from = axis.start[edges[column] ?? 0] ?? width;
    const end = axis.end[(edges[column + 1] ?? 0) - 1] ?? 0;
    if (from >= end) continue;
    let least = Number.NaN;
    let most = Number.NaN;
    let mark = 0;
    for (const variable of variables) {
      const at = column * rows + variable;
      const small = grid.low[at] ?? Number.NaN;
      const large = grid.high[at] ?? Number.NaN;
      // Written so that a NaN bound is replaced and a NaN value ignored.
      if (!(least <= small) && !Number.isNaN(small)) least = small;
      if (!(most >= large) && !Number.isNaN(large)) most = large;
      if (marks) mark |= marks[at] ?? 0;
    }
    if (worst === 'high') least = most;
    if (worst === 'low') most = least;
    for (let x = from; x < end; x++) {
      if (!((low[x] ?? 0) <= least) && !Number.isNaN(least)) low[x] = least;
      if (!((high[x] ?? 0) >= most) && !Number.isNaN(most)) high[x] = most;
      if (mark > 0) marked[x] = (marked[x] ?? 0) | mark;
    }
  }
  return { low, high, marked };
}

/** Several strips as one, by their extremes: nothing faulty is lost. */
export function joinStrips(width: number, strips: readonly Strip[]): Strip {
  const [first] = strips;
  if (strips.length === 1 && first) return first;
  const low = new Float32Array(width).fill(Number.NaN);
  const high = new Float32Array(width).fill(Number.NaN);
  const marked = new Uint8Array(width);
  for (const strip of strips) {
    for (let x = 0; x < width; x++) {
      const [least, most] = [strip.low[x] ?? Number.NaN, strip.high[x] ?? Number.NaN];
      if (!((low[x] ?? 0) <= least) && !Number.isNaN(least)) low[x] = least;
      if (!((high[x] ?? 0) >= most) && !Number.isNaN(most)) high[x] = most;
      marked[x] = (marked[x] ?? 0) | (strip.marked[x] ?? 0);
    }
  }
  return { low, high, marked };
}

/** Stretches [from, to) of pixel columns for which a test holds. */
export function stretches(width: number, holds: (x: number) => boolean): [number, number][] {
  const found: [number, number][] = [];
  let from = -1;
  for (let x = 0; x <= width; x++) {
    const inside = x < width && holds(x);
    if (inside && from < 0) from = x;
    if (!inside && from >= 0) {
      found.push([from, x]);
      from = -1;
    }
  }
  return found;
}
