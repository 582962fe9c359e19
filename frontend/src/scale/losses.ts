/** The losses that a training gave names: columns of the run whose names begin alike. */

import type { Column } from '../api/types';

const PREFIX = 'losses/';

export type NamedLossColumn = `losses/${string}`;

export const isNamedLoss = (column: string): column is NamedLossColumn => column.startsWith(PREFIX);

/** The name that the training gave it. */
export const lossName = (column: NamedLossColumn): string => column.slice(PREFIX.length);

/** The columns of named losses among those of some runs, each once. */
export function namedLosses(columns: readonly Column[]): readonly NamedLossColumn[] {
  return [...new Set(columns.map(({ name }) => name).filter(isNamedLoss))];
}
