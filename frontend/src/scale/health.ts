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

/** How far values are from a range; NaN: not measured. Made once, asked for every cell. */
export function meter(
  { above, below, usual }: HealthyRange,
  share: boolean,
): (value: number) => number {
  if (below === 0) return (value) => (value > 0 ? FURTHEST : Number.isNaN(value) ? value : 0);
  if (share && below !== null) return (value) => within(value / (below / 2) - 1, 0);
  const low = above === null ? -Infinity : Math.log10(usual?.[0] ?? above * 10 ** DECADES_BEFORE);
  const high = below === null ? Infinity : Math.log10(usual?.[1] ?? below / 10 ** DECADES_BEFORE);
  const toAbove = above === null ? 1 : low - Math.log10(above);
  const toBelow = below === null ? 1 : Math.log10(below) - high;
  return (value) => {
    const size = Math.log10(value);
    if (size < low) return within((size - low) / toAbove, -FURTHEST);
    return size > high ? within((size - high) / toBelow, 0) : size - size;
  };
}

/** Up to the furthest that is drawn. */
const within = (away: number, least: number): number => Math.max(least, Math.min(FURTHEST, away));

/** What the rules say of one statistic. */
export interface Ranges {
  readonly share: boolean;
  /** The value itself. */
  readonly own: HealthyRange | null;
  /** Its factor since the start. */
  readonly since: HealthyRange | null;
  /** Its factor to that of the last layers at the same step. */
  readonly towards: HealthyRange | null;
  readonly last: readonly number[];
  /** Of each variable, whether it is a kernel. */
  readonly kernels: readonly boolean[];
}

/** What the values of one statistic are held against. */
export interface Healthy extends Ranges {
  /** What each variable had at first. */
  readonly starts: Float32Array;
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
  const { share, own, since, starts, towards, last, kernels } = healthy;
  // Of a size nothing at all is too little, whatever it is held against.
  const none = since !== null || towards !== null ? -FURTHEST : 0;
  const found = values.map((value) => (value === 0 ? none : value - value));
  const hold = (
    range: HealthyRange | null,
    shares: boolean,
    against: (row: number, column: number) => number,
  ): void => {
    if (!range) return;
    const away = meter(range, shares);
    // In the order of the memory: from row to row it would be twice as slow.
    for (let from = 0, column = 0; from < values.length; from += rows, column++) {
      for (let row = 0; row < rows; row++) {
        if (range.kernelsOnly && kernels[row] !== true) continue;
        const at = from + row;
        const distance = away((values[at] ?? Number.NaN) / against(row, column));
        if (Math.abs(distance) > Math.abs(found[at] ?? 0)) found[at] = distance;
      }
    }
  };
  hold(own, share, () => 1);
  // What began with nothing has no factor: dividing by NaN says nothing of it.
  hold(since, false, (row) => positive(starts[row]));
  const columns = towards ? Math.floor(values.length / Math.max(1, rows)) : 0;
  const ends = Array.from({ length: columns }, (_, column) => endOf(values, rows, last, column));
  hold(towards, false, (_, column) => positive(ends[column]));
  return found;
}

/** The values at which a picture of one column has a limit of the rules: the same for all of its rows. */
export function limitsAt(grid: Grid, { own, towards, last }: Ranges, column: number): number[] {
  const end = positive(endOf(grid.high, grid.rows, last, column));
  return [
    own?.above ?? Number.NaN,
    own?.below ?? Number.NaN,
    (towards?.above ?? Number.NaN) * end,
    (towards?.below ?? Number.NaN) * end,
  ].filter((limit) => limit > 0);
}

/** What the last layers have, in the middle. */
const endOf = (
  values: Float32Array,
  rows: number,
  last: readonly number[],
  column: number,
): number => middleOf(last.map((row) => values[column * rows + row] ?? Number.NaN));

const positive = (value = Number.NaN): number => (value > 0 ? value : Number.NaN);

function middleOf(values: readonly number[]): number {
  const known = values.filter((value) => value > 0).sort((a, b) => a - b);
  return known[known.length >> 1] ?? Number.NaN;
}
