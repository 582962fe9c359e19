/**
 * What the heat-map shows of one run or several: the same rows, one scale, one pane each. Pure.
 *
 * In:  the matrices of the runs, their joint rows, how values are to be encoded.
 * Out: per pane a strip of pixels for any row.
 */

import type { Column } from '../api/types';
import type { StepAxis } from './axis';
import { fitDomain, fitLinear, fixedDomain, type Domain } from './domain';
import { distances, HEALTH, healthOfRow, type Healthy } from './health';
import { joinStrips, reduceRow, type Grid, type Strip } from './reduce';
import {
  fitRelation,
  fixedRelation,
  MOST_DECADES_BETWEEN_RUNS,
  medians,
  relateGrid,
  relateStrips,
  relationOf,
  starts,
  type Relation,
} from './relate';
import { worstOf, type Row } from './rows';

/** The numbers of one run, and where the joint rows find theirs among them. */
export interface Source {
  readonly grid: Grid;
  /** Position of each joint variable in the grid; -1: this run does not have it. */
  readonly columns: Int32Array;
  /** So many frames are the beginning that a change is measured from. */
  readonly start: number;
  /** What the rules call healthy of this statistic; null: nothing, or it is not known yet. */
  readonly healthy: Healthy | null;
}

export type MapEncoding = 'health' | 'absolute' | 'relative' | 'difference';

/** The same colours for every run, or all colours for this one; those by decades or linear. */
export type MapFit = 'fixed' | 'run' | 'run linear';

export interface MapScale {
  readonly column: Column;
  readonly encoding: MapEncoding;
  /** What values are related to; null while they stand for themselves. */
  readonly relation: Relation | null;
  readonly domain: Domain;
  /** As drawn: values or changes; of health the values, which are judged row by row. In the order of the runs; null: not read yet. */
  readonly sources: readonly (Source | null)[];
}

/** One scale for the runs side by side: only then do equal colours mean equal values. */
export function scaleMap(
  column: Column,
  sources: readonly (Source | null)[],
  encoding: MapEncoding,
  fit: MapFit,
): MapScale {
  const relation = relationOf(column);
  const relate = (changes: () => readonly Float32Array[], mostDecades?: number): Domain =>
    fit === 'fixed' ? fixedRelation(relation) : fitRelation(relation, changes(), mostDecades);
  const known = (all: readonly (Source | null)[]): Source[] => all.filter((one) => one !== null);
  if (encoding === 'relative') {
    const related = sources.map(
      (source) =>
        source && {
          ...source,
          grid: relateGrid(source.grid, starts(source.grid, source.start), relation),
        },
    );
    const domain = relate(() => parts(known(related)));
    return { column, encoding, relation, domain, sources: related };
  }
  if (encoding === 'health' && known(sources).every(({ healthy }) => healthy !== null)) {
    return { column, encoding, relation: null, domain: HEALTH, sources };
  }
  const [reference, ...others] = sources;
  if (encoding === 'difference' && reference && others.some((other) => other !== null)) {
    const domain = relate(
      () => known(others).map((other) => differences(reference, other, relation)),
      MOST_DECADES_BETWEEN_RUNS,
    );
    return { column, encoding, relation, domain, sources };
  }
  const fitted = fit === 'run linear' ? fitLinear : fitDomain;
  const domain =
    (fit === 'fixed' ? fixedDomain(column) : null) ?? fitted(column, ...parts(known(sources)));
  return { column, encoding: 'absolute', relation: null, domain, sources };
}

const parts = (sources: readonly Source[]): Float32Array[] =>
  sources.flatMap(({ grid }) => (grid.low === grid.high ? [grid.high] : [grid.low, grid.high]));

/** The change of every variable's median: enough to find a scale for all changes. */
function differences(reference: Source, other: Source, relation: Relation): Float32Array {
  const [before, after] = [medians(reference.grid), medians(other.grid)];
  return Float32Array.from(other.columns, (at, i) => {
    const from = before[reference.columns[i] ?? -1] ?? Number.NaN;
    const to = after[at] ?? Number.NaN;
    return relation === 'ratio' ? to / from : to - from;
  });
}

/** The pixels of a row in one pane; in a difference the first run has none. */
export function stripOf(
  scale: MapScale,
  pane: number,
  row: Row,
  axes: readonly StepAxis[],
  width: number,
): Strip {
  if (scale.encoding === 'difference' && scale.relation) {
    const { relation } = scale;
    return joinStrips(
      width,
      row.variables.map((variable) =>
        relateStrips(
          ownStrip(scale, pane + 1, [variable], axes[pane + 1]),
          ownStrip(scale, 0, [variable], axes[0]),
          relation,
        ),
      ),
    );
  }
  return ownStrip(scale, pane, row.variables, axes[pane], row.kind === 'module');
}

function ownStrip(
  { sources, column, relation, encoding }: MapScale,
  pane: number,
  variables: readonly number[],
  axis: StepAxis | undefined,
  group = false,
): Strip {
  const source = sources[pane];
  if (!source || !axis) return joinStrips(axis?.width ?? 0, []);
  const members = membersOf(source, { variables });
  if (encoding === 'health' && source.healthy) {
    return reduceRow(healthOfRow(source.grid, members, source.healthy), [0], axis, 'both');
  }
  // A change is bad in both directions, whatever its statistic.
  const worst = group && relation === null ? worstOf(column) : 'both';
  return reduceRow(source.grid, members, axis, worst);
}

/** Where a row's variables are in a run. */
const membersOf = ({ columns }: Source, { variables }: Pick<Row, 'variables'>): readonly number[] =>
  variables.map((i) => columns[i] ?? -1).filter((i) => i >= 0);

/** Has this run any of the row's variables? */
export const hasRow = ({ columns }: Source, row: Row): boolean =>
  row.variables.some((i) => (columns[i] ?? -1) >= 0);

/** How far a row is from what is healthy, at a frame. */
export function readHealth(source: Source, row: Row, frame: number): Reading {
  const { grid, healthy } = source;
  const column = grid.edges.findLastIndex((edge) => edge <= frame);
  const known = healthy && column >= 0 && column + 1 < grid.edges.length;
  const [low, high] = known
    ? distances(grid, membersOf(source, row), healthy)(column)
    : [Number.NaN, Number.NaN];
  return { low, high, marked: 0 };
}

export interface Reading {
  readonly low: number;
  readonly high: number;
  /** What was not finite: see `nonfinite.ts`. */
  readonly marked: number;
}

/** Smallest and largest value of a row at a frame; NaN where nothing was measured. */
export function readRow({ grid, columns }: Source, row: Row, frame: number): Reading {
  const column = grid.edges.findLastIndex((edge) => edge <= frame);
  let [low, high, marked] = [Number.NaN, Number.NaN, 0];
  if (column < 0 || column + 1 >= grid.edges.length) return { low, high, marked };
  for (const i of row.variables) {
    const own = columns[i] ?? -1;
    if (own < 0) continue;
    const at = column * grid.rows + own;
    const [small, large] = [grid.low[at] ?? Number.NaN, grid.high[at] ?? Number.NaN];
    if (!(low <= small) && !Number.isNaN(small)) low = small;
    if (!(high >= large) && !Number.isNaN(large)) high = large;
    marked |= grid.marks?.[at] ?? 0;
  }
  return { low, high, marked };
}
