/** The dense lane as lines: a column of it is what a frame is to the other charts. */

import { GRADIENT_BIT, LOSS_BIT, type Extremes, type Lane } from '../../api/lane';
import type { Run } from '../../api/types';
import { isNamedLoss, lossName, type NamedLossColumn } from '../../scale/losses';
import { NONFINITE } from '../../scale/nonfinite';
import type { Grid } from '../../scale/reduce';
import type { LaneData } from '../../store/state';

export type DenseColumn = 'rms' | 'norm' | 'loss' | 'moved' | NamedLossColumn;

/** One line of it: what stands at each of its own steps. */
export interface DenseLine {
  readonly steps: readonly number[];
  readonly grid: Grid;
}

/** What a chart draws of it; null: the run has no lane, or nothing of this kind in it. */
export function denseLine(data: LaneData | null, column: DenseColumn): DenseLine | null {
  if (!data || data.lane.first.length === 0) return null;
  const { lane } = data;
  if (isNamedLoss(column) && !lane.named.has(lossName(column))) return null;
  const extremes = extremesOf(data.run, data, column);
  const marks = marksOf(lane, column);
  const measured = extremes.high.some((value) => !Number.isNaN(value));
  if (!measured && !marks.some((mark) => mark > 0)) return null;
  const edges = Int32Array.from({ length: lane.first.length + 1 }, (_, i) => i);
  return { steps: stepsOf(lane), grid: { rows: 1, edges, ...extremes, marks } };
}

function extremesOf(run: Run, { lane, variable }: LaneData, column: DenseColumn): Extremes {
  if (column === 'loss') return lane.loss;
  if (column === 'moved') return { low: lane.moved, high: lane.moved };
  if (column === 'norm') return lane.norm;
  if (isNamedLoss(column)) return lane.named.get(lossName(column)) ?? lane.loss;
  const elements = run.variables.find(({ path }) => path === variable)?.elements ?? 1;
  const perRoot = (norm: Float32Array): Float32Array =>
    norm.map((value) => value / Math.sqrt(Math.max(1, elements)));
  return { low: perRoot(lane.norm.low), high: perRoot(lane.norm.high) };
}

function marksOf({ marks, named }: Lane, column: DenseColumn): Uint8Array {
  if (isNamedLoss(column)) {
    const own = named.get(lossName(column))?.marks ?? new Uint8Array(marks.length);
    return own.map((mark) => mark * NONFINITE);
  }
  const bit = { rms: GRADIENT_BIT, norm: GRADIENT_BIT, loss: LOSS_BIT, moved: 0 }[column];
  return marks.map((mark) => ((mark & bit) > 0 ? NONFINITE : 0));
}

const steps = new WeakMap<Lane, readonly number[]>();

/** The same array for the same lane: what is placed along it is remembered by it. */
function stepsOf(lane: Lane): readonly number[] {
  let own = steps.get(lane);
  if (!own) steps.set(lane, (own = [...lane.first]));
  return own;
}
