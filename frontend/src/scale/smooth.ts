/** A line without its noise, as TensorBoard's Time Series smooths it. Pure. */

import type { Grid } from './reduce';

/** More would leave nothing of the line but its mean. */
export const MOST_SMOOTHING = 0.99;

/**
 * Exponential moving average of a series, without the bias towards zero of its first values.
 *
 * `weight` is that of all values before, from 0 to `MOST_SMOOTHING`. What is not finite is left out:
 * a gap stays a gap, and the average goes on behind it. A column of several steps counts once, as the
 * middle of its range.
 */
export function smoothed(grid: Grid, weight: number): Grid {
  let [sum, share] = [0, 0];
  const values = grid.high.map((high, i) => {
    const value = (high + (grid.low[i] ?? high)) / 2;
    if (!Number.isFinite(value)) return Number.NaN;
    sum = weight * sum + (1 - weight) * value;
    share = weight * share + (1 - weight);
    return sum / share;
  });
  return { ...grid, high: values, low: values, marks: null };
}
