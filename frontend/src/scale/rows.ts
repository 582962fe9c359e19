/**
 * Variables -> rows of the heat-map: network order, grouped by module, groups collapsible.
 */

import type { Column, Variable } from '../api/types';
import type { Worst } from './reduce';

export interface Row {
  readonly kind: 'module' | 'variable';
  /** Module name, or variable path. */
  readonly key: string;
  readonly label: string;
  readonly module: string;
  /** Positions in the variable table: one, or all of the module. */
  readonly variables: readonly number[];
  readonly open: boolean;
}

/**
 * Rows in network order. A module is a run of neighbours: when a model comes back to a
 * module later, that is a second header, because order tells more than tidiness.
 */
export function buildRows(
  variables: readonly Variable[],
  collapsed: ReadonlySet<string>,
  matches: (path: string) => boolean = () => true,
): Row[] {
  const rows: Row[] = [];
  const seen = new Map<string, number>();
  for (let from = 0; from < variables.length;) {
    const module = moduleOf(variables[from]);
    let to = from;
    while (to < variables.length && moduleOf(variables[to]) === module) to++;
    const members = range(from, to).filter((i) => matches(variables[i]?.path ?? ''));
    from = to;
    if (members.length === 0) continue;
    const visit = (seen.get(module) ?? 0) + 1;
    seen.set(module, visit);
    const key = visit === 1 ? module : `${module}#${visit}`;
    const open = !collapsed.has(key);
    rows.push({ kind: 'module', key, label: module, module: key, variables: members, open });
    if (!open) continue;
    for (const i of members) {
      const path = variables[i]?.path ?? '';
      const label = path.startsWith(`${module}/`) ? path.slice(module.length + 1) : path;
      rows.push({ kind: 'variable', key: path, label, module: key, variables: [i], open });
    }
  }
  return rows;
}

/** Variables that name no module go by the first part of their path. */
function moduleOf(variable: Variable | undefined): string {
  if (!variable) return '';
  return (
    variable.module ||
    (variable.path.includes('/') ? (variable.path.split('/')[0] ?? '') : '(top level)')
  );
}

const range = (from: number, to: number): number[] =>
  Array.from({ length: to - from }, (_, i) => from + i);

/**
 * The sick direction of a statistic.
 *
 * Shares and counts say how much is broken: high is worst. Sizes (gradients, updates,
 * weights) hurt at both ends: nothing moves, or everything does. `unit_spread` falls to 0
 * when all units do the same.
 */
export function worstOf(column: Column): Worst {
  if (column.name === 'unit_spread') return 'low';
  if (column.unit === 'share' || column.scale === 'count') return 'high';
  return 'both';
}
