/**
 * Variables -> rows of the heat-map: network order, nested by module, modules collapsible.
 */

import type { Column, Variable } from '../api/types';
import type { Worst } from './reduce';

export interface Row {
  readonly kind: 'module' | 'variable';
  /** Module name, or variable path. */
  readonly key: string;
  /** Without what the names of the modules around it say. */
  readonly label: string;
  /** Key of the innermost module that has a row; empty: none has. */
  readonly module: string;
  /** Keys of all modules that have to be open for the row to be seen, outermost first. */
  readonly within: readonly string[];
  /** Positions in the variable table: one, or all of the module. */
  readonly variables: readonly number[];
  readonly open: boolean;
}

/** A module of so few variables gets no row of its own within another one. */
const FEW_VARIABLES = 2;

/**
 * Rows in network order. A module is a run of neighbours: when a model comes back to a
 * module later, that is a second header, because order says more than tidiness.
 */
export function buildRows(
  variables: readonly Variable[],
  collapsed: ReadonlySet<string>,
  matches: (path: string) => boolean = () => true,
): Row[] {
  const rows: Row[] = [];
  const parts = variables.map((variable) => moduleOf(variable).split('/'));
  const visits = new Map<string, number>();

  function addVariables(
    members: readonly number[],
    above: string,
    within: readonly string[],
  ): void {
    for (const i of members) {
      const path = variables[i]?.path ?? '';
      rows.push({
        kind: 'variable',
        key: path,
        label: without(above, path),
        module: within.at(-1) ?? '',
        within,
        variables: [i],
        open: true,
      });
    }
  }

  /** The variables [from, to), which share the first `depth` parts of their module. */
  function add(from: number, to: number, depth: number, within: readonly string[]): void {
    const nameAt = (i: number, length: number): string =>
      (parts[i] ?? []).slice(0, length).join('/');
    const above = nameAt(from, depth);
    for (let start = from; start < to;) {
      if ((parts[start]?.length ?? 0) <= depth) {
        addVariables(matching(start, start + 1), above, within);
        start++;
        continue;
      }
      const end = endOf(parts, start, to, depth);
      const members = matching(start, end);
      const first = start;
      start = end;
      if (members.length === 0) continue;
      const shared = sharedParts(parts, first, end);
      const leaf = parts.slice(first, end).every(({ length }) => length === shared);
      if (leaf && within.length > 0 && end - first <= FEW_VARIABLES) {
        addVariables(members, above, within);
        continue;
      }
      const name = nameAt(first, shared);
      const visit = (visits.get(name) ?? 0) + 1;
      visits.set(name, visit);
      const key = visit === 1 ? name : `${name}#${visit}`;
      const open = !collapsed.has(key);
      const label = without(above, name);
      rows.push({ kind: 'module', key, label, module: key, within, variables: members, open });
      if (open) add(first, end, shared, [...within, key]);
    }
  }

  const matching = (from: number, to: number): number[] =>
    range(from, to).filter((i) => matches(variables[i]?.path ?? ''));
  add(0, variables.length, sharedPrefix(variables).length, []);
  return rows;
}

/** The parts of a name that all modules begin with: they distinguish nothing. */
export function sharedPrefix(variables: readonly Variable[]): readonly string[] {
  const parts = variables.map((variable) => moduleOf(variable).split('/'));
  const shared = sharedParts(parts, 0, parts.length);
  // Every module keeps a part of its name.
  const most = parts.reduce((least, { length }) => Math.min(least, length - 1), shared);
  return (parts[0] ?? []).slice(0, most);
}

/** How many parts the names [from, to) begin with alike. */
function sharedParts(parts: readonly (readonly string[])[], from: number, to: number): number {
  const first = parts[from] ?? [];
  let shared = first.length;
  for (let i = from + 1; i < to; i++) {
    const other = parts[i] ?? [];
    let same = 0;
    while (same < shared && other[same] === first[same]) same++;
    shared = same;
  }
  return shared;
}

/** One past the last neighbour that belongs to the same module at this depth. */
function endOf(
  parts: readonly (readonly string[])[],
  start: number,
  to: number,
  depth: number,
): number {
  let end = start + 1;
  while (end < to && parts[end]?.[depth] === parts[start]?.[depth]) end++;
  return end;
}

const without = (above: string, name: string): string =>
  above !== '' && name.startsWith(`${above}/`) ? name.slice(above.length + 1) : name;

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
 * The bad direction of a statistic.
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
