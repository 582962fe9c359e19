/** Whether a number is healthy, in words, by the ranges that the rules themselves use. Pure. */

import type { HealthyRange, RuleBook, Run, Variable } from '../api/types';
import { formatNumber, formatRelation, formatShare } from '../scale/format';
import { endOf, type Healthy, type Ranges } from '../scale/health';
import { starts } from '../scale/relate';
import { seriesColumn } from './selectors';
import { gridOf, type MatrixData } from './state';

/** Within what is usual; outside of it; beyond the limit of a rule. */
export type Standing = 'healthy' | 'unusual' | 'beyond';

export interface Judgement {
  readonly standing: Standing;
  /** `normal`, `low`, `far too high`. */
  readonly word: string;
  /** `healthy: 1e-4 to 1e-2`. */
  readonly range: string;
}

export function rangeOf(
  rules: RuleBook | null,
  statistic: string,
  against: HealthyRange['against'] = '',
): HealthyRange | null {
  const ranges = rules?.ranges ?? [];
  return ranges.find((one) => one.statistic === statistic && one.against === against) ?? null;
}

/** What most trainings have of a statistic, for a picture; null: the rules know no such thing. */
export const usualOf = (
  rules: RuleBook | null,
  statistic: string,
): readonly [number, number] | null => rangeOf(rules, statistic)?.usual ?? null;

/** Of biases and scales some ranges say nothing. */
export const appliesTo = (range: HealthyRange, { shape }: Variable): boolean =>
  !range.kernelsOnly || shape.length >= 2;

export function judge(range: HealthyRange, value: number, share: boolean): Judgement {
  const { above, below, usual } = range;
  const text = (limit: number): string =>
    range.against !== ''
      ? formatRelation(limit, 'ratio')
      : share
        ? formatShare(limit)
        : formatNumber(limit);
  return { ...standingOf(range, value), range: `healthy: ${inWords(above, below, usual, text)}` };
}

function standingOf(
  { above, below, usual }: HealthyRange,
  value: number,
): Pick<Judgement, 'standing' | 'word'> {
  if (above !== null && value < above) return { standing: 'beyond', word: 'far too low' };
  // A limit of zero is one that nothing may reach but zero itself.
  if (below !== null && (below > 0 ? value >= below : value > 0))
    return { standing: 'beyond', word: below > 0 ? 'far too high' : 'not healthy' };
  if (usual && value < usual[0]) return { standing: 'unusual', word: 'low' };
  if (usual && value > usual[1]) return { standing: 'unusual', word: 'high' };
  return { standing: 'healthy', word: 'normal' };
}

function inWords(
  above: number | null,
  below: number | null,
  usual: readonly [number, number] | null,
  text: (limit: number) => string,
): string {
  const [low, high] = usual ?? [above, below];
  if (low !== null && high !== null) return `${text(low)} to ${text(high)}`;
  if (high !== null) return high > 0 ? `below ${text(high)}` : 'none';
  return low === null ? 'any' : `above ${text(low)}`;
}

/** The steps of a run's beginning that later ones are compared with. */
const START = 0.1;

/** Frames of the first tenth of the steps; at least one. */
export function startFrames(steps: readonly number[]): number {
  const [first, last] = [steps[0] ?? 0, steps.at(-1) ?? 0];
  return Math.max(1, steps.findLastIndex((step) => step <= first + START * (last - first)) + 1);
}

/** Fewer frames before a finding show nothing. */
const FEWEST_FRAMES = 3;

/** The frames that a change is measured from: those before the first finding, or the first tenth. */
export function healthyStart({ steps, flags }: Run): number {
  const first = Math.min(...flags.map(({ firstStep }) => firstStep));
  const before = steps.findIndex((step) => step >= first);
  return before >= FEWEST_FRAMES ? before : startFrames(steps);
}

/** The usual value of a series in the first tenth of a run; NaN: it was not measured then. */
export function startOfSeries(values: Float32Array, steps: readonly number[]): number {
  const known = values.slice(0, startFrames(steps)).filter((value) => value > 0);
  return known.sort()[known.length >> 1] ?? Number.NaN;
}

export interface JudgedNumber {
  readonly statistic: string;
  readonly value: number;
  /** Its factor since the start of the run; NaN: the rules do not ask for it. */
  readonly change: number;
  /** Its factor to that of the last layers at the same step; NaN: this is not what is judged. */
  readonly towards: number;
  readonly judgement: Judgement | null;
}

const NONFINITE = 'gradient_nonfinite_count';

