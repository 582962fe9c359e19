/**
 * Many values -> one pixel column, without losing what is sick.
 *
 * Several steps may share a pixel, and a closed module stands for all of its variables.
 * Kept of them: the smallest and the largest value, and whether any was non-finite or not
 * measured. Never a mean, never a random pick: a mean hides the one sick value.
 */

import type { StepAxis } from './axis';

/** A matrix [frames, variables] as the server sends it. */
export interface Grid {
  readonly values: Float32Array;
  readonly columns: number;
}

/** Which extreme of a statistic is the sick one: decides what a closed module shows. */
export type Worst = 'high' | 'low' | 'both';

export interface Strip {
  /** NaN where nothing was measured. */
  readonly low: Float32Array;
  readonly high: Float32Array;
  /** 1 where any value of the pixel is marked (a non-finite gradient). */
  readonly marked: Uint8Array;
}

/**
 * One row of pixels for some variables (usually one).
 *
 * With `worst` "high" or "low" a group first keeps its worst variable at every step; with
 * "both" it keeps both extremes.
 */
export function reduceRow(
  grid: Grid,
  marks: Grid | null,
  variables: readonly number[],
  axis: StepAxis,
  worst: Worst,
): Strip {
  const low = new Float32Array(axis.width).fill(Number.NaN);
  const high = new Float32Array(axis.width).fill(Number.NaN);
  const marked = new Uint8Array(axis.width);
  const frames = Math.min(axis.start.length, Math.floor(grid.values.length / grid.columns));
  for (let frame = 0; frame < frames; frame++) {
    let least = Number.NaN;
    let most = Number.NaN;
    let mark = false;
    for (const variable of variables) {
      const value = grid.values[frame * grid.columns + variable] ?? Number.NaN;
      // Written so that a NaN bound is replaced and a NaN value ignored.
      if (!(least <= value) && !Number.isNaN(value)) least = value;
      if (!(most >= value) && !Number.isNaN(value)) most = value;
      if (marks && (marks.values[frame * marks.columns + variable] ?? 0) > 0) mark = true;
    }
    if (worst === 'high') least = most;
    if (worst === 'low') most = least;
    const end = axis.end[frame] ?? 0;
    for (let x = axis.start[frame] ?? 0; x < end && x < axis.width; x++) {
      if (!((low[x] ?? 0) <= least) && !Number.isNaN(least)) low[x] = least;
      if (!((high[x] ?? 0) >= most) && !Number.isNaN(most)) high[x] = most;
      if (mark) marked[x] = 1;
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
