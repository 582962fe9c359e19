/**
 * Values as their distance from what the rules call healthy. Pure.
 *
 * 0 is healthy, 1 the limit of a rule: too much is positive, too little negative. Beyond a limit the
 * distance grows on, by decades or by shares.
 */

import type { HealthyRange } from '../api/types';
import type { Domain } from './domain';
import type { Grid } from './reduce';

/** What the picture has room for on either side. */
const FURTHEST = 2;
/** Of a size without a usual range: so many decades before a limit it becomes worth a look. */
const DECADES_BEFORE = 1;

export const HEALTH: Domain = { kind: 'health', low: -FURTHEST, high: FURTHEST };

/** How far a value is from a range; NaN: not measured. */
export function distance(
  { above, below, usual }: HealthyRange,
  value: number,
  share: boolean,
): number {
  if (Number.isNaN(value)) return value;
  if (below === 0) return value > 0 ? FURTHEST : 0;
  if (share) return below === null ? 0 : clamp((value - below / 2) / (below / 2), 0);
  if (above !== null) {
    const edge = usual?.[0] ?? above * 10 ** DECADES_BEFORE;
    const short = Math.log10(edge / value) / Math.log10(edge / above);
    if (short > 0) return -clamp(short, 0);
  }
  if (below !== null) {
    const edge = usual?.[1] ?? below / 10 ** DECADES_BEFORE;
    const over = Math.log10(value / edge) / Math.log10(below / edge);
    if (over > 0) return clamp(over, 0);
  }
  return 0;
}

const clamp = (value: number, least: number): number => Math.min(FURTHEST, Math.max(least, value));

/** What the values of one statistic are held against. */
export interface Healthy {
  readonly share: boolean;
  /** The value itself. */
  readonly own: HealthyRange | null;
  /** Its factor since the start, of which `starts` has the values. */
  readonly since: HealthyRange | null;
  readonly starts: Float32Array;
  /** Its factor to that of the last layers at the same step. */
  readonly towards: HealthyRange | null;
  readonly last: readonly number[];
  /** Of each variable, whether it is a kernel. */
  readonly kernels: readonly boolean[];
}

/** The distance of every value; of several ranges the one that is left furthest. */
export function healthGrid(grid: Grid, healthy: Healthy): Grid {
  const high = distances(grid, grid.high, healthy);
  if (grid.high === grid.low) return { ...grid, high, low: high };
  const low = distances(grid, grid.low, healthy);
  return { ...grid, high, low };
}

function distances(grid: Grid, values: Float32Array, healthy: Healthy): Float32Array {
  const { rows } = grid;
  const found = new Float32Array(values.length);
  const { share, own, since, starts, towards, last, kernels } = healthy;
  for (let from = 0; from < values.length; from += rows) {
    const reference = towards ? middleOf(last.map((row) => values[from + row] ?? Number.NaN)) : 0;
    for (let row = 0; row < rows; row++) {
      const value = values[from + row] ?? Number.NaN;
      const applies = (range: HealthyRange): boolean => !range.kernelsOnly || kernels[row] === true;
      // Of a size nothing at all is too little, whatever it is held against.
      const none = value === 0 && (since !== null || towards !== null);
      let worst = Number.isNaN(value) ? Number.NaN : none ? -FURTHEST : 0;
      const look = (range: HealthyRange | null, of: number, shares: boolean): void => {
        if (!range || !applies(range) || Number.isNaN(of)) return;
        const away = distance(range, of, shares);
        if (Math.abs(away) > Math.abs(worst)) worst = away;
      };
      look(own, value, share);
      const start = starts[row] ?? Number.NaN;
      look(since, start > 0 ? value / start : Number.NaN, false);
      look(towards, reference > 0 ? value / reference : Number.NaN, false);
      found[from + row] = worst;
    }
  }
  return found;
}

function middleOf(values: readonly number[]): number {
  const known = values.filter((value) => value > 0).sort((a, b) => a - b);
  return known[known.length >> 1] ?? Number.NaN;
}
