/**
 * Values as a change: against a variable's own start, or against another run. Pure.
 *
 * Sizes (norms, ratios, counts) are related by division: 1 is "the same", and zero stays zero.
 * Shares are related by subtraction, in points: from 1 % to 2 % is not "twice as bad".
 */

import type { Column } from '../api/types';
import type { Domain } from './domain';
import type { Grid, Strip } from './reduce';

export type Relation = 'ratio' | 'change';

export const relationOf = (column: Column): Relation =>
  column.unit === 'share' ? 'change' : 'ratio';

/** What is drawn where nothing has changed. */
export const sameOf = (relation: Relation): number => (relation === 'ratio' ? 1 : 0);

/**
 * Median of every variable over the columns; NaN where it was never measured.
 *
 * Of sizes with a sign it is that of the magnitudes.
 */
export function medians(grid: Grid): Float32Array {
  const columns = grid.edges.length - 1;
  const found = new Float32Array(grid.rows).fill(Number.NaN);
  const seen = new Float32Array(columns);
  for (let row = 0; row < grid.rows; row++) {
    let count = 0;
    for (let column = 0; column < columns; column++) {
      const value = middle(grid, column * grid.rows + row);
      if (!Number.isNaN(value)) seen[count++] = value;
    }
    if (count === 0) continue;
    const sorted = seen.subarray(0, count).sort();
    found[row] = sorted[count >> 1] ?? Number.NaN;
  }
  return found;
}

/** Magnitude of a cell that may stand for several frames. */
function middle({ low, high }: Grid, at: number): number {
  const a = Math.abs(low[at] ?? Number.NaN);
  const b = Math.abs(high[at] ?? Number.NaN);
  return a > 0 && b > 0 ? Math.sqrt(a) * Math.sqrt(b) : (a + b) / 2;
}

/**
 * What every variable had at first: its median over the columns that end by frame `until`. Of what was
 * measured only later, the first value; NaN where it never was.
 */
export function starts(grid: Grid, until: number): Float32Array {
  const columns = grid.edges.length - 1;
  const later = grid.edges.findIndex((edge, i) => i > 0 && edge > until);
  const count = later < 0 ? columns : Math.max(1, later - 1);
  const edges = grid.edges.subarray(0, count + 1);
  const found = medians({ ...grid, edges });
  for (let row = 0; row < grid.rows; row++) {
    for (let column = count; Number.isNaN(found[row] ?? 0) && column < columns; column++) {
      found[row] = middle(grid, column * grid.rows + row);
    }
  }
  return found;
}

/** Every value against its variable's reference. */
export function relateGrid(grid: Grid, references: Float32Array, relation: Relation): Grid {
  const { rows } = grid;
  const relate = (values: Float32Array): Float32Array => {
    const found = new Float32Array(values.length);
    // In the order of the memory: from row to row it would be twice as slow.
    for (let start = 0; start < values.length; start += rows) {
      for (let row = 0; row < rows; row++) {
        const value = values[start + row] ?? Number.NaN;
        found[start + row] = against(value, references[row] ?? Number.NaN, relation);
      }
    }
    return found;
  };
  const high = relate(grid.high);
  if (grid.high === grid.low) return { ...grid, high, low: high };
  const low = relate(grid.low);
  // Magnitudes turn the order of negative values round.
  for (let i = 0; i < low.length; i++) {
    const a = low[i] ?? Number.NaN;
    const b = high[i] ?? Number.NaN;
    if (a > b) [low[i], high[i]] = [b, a];
  }
  return { ...grid, high, low };
}

/** How far the values of one run are from those of another, pixel by pixel. */
export function relateStrips(strip: Strip, reference: Strip, relation: Relation): Strip {
  const relate = (values: Float32Array, others: Float32Array): Float32Array =>
    values.map((value, x) => against(value, others[x] ?? Number.NaN, relation));
  const low = relate(strip.low, reference.low);
  const high = relate(strip.high, reference.high);
  return {
    low: low.map((value, x) => Math.min(value, high[x] ?? Number.NaN)),
    high: high.map((value, x) => Math.max(value, low[x] ?? Number.NaN)),
    // Not finite in either run: no difference could say more.
    marked: strip.marked.map((mark, x) => mark | (reference.marked[x] ?? 0)),
  };
}

/** Where the reference is zero, zero is no change and anything else an endless one. */
export function against(value: number, reference: number, relation: Relation): number {
  if (relation === 'change') return value - reference;
  const a = Math.abs(value);
  const b = Math.abs(reference);
  return a === 0 && b === 0 ? 1 : a / b;
}

const SAMPLE = 20_000;
const FEWEST_DECADES = 1;
/** Of changes over time; from one run to another a gradient may be healed by more. */
const MOST_DECADES = 4;
export const MOST_DECADES_BETWEEN_RUNS = 8;

/** So many decades in both directions for every run: a factor of 1000 is never a matter of chance. */
const FIXED_DECADES = 3;

/** A scale with "the same" in its middle that is the same for every run. */
export const fixedRelation = (relation: Relation): Domain =>
  relation === 'change'
    ? { kind: 'change', low: -1, high: 1 }
    : { kind: 'ratio', low: 10 ** -FIXED_DECADES, high: 10 ** FIXED_DECADES };

/**
 * A scale with "the same" in its middle that holds nearly all of the changes: the first steps of a
 * training are far from its median, and would leave the rest without colour.
 */
export function fitRelation(
  relation: Relation,
  parts: readonly Float32Array[],
  mostDecades = MOST_DECADES,
): Domain {
  // A few thousand of them show as much as all.
  const sizes = new Float32Array(SAMPLE);
  let count = 0;
  const share = Math.floor(SAMPLE / Math.max(1, parts.length));
  for (const part of parts) {
    const stride = Math.max(1, Math.ceil(part.length / share));
    for (let i = 0; i < part.length; i += stride) {
      const value = part[i] ?? Number.NaN;
      const size = relation === 'ratio' ? Math.abs(Math.log10(value)) : Math.abs(value);
      if (Number.isFinite(size)) sizes[count++] = size;
    }
  }
  const sorted = sizes.subarray(0, count).sort();
  const large = sorted[Math.ceil(0.95 * (count - 1))] ?? 0;
  if (relation === 'change') {
    const high = Math.min(1, Math.max(0.1, Math.ceil(10 * large) / 10));
    return { kind: 'change', low: -high, high };
  }
  const decades = Math.min(mostDecades, Math.max(FEWEST_DECADES, Math.ceil(large)));
  return { kind: 'ratio', low: 10 ** -decades, high: 10 ** decades };
}