/** The statistics to start with, in this order. */
export const LEADING = [
  'gradient_rms',
  'update_ratio',
  'gradient_zero_share',
  'dead_unit_share',
  NONFINITE,
] as const;

/** In this order; what is not measured makes room for the next. */
const FIRST = [...LEADING, 'none_step_share', 'zero_step_share', 'weight_rms'] as const;
const MOST = 5;

/**
 * The numbers of a variable that decide, at one frame; `first`: that of the open finding. `matrix`:
 * the values of all variables of one statistic, to hold the variable's own against them.
 */
export function judgedNumbers(
  run: Run,
  variable: Variable,
  series: Float32Array,
  frame: number,
  rules: RuleBook | null,
  first: string | null,
  matrix: MatrixData | null = null,
): readonly JudgedNumber[] {
  // Sizes are those of the finite elements: beside a NaN they are not the gradient's.
  const broken = (seriesColumn(series, run.statistics, NONFINITE)?.[frame] ?? 0) > 0;
  const names = [...new Set([...(first === null ? [] : [first]), ...FIRST])];
  const numbers = names.flatMap((statistic): JudgedNumber[] => {
    const values = seriesColumn(series, run.statistics, statistic);
    const value = values?.[frame] ?? Number.NaN;
    if (!values || Number.isNaN(value)) return [];
    const since = rangeOf(rules, statistic, 'start');
    const change = since ? value / startOfSeries(values, run.steps) : Number.NaN;
    const factor = value / lastLayers(run, matrix, statistic, frame);
    const unit = run.statistics.find(({ name }) => name === statistic)?.unit;
    if (broken && unit === 'loss/weight') {
      return [{ statistic, value, change: Number.NaN, towards: Number.NaN, judgement: null }];
    }
    const share = unit === 'share';
    const judgements = [
      { range: rangeOf(rules, statistic), against: value },
      { range: since, against: change },
      { range: rangeOf(rules, statistic, 'last_layers'), against: factor },
    ].flatMap(({ range, against }) =>
      range && appliesTo(range, variable) && !Number.isNaN(against)
        ? [{ range, judgement: judge(range, against, share) }]
        : [],
    );
    // Of several the worst one; the first of these.
    const rank = (standing: Standing): number => ['beyond', 'unusual', 'healthy'].indexOf(standing);
    const [worst] = judgements.sort(
      (a, b) => rank(a.judgement.standing) - rank(b.judgement.standing),
    );
    const towards = worst?.range.against === 'last_layers' ? factor : Number.NaN;
    return [{ statistic, value, change, towards, judgement: worst?.judgement ?? null }];
  });
  return numbers.slice(0, MOST);
}

/** What the last layers have of a statistic at a frame; NaN: not known. */
function lastLayers(run: Run, matrix: MatrixData | null, statistic: string, frame: number): number {
  if (matrix?.run.run !== run.run || matrix.statistic !== statistic) return Number.NaN;
  const column = matrix.edges.findLastIndex((edge) => edge <= frame);
  return endOf(gridOf(matrix), lastKernels(run.variables), column);
}

/** So many of the last kernels are the end of the network. */
const LAST_KERNELS = 3;

/** Their places among the variables. */
const lastKernels = (variables: readonly Variable[]): readonly number[] =>
  variables.flatMap(({ shape }, i) => (shape.length >= 2 ? [i] : [])).slice(-LAST_KERNELS);

/** What the rules say of the statistic of a matrix; null: nothing. */
export function rangesOf({ run, statistic }: MatrixData, rules: RuleBook | null): Ranges | null {
  const own = rangeOf(rules, statistic);
  const since = rangeOf(rules, statistic, 'start');
  const towards = rangeOf(rules, statistic, 'last_layers');
  if (!own && !since && !towards) return null;
  return {
    share: run.statistics.find(({ name }) => name === statistic)?.unit === 'share',
    own,
    since,
    towards,
    last: lastKernels(run.variables),
    kernels: run.variables.map(({ shape }) => shape.length >= 2),
  };
}

/** What the values of a matrix are held against; null: the rules say nothing of its statistic. */
export function healthyOf(matrix: MatrixData, rules: RuleBook | null): Healthy | null {
  const ranges = rangesOf(matrix, rules);
  if (!ranges) return null;
  const grid = gridOf(matrix);
  const ends = Float32Array.from({ length: grid.edges.length - 1 }, (_, column) =>
    endOf(grid, ranges.last, column),
  );
  return { ...ranges, starts: starts(grid, healthyStart(matrix.run)), ends };
}
