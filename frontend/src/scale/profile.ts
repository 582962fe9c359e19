/**
 * Magnitude by depth: every variable at one step, with its range over the steps shown. Pure.
 */

import type { Grid } from './reduce';
import type { Row } from './rows';

/** One number per variable each; NaN: not measured. */
export interface Profile {
  /** At the chosen frame. */
  readonly value: Float32Array;
  readonly low: Float32Array;
  readonly high: Float32Array;
  /** Half of the time the value lay between these. */
  readonly lowerQuartile: Float32Array;
  readonly upperQuartile: Float32Array;
  /** What was not finite at the chosen frame: see `nonfinite.ts`. */
  readonly marked: Uint8Array;
}

/** With more variables a pixel has several: their middle half is not seen, and not sought. */
const MOST_QUARTILES = 1500;

/** Of the frames [from, to) and, among them or not, the chosen one. */
export function profileOf(grid: Grid, frame: number, from: number, to: number): Profile {
  const { rows, edges } = grid;
  const columns = edges.length - 1;
  const at = edges.findLastIndex((edge) => edge <= frame);
  const nothing = (): Float32Array => new Float32Array(rows).fill(Number.NaN);
  const profile = {
    value: nothing(),
    low: nothing(),
    high: nothing(),
    lowerQuartile: nothing(),
    upperQuartile: nothing(),
    marked: new Uint8Array(rows),
  };
  const seen = new Float32Array(columns);
  for (let row = 0; row < rows; row++) {
    let [count, least, most] = [0, Number.NaN, Number.NaN];
    for (let column = 0; column < columns; column++) {
      if ((edges[column + 1] ?? 0) <= from || (edges[column] ?? 0) >= to) continue;
      const small = grid.low[column * rows + row] ?? Number.NaN;
      const large = grid.high[column * rows + row] ?? Number.NaN;
      if (Number.isNaN(large)) continue;
      if (!(least <= small)) least = small;
      if (!(most >= large)) most = large;
      seen[count++] = large;
    }
    if (at >= 0 && at < columns) {
      profile.value[row] = grid.high[at * rows + row] ?? Number.NaN;
      profile.marked[row] = grid.marks?.[at * rows + row] ?? 0;
    }
    if (count === 0) continue;
    profile.low[row] = least;
    profile.high[row] = most;
    if (rows > MOST_QUARTILES) continue;
    const sorted = seen.subarray(0, count).sort();
    profile.lowerQuartile[row] = sorted[Math.floor((count - 1) / 4)] ?? Number.NaN;
    profile.upperQuartile[row] = sorted[Math.ceil((3 * (count - 1)) / 4)] ?? Number.NaN;
  }
  return profile;
}

/** A place on the depth axis: a variable, or all variables of a closed module. */
export interface DepthSlot {
  readonly row: Row;
  readonly from: number;
  readonly to: number;
}

export interface DepthModule {
  readonly label: string;
  readonly from: number;
  readonly to: number;
}

export interface DepthAxis {
  readonly slots: readonly DepthSlot[];
  readonly modules: readonly DepthModule[];
}

/** Rows in network order, from the input on the left; neighbours of one module stand together. */
export function createDepthAxis(rows: readonly Row[], width: number): DepthAxis {
  const shown = rows.filter(({ kind, open }) => kind === 'variable' || !open);
  let breaks = 0;
  shown.forEach((row, i) => {
    if (i > 0 && shown[i - 1]?.module !== row.module) breaks++;
  });
  // Modules stand apart by half a place, unless there are too many.
  const gap = shown.length + breaks > width / 6 ? 0 : 0.6;
  const unit = width / Math.max(1, shown.length + gap * breaks);
  const slots: DepthSlot[] = [];
  const modules: { label: string; from: number; to: number }[] = [];
  let x = 0;
  shown.forEach((row, i) => {
    const last = modules.at(-1);
    const begins = i === 0 || shown[i - 1]?.module !== row.module;
    if (begins && i > 0) x += gap * unit;
    slots.push({ row, from: x, to: x + unit });
    if (begins || !last) modules.push({ label: row.module, from: x, to: x + unit });
    else last.to = x + unit;
    x += unit;
  });
  return { slots, modules };
}

export function slotAtX({ slots }: DepthAxis, x: number): number {
  return slots.findIndex(({ from, to }) => x >= from && x < to);
}

/**
 * Factor by which a size grows from one layer to the next, by least squares through the
 * logarithms: below 1 it shrinks towards the output, above 1 towards the input.
 *
 * Null if there are too few layers, or if a zero stands among them; NaN is left out.
 */
export function growthPerLayer(values: readonly number[]): number | null {
  const measured = values.filter((value) => !Number.isNaN(value));
  const logs = measured.map(Math.log10);
  const count = logs.length;
  if (count < 4 || !logs.every(Number.isFinite)) return null;
  const middle = (count - 1) / 2;
  let [product, squares] = [0, 0];
  logs.forEach((value, i) => {
    product += (i - middle) * value;
    squares += (i - middle) ** 2;
  });
  return 10 ** (product / squares);
}
