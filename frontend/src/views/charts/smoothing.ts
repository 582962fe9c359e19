/** What a smoothed line is drawn with: the values that it was made of. */

import type { Column } from '../../api/types';
import type { Line } from '../../draw/lines';
import { reduceRow, type Grid } from '../../scale/reduce';
import { smoothed } from '../../scale/smooth';

/**
 * The line of a grid, or that line faint and the smoothed one before it. Counts, and values that hold
 * until they are changed, have no noise.
 */
export function withSmoothing<T extends Line>(
  line: T,
  grid: Grid,
  { scale }: Column,
  weight: number,
): T[] {
  if (weight === 0 || line.stepped || scale === 'count') return [line];
  const strip = reduceRow(smoothed(grid, weight), [0], line.axis, 'both');
  return [
    { ...line, faint: true, shape: null },
    { ...line, strip },
  ];
}
