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

/** A range as lines: between `low` and `high` all is healthy, beyond them the distance grows evenly. */
interface Meter {
  /** Whether it grows by decades, or by shares. */
  readonly decades: boolean;
  readonly low: number;
  readonly high: number;
  /** From there to the limit of a rule. */
  readonly toAbove: number;
  readonly toBelow: number;
}

function meterOf({ above, below, usual }: HealthyRange, share: boolean): Meter {
  if (below === 0 || (share && below !== null)) {
    // Of what nothing is allowed, anything is as far away as can be.
    const toBelow = Math.max(below / 2, Number.MIN_VALUE);
    return { decades: false, low: -Infinity, high: below / 2, toAbove: 1, toBelow };
  }
  const low = above === null ? -Infinity : Math.log10(usual?.[0] ?? above * 10 ** DECADES_BEFORE);
  const high = below === null ? Infinity : Math.log10(usual?.[1] ?? below / 10 ** DECADES_BEFORE);
  return {
    decades: true,
    low,
    high,
    toAbove: above === null ? 1 : low - Math.log10(above),
    toBelow: below === null ? 1 : Math.log10(below) - high,
  };
}

/** Up to the furthest that is drawn; NaN: not measured. */
function distance({ decades, low, high, toAbove, toBelow }: Meter, value: number): number {
  const size = decades ? Math.log10(value) : value;
  if (size < low) return Math.max(-FURTHEST, (size - low) / toAbove);
  if (size > high) return Math.min(FURTHEST, (size - high) / toBelow);
  return Number.isNaN(size) ? size : 0;
}

/** How far a value is from a range. */
export const distanceOf = (range: HealthyRange, share: boolean, value: number): number =>
  distance(meterOf(range, share), value);

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
  /** What the last layers have, in the middle, at each column. */
  readonly ends: Float32Array;
}

/**
 * How far the variables of a row are from what is healthy, as a grid of one row: the ends of their
 * distances at each column.
 *
 * Rows are asked for as they come into view: most of a large picture is never seen.
 */
export function healthOfRow(grid: Grid, members: readonly number[], healthy: Healthy): Grid {
  const columns = grid.edges.length - 1;
  const low = new Float32Array(columns);
  const high = new Float32Array(columns);
  const marks = grid.marks && new Uint8Array(columns);
  const ends = distances(grid, members, healthy);
  for (let column = 0; column < columns; column++) {
    [low[column], high[column]] = ends(column);
    if (marks) {
      marks[column] = members.reduce(
        (mark, row) => mark | (grid.marks?.[column * grid.rows + row] ?? 0),
        0,
      );
    }
  }
  return { rows: 1, edges: grid.edges, low, high, marks };
}

/** The ends of the distances of a column; of several ranges the one that is left furthest counts. */
export function distances(
  { rows, low, high }: Grid,
  members: readonly number[],
  { share, own, since, towards, starts, ends, kernels }: Healthy,
): (column: number) => readonly [low: number, high: number] {
  // Of a size nothing at all is too little, whatever it is held against.
  const none = since !== null || towards !== null ? -FURTHEST : 0;
  const weights = members.filter((row) => kernels[row]);
  const held = [
    { range: own, shares: share, references: null, reference: () => 1 },
    { range: since, shares: false, references: starts, reference: () => 1 },
    {
      range: towards,
      shares: false,
      references: null,
      reference: (column: number) => ends[column] ?? Number.NaN,
    },
  ].flatMap(({ range, shares, ...against }) =>
    range
      ? [{ ...against, meter: meterOf(range, shares), of: range.kernelsOnly ? weights : members }]
      : [],
  );
  return (column) => {
    const from = column * rows;
    const [least, most] = extremes(low, high, from, members, null);
    if (Number.isNaN(most)) return [Number.NaN, Number.NaN];
    let [below, above] = [least === 0 ? none : 0, most === 0 ? none : 0];
    for (const { meter, of, references, reference } of held) {
      // Distances rise with values: the ends of these are the ends of those.
      const [small, large] = extremes(low, high, from, of, references);
      below = further(below, distance(meter, small / reference(column)));
      above = further(above, distance(meter, large / reference(column)));
    }
    return [Math.min(below, above), Math.max(below, above)];
  };
}

/** Smallest and largest value of a column, each against its variable's reference; NaN: none. */
function extremes(
  low: Float32Array,
  high: Float32Array,
  from: number,
  members: readonly number[],
  references: Float32Array | null,
): readonly [number, number] {
  let [least, most] = [Number.NaN, Number.NaN];
  for (const row of members) {
    const reference = references ? (references[row] ?? Number.NaN) : 1;
    // What began with nothing has no factor.
    if (!(reference > 0)) continue;
    const small = (low[from + row] ?? Number.NaN) / reference;
    const large = (high[from + row] ?? Number.NaN) / reference;
    if (!(least <= small) && !Number.isNaN(small)) least = small;
    if (!(most >= large) && !Number.isNaN(large)) most = large;
  }
  return [least, most];
}

const further = (a: number, b: number): number => (Math.abs(b) > Math.abs(a) ? b : a);

/** The values at which a picture of one column has a limit of the rules: the same for all of its rows. */
export function limitsAt(grid: Grid, { own, towards, last }: Ranges, column: number): number[] {
  const end = endOf(grid, last, column);
  return [
    own?.above ?? Number.NaN,
    own?.below ?? Number.NaN,
    (towards?.above ?? Number.NaN) * end,
    (towards?.below ?? Number.NaN) * end,
  ].filter((limit) => limit > 0);
}

/** What the last layers have at a column, in the middle; NaN: nothing above zero. */
export function endOf({ high, rows }: Grid, last: readonly number[], column: number): number {
  const values = last.map((row) => high[column * rows + row] ?? Number.NaN);
  const known = values.filter((value) => value > 0).sort((a, b) => a - b);
  return known[known.length >> 1] ?? Number.NaN;
}
