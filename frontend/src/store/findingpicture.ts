/** The picture that fits a finding: what its rule names, in this run's own columns. Pure. */

import type { Column, Evidence, Flag, RuleBook, RulePicture, Run } from '../api/types';
import { columnOf, selectedFlag, shownStatistic, statisticOf } from './selectors';
import type { Link } from '../host';
import type { MainView, MatrixData, State } from './state';

export interface FindingPicture {
  readonly view: MainView;
  /** Null: the run has none that shows it. */
  readonly statistic: string | null;
  readonly chart: readonly Column[];
  /** The threshold that was crossed, in the unit of the first column; null: there is none. */
  readonly limit: number | null;
}

/** A rule that names nothing, as one of an older server, shows its evidence. */
const EVIDENCE: RulePicture = { view: 'over_steps', statistic: '', chart: null, limit: '' };

export function pictureOf(flag: Flag, run: Run, rules: RuleBook | null): FindingPicture {
  const named = rules?.rules.get(flag.rule)?.picture ?? EVIDENCE;
  const statistic = columnOf(run, named.statistic)?.name ?? statisticOf(flag, run);
  const names = named.chart ?? flag.evidence.map(({ name }) => name);
  const columns = names.flatMap((name) => chartColumn(run, name) ?? []);
  // A column of a variable says nothing of a finding about the run as a whole.
  const chart = columns.filter(
    ({ name }) => flag.variables.length > 0 || columnOf(run, name) === null,
  );
  const wanted = named.limit === '' ? chart[0]?.name : named.limit;
  const decisive = flag.evidence.find(({ name }) => name === wanted);
  return {
    view: named.view === 'by_depth' ? 'profile' : 'heatmap',
    statistic,
    chart,
    limit: chart.length > 0 ? limitOf(decisive) : null,
  };
}

const chartColumn = (run: Run, name: string): Column | null =>
  columnOf(run, name) ?? run.contextColumns.find((column) => column.name === name) ?? null;

/** Of a threshold of zero the axis itself is the line. */
function limitOf(evidence: Evidence | undefined): number | null {
  const limit = evidence?.threshold ?? null;
  return limit !== null && Number.isFinite(limit) && limit !== 0 ? limit : null;
}

/**
 * The first step from `from` on at which a statistic of a variable was measured: a finding may
 * begin before the first number that shows it. `from` itself where none follows.
 */
export function measuredStep(
  { run, edges, values }: MatrixData,
  path: string,
  from: number,
): number {
  const row = run.variables.findIndex((variable) => variable.path === path);
  const { steps } = run;
  for (let column = 0; row >= 0 && column + 1 < edges.length; column++) {
    const last = (edges[column + 1] ?? 0) - 1;
    if ((steps[last] ?? -1) < from) continue;
    if (Number.isNaN(values[column * run.variables.length + row] ?? Number.NaN)) continue;
    return Math.max(from, steps[edges[column] ?? 0] ?? from);
  }
  return from;
}

/** Where to read off what the open finding is about, once the numbers of its statistic are there. */
export function soughtStep(state: State): Partial<State> {
  const { run, matrix, seeking, selectedVariable: path } = state;
  const flag = selectedFlag(state);
  if (!seeking || !flag || path === null || !run || matrix?.run !== run) return {};
  if (matrix.statistic !== shownStatistic(run, state.statistic)) return {};
  return { seeking: false, selectedStep: measuredStep(matrix, path, flag.firstStep) };
}

/** The picture of a finding that was opened before its rule was known, now that it is. */
export function latePicture(state: State, rules: RuleBook): Partial<State> {
  const flag = selectedFlag(state);
  if (!flag || !state.run || state.unpictured !== flag.id) return { unpictured: null };
  const { view, statistic } = pictureOf(flag, state.run, rules);
  return { unpictured: null, view, ...(statistic === null ? {} : { statistic, seeking: true }) };
}

/** What the address of a finding names: the run, the finding, and the picture that shows it. */
export function findingLink(flag: Flag, run: Run, rules: RuleBook | null): Link {
  const { view, statistic } = pictureOf(flag, run, rules);
  const [variable] = flag.variables;
  return {
    run: run.run,
    flag: flag.id,
    step: String(flag.firstStep),
    ...(variable === undefined ? {} : { variable }),
    ...(statistic === null ? {} : { statistic }),
    ...(view === 'heatmap' ? {} : { view }),
  };
}
