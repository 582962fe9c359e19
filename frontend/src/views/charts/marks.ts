/** Which numbers mark a step of a chart as not finite. */

import type { Column, Run } from '../../api/types';
import { INF, NAN, NONFINITE } from '../../scale/nonfinite';
import { seriesColumn } from '../../store/selectors';

/** A column that marks a step as non-finite, and the least value that does. */
export interface Marking {
  readonly name: string;
  readonly least: number;
  readonly mark: number;
}

export const GRADIENT_MARKS: readonly Marking[] = [
  { name: 'gradient_nan_count', least: 1, mark: NONFINITE | NAN },
  { name: 'gradient_inf_count', least: 1, mark: NONFINITE | INF },
  { name: 'nonfinite_age', least: 0, mark: NONFINITE },
];
export const WEIGHT_MARKS: readonly Marking[] = [
  { name: 'weight_nonfinite_count', least: 1, mark: NONFINITE },
];
export const LOSS_MARKS: readonly Marking[] = [
  { name: 'loss_nonfinite_age', least: 0, mark: NONFINITE },
];

/** The marks of each frame; 0: all was finite. */
export function readMarks(
  run: Run,
  values: Float32Array,
  columns: readonly Column[],
  markings: readonly Marking[],
): Uint8Array {
  const marks = new Uint8Array(run.steps.length);
  for (const { name, least, mark } of markings) {
    seriesColumn(values, columns, name)?.forEach((value, i) => {
      if (value >= least) marks[i] = (marks[i] ?? 0) | mark;
    });
  }
  return marks;
}
