/** Questions to the state. Pure. */

import {
  RULE_STATES,
  SEVERITIES,
  type Column,
  type Flag,
  type RuleBook,
  type RuleState,
  type Run,
  type RunSummary,
  type Variable,
  type Verdict,
} from '../api/types';
import { frameAtStep } from '../scale/axis';
import { lineColours } from '../scale/colour';
import { formatCount, formatNumber, plural, title } from '../scale/format';
import { readHistograms, type Histogram } from '../scale/histogram';
import { matcher } from '../scale/pattern';
import { medians } from '../scale/relate';
import { buildRows } from '../scale/rows';
import { heardRun } from './muted';
import {
  DEFAULT_VIEW,
  gridOf,
  NO_DATA,
  type ContextData,
  type FlagFilter,
  type MatrixData,
  type RunData,
  type RunOrder,
  type RunSlot,
  type State,
  type StepRange,
  type VariableData,
} from './state';
import { worstVerdict } from './verdict';

export interface RunEntry {
  readonly summary: RunSummary;
  /** Position among TensorBoard's runs: its colour. */
  readonly position: number;
}

/** Runs as TensorBoard orders them; ones it does not list come last, by name. */
export function orderRuns(
  runs: readonly RunSummary[],
  hostRuns: readonly string[],
): readonly RunEntry[] {
  const known = new Map(hostRuns.map((name, i) => [name, i]));
  const strangers = runs
    .map(({ run }) => run)
    .filter((run) => !known.has(run))
    .sort();
  strangers.forEach((run, i) => known.set(run, hostRuns.length + i));
  return runs
    .map((summary) => ({ summary, position: known.get(summary.run) ?? 0 }))
    .sort((a, b) => a.position - b.position);
}

const RANK: Readonly<Record<Verdict, number>> = {
  critical: 4,
  warning: 3,
  undecided: 2,
  info: 1,
  healthy: 0,
};
const rank = ({ summary }: RunEntry): number => RANK[summary.verdict ?? 'healthy'];

/** Where to land: the worst run, and of several the first. */
export function worstRun(entries: readonly RunEntry[]): string | null {
  let best: RunEntry | null = null;
  for (const entry of entries) {
    if (!best || rank(entry) > rank(best)) best = entry;
  }
  return best?.summary.run ?? null;
}

/** In the order that was asked for; equals stay in TensorBoard's order. */
export function sortRuns(entries: readonly RunEntry[], order: RunOrder): readonly RunEntry[] {
  const sorted = [...entries];
  if (order === 'verdict') {
    sorted.sort((a, b) => rank(b) - rank(a) || worstCount(b) - worstCount(a));
  }
  if (order === 'loss') {
    // What has none, or NaN, comes last.
    const lossOf = ({ summary: { loss } }: RunEntry): number =>
      Number.isFinite(loss) ? loss : Infinity;
    sorted.sort((a, b) => lossOf(a) - lossOf(b) || 0);
  }
  if (order === 'name') sorted.sort((a, b) => compareNames(a.summary.run, b.summary.run));
  return sorted;
}

const worstCount = ({ summary: { verdict, counts } }: RunEntry): number =>
  verdict === null || verdict === 'healthy' || verdict === 'undecided' ? 0 : counts[verdict];

/** `run10` after `run9`. */
const compareNames = new Intl.Collator('en', { numeric: true }).compare;

/** One of the runs that are shown, with those of its data that are really its own. */
export interface Side extends RunData {
  readonly which: 'selected' | 'compared';
  readonly name: string;
  /** Position among TensorBoard's runs: its colour. */
  readonly position: number;
  /** Of its lines and shapes. */
  readonly colour: string;
}

/** The selected run, and those beside it, with the findings that are not muted. */
export function shownSides(state: State): Side[] {
  const entries = new Map(
    orderRuns(state.runs ?? [], state.hostRuns).map(({ summary, position }) => [
      summary.run,
      position,
    ]),
  );
  const names = state.selectedRun === null ? [] : [state.selectedRun, ...state.compareRuns];
  const positions = names.map((name) => entries.get(name) ?? 0);
  const colours = lineColours(positions, state.theme);
  return names.map((name, i) => {
    const data = i === 0 ? state : (state.others.get(name) ?? NO_DATA);
    const own = <T extends { run: Run }>(part: T | null): T | null =>
      part?.run.run === name ? part : null;
    return {
      which: i === 0 ? 'selected' : 'compared',
      name,
      position: positions[i] ?? 0,
      colour: colours[i] ?? '',
      run: data.run?.run === name ? heardRun(data.run, state.muted) : null,
      matrix: own(data.matrix),
      context: own(data.context),
      variable: own(data.variable),
      lane: own(data.lane),
    };
  });
}

/** What went wrong with a part of any of the runs that are shown. */
export function failureOf({ failures, compareRuns }: State, slot: RunSlot): string | undefined {
  return [failures[slot], ...compareRuns.map((name) => failures[`${slot} of ${name}`])].find(
    (failure) => failure !== undefined,
  );
}

/**
 * The rows of runs side by side: the first run's variables in its order; those that only another
 * one has follow the neighbour they have there, so that the network keeps its order.
 */
export function jointVariables(...runs: readonly (Run | null)[]): readonly Variable[] {
  return runs.reduce<readonly Variable[]>(
    (joint, run) => (run ? withVariables(joint, run.variables) : joint),
    [],
  );
}

function withVariables(
  joint: readonly Variable[],
  variables: readonly Variable[],
): readonly Variable[] {
  if (joint.length === 0) return variables;
  const known = new Set(joint.map(({ path }) => path));
  const after = new Map<string, Variable[]>();
  let neighbour = '';
  for (const variable of variables) {
    if (known.has(variable.path)) neighbour = variable.path;
    else after.set(neighbour, [...(after.get(neighbour) ?? []), variable]);
  }
  if (after.size === 0) return joint;
  const added = (path: string): readonly Variable[] => after.get(path) ?? [];
  return [...added(''), ...joint.flatMap((variable) => [variable, ...added(variable.path)])];
}

/** For each of these variables its column in a run's matrices; -1 where it has none. */
export function columnsIn(run: Run, variables: readonly Variable[]): Int32Array {
  const columns = new Map(run.variables.map(({ path }, i) => [path, i]));
  return Int32Array.from(variables, ({ path }) => columns.get(path) ?? -1);
}

/** Frames [from, to) of a run that lie within the zoom; at least one, if there are any. */
export function shownFrames(
  steps: readonly number[],
  range: StepRange | null,
): { readonly from: number; readonly to: number } {
  if (range === null || steps.length === 0) return { from: 0, to: steps.length };
  const from = frameAtStep(steps, range[0]);
  return { from, to: Math.max(from, frameAtStep(steps, range[1])) + 1 };
}

/** Has anything been changed that "reset" would bring back? */
export function isDefaultView(state: State): boolean {
  return (
    state.selectedFlag === null &&
    state.selectedVariable === null &&
    Object.entries(DEFAULT_VIEW).every(([key, usual]) =>
      Object.is(state[key as keyof typeof DEFAULT_VIEW], usual),
    )
  );
}

/** The overall verdict of a run, in one line; beside others there is room for a short one only. */
export function verdictSentence(run: Run, short = false): string {
  if (run.steps.length === 0) return 'No frames yet: nothing could be judged';
  if (run.judged === null) {
    return run.glance ? 'Reading all frames …' : `Judging ${plural(run.steps.length, 'frame')} …`;
  }
  const first = run.steps[0] ?? 0;
  const last = run.steps.at(-1) ?? 0;
  const frames = run.glance ? 'reading all frames' : plural(run.steps.length, 'frame');
  const seen = `${plural(run.variables.length, 'variable')}, ${frames} over ${plural(last - first + 1, 'step')}`;
  const found = SEVERITIES.map((severity) => ({
    severity,
    count: run.flags.filter((flag) => flag.severity === severity).length,
  })).filter(({ count }) => count > 0);
  const counts = found.map(({ severity, count }) => plural(count, severity)).join(', ');
  const rest = run.muted.length > 0 ? ` · ${formatCount(run.muted.length)} muted` : '';
  if (verdictOf(run) === 'undecided') {
    const reported = counts === '' ? 'Undecided' : `Undecided, ${counts}`;
    return short ? reported + rest : `${reported}: ${run.undecided}${rest}`;
  }
  const nothing = rest === '' ? 'nothing found' : 'nothing else found';
  if (found.length === 0) return `Healthy${short ? '' : `: ${seen}, ${nothing}`}${rest}`;
  return `${counts}${short ? '' : ` in ${seen}`}${rest}`;
}

/** Null: there is nothing yet to judge by, or it is still being judged. */
export function verdictOf(run: Run): Verdict | null {
  if (run.steps.length === 0 || run.judged === null) return null;
  const worst = SEVERITIES.find((s) => run.flags.some((flag) => flag.severity === s));
  return worstVerdict(worst ?? null, run.undecided !== '');
}

export interface RuleStateGroup {
  readonly state: RuleState['state'];
  readonly rules: readonly RuleState[];
}

/** The rules by how far they have judged the run, as `RULE_STATES` orders them; none is empty. */
export function ruleStatesOf(run: Run): readonly RuleStateGroup[] {
  return RULE_STATES.map((state) => ({
    state,
    rules: run.rules.filter((one) => one.state === state),
  })).filter(({ rules }) => rules.length > 0);
}

/** Smallest and largest usual gradient among the weights, as a sentence. */
function reachOfGradients(run: Run, matrix: MatrixData | null): string {
  if (matrix?.run.run !== run.run || matrix.statistic !== DEFAULT_VIEW.statistic) return '';
  const usual = medians(gridOf(matrix));
  const weights = run.variables.flatMap(({ path, shape, trainable }, i) =>
    shape.length >= 2 && trainable ? [{ path, value: usual[i] ?? Number.NaN }] : [],
  );
  if (weights.length < 2 || !weights.every(({ value }) => value > 0)) return '';
  weights.sort((a, b) => a.value - b.value);
  const [least, most] = [weights[0], weights.at(-1)];
  return `A gradient reaches all weights: its RMS lies between ${formatNumber(least?.value ?? 0)} (${least?.path ?? ''}) and ${formatNumber(most?.value ?? 0)} (${most?.path ?? ''}).`;
}

/** What speaks for a healthy run, in numbers: a sentence each. */
export function signsOfHealth(
  run: Run,
  context: ContextData | null,
  matrix: MatrixData | null,
): readonly string[] {
  const loss = (context && seriesColumn(context.values, run.contextColumns, 'loss')) ?? [];
  const known = [...loss].filter((value) => !Number.isNaN(value));
  // A single batch says little.
  const some = known.slice(0, SOME_FRAMES);
  const [before, after] = [middleOf(some), middleOf(known.slice(-SOME_FRAMES))];
  const steps = (run.steps.at(-1) ?? 0) - (run.steps[0] ?? 0) + 1;
  const reach = reachOfGradients(run, matrix);
  const finite = !run.glance && matrix?.marks.every((mark) => mark === 0) === true;
  return [
    ...(known.length >= 2 * SOME_FRAMES && after < before
      ? [`The loss fell from ${formatNumber(before)} to ${formatNumber(after)}.`]
      : []),
    ...(reach === '' ? [] : [reach]),
    ...(finite ? [`No NaN or Inf in any gradient or weight in ${plural(steps, 'step')}.`] : []),
  ];
}

const SOME_FRAMES = 5;

function middleOf(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

/** Ongoing flags first, in the server's ranking; those that ended follow. */
export function splitFlags(flags: readonly Flag[]): { open: Flag[]; closed: Flag[] } {
  return { open: flags.filter((flag) => flag.open), closed: flags.filter((flag) => !flag.open) };
}

export function filterFlags(flags: readonly Flag[], filter: FlagFilter): readonly Flag[] {
  const matches = matcher(filter.variable);
  return flags.filter(
    (flag) =>
      !filter.hidden.has(flag.severity) &&
      (filter.rule === '' || flag.rule === filter.rule) &&
      (filter.variable === '' || flag.variables.some(matches)),
  );
}

export interface FlagGroup {
  /** Identifier of the likeliest cause; null for flags that name none. */
  readonly cause: string | null;
  readonly flags: readonly Flag[];
}

/**
 * Flags with the same likeliest cause stand together: one change cures them. The groups, and
 * the flags in each, keep the server's ranking. Flags without a cause stand alone.
 */
export function groupFlags(flags: readonly Flag[]): readonly FlagGroup[] {
  const groups: { cause: string | null; flags: Flag[] }[] = [];
  for (const flag of flags) {
    const cause = flag.causes[0]?.id ?? null;
    const group = cause === null ? undefined : groups.find((other) => other.cause === cause);
    if (group) group.flags.push(flag);
    else groups.push({ cause, flags: [flag] });
  }
  return groups;
}

/** Two flags speak of the same trouble: one rule, and a variable in common. */
export function isSameTrouble(a: Flag, b: Flag): boolean {
  if (a.rule !== b.rule) return false;
  if (a.variables.length === 0 || b.variables.length === 0)
    return a.variables.length === b.variables.length;
  const paths = new Set(a.variables);
  return b.variables.some((path) => paths.has(path));
}

/**
 * What is worth an announcement of a run that has grown: warnings and worse that were not there,
 * or were less than that.
 */
export function newFindings(before: Run, now: Run): readonly Flag[] {
  const loud = ({ severity }: Flag): boolean => severity !== 'info';
  const known = before.flags.filter(loud);
  return now.flags.filter(
    (flag) =>
      loud(flag) &&
      flag.open &&
      !known.some((other) => other.id === flag.id || isSameTrouble(other, flag)),
  );
}

/** Flags of a first run that a second one has no more, that both have, that are new. */
export function compareFlags(
  first: readonly Flag[],
  second: readonly Flag[],
): { gone: readonly Flag[]; both: readonly Flag[]; added: readonly Flag[] } {
  const inSecond = (flag: Flag): boolean => second.some((other) => isSameTrouble(flag, other));
  return {
    gone: first.filter((flag) => !inSecond(flag)),
    both: first.filter(inSecond),
    added: second.filter((flag) => !first.some((other) => isSameTrouble(flag, other))),
  };
}

/** The selected run, with the findings that are not muted. */
export const shownRun = ({ run, muted }: State): Run | null => run && heardRun(run, muted);

/** Also one that is muted: it can still be looked at. */
export function selectedFlag(state: State): Flag | null {
  return state.run?.flags.find((flag) => flag.id === state.selectedFlag) ?? null;
}

export function selectedVariable(state: State): Variable | null {
  return state.run?.variables.find(({ path }) => path === state.selectedVariable) ?? null;
}

/** The rule book's title, or the identifier made readable while there is none. */
export function ruleTitle(rules: RuleBook | null, rule: string): string {
  const known = rules?.rules.get(rule)?.title ?? '';
  return known === '' ? title(rule) : known;
}

/** Has the statistic any value at all? An older version may not have measured it. */
export function isMeasured(matrix: MatrixData): boolean {
  return matrix.values.some((value) => !Number.isNaN(value));
}

export function columnOf(run: Run, name: string): Column | null {
  return run.statistics.find((column) => column.name === name) ?? null;
}

/** The chosen statistic, or one that this run has. */
export function shownStatistic(run: Run, wanted: string): string {
  return columnOf(run, wanted)?.name ?? run.statistics[0]?.name ?? wanted;
}

/**
 * The statistic that shows best what a flag is about: the one its evidence is named after
 * (`gradient_rms_ratio` speaks of `gradient_rms`).
 */
export function statisticOf(flag: Flag, run: Run): string | null {
  for (const { name } of flag.evidence) {
    const statistic = statisticNamed(name, run);
    if (statistic !== null) return statistic;
  }
  return null;
}

/** The statistic that a number of the evidence is named after. */
export function statisticNamed(evidence: string, run: Run): string | null {
  const candidates = run.statistics
    .map((column) => column.name)
    .filter((statistic) => evidence.includes(statistic))
    .sort((a, b) => b.length - a.length);
  return candidates[0] ?? null;
}

/** A model with more variables starts with its healthy modules closed. */
const MANY_VARIABLES = 120;
/** Outer modules are open at first while no more rows than this are seen. */
const MANY_ROWS = 300;

/** The modules without a finding that are closed at first; those around others last. */
export function quietModules(run: Run, wanted: string | null): ReadonlySet<string> {
  if (run.variables.length <= MANY_VARIABLES) return new Set();
  const faulty = new Set<string | null>([wanted, ...run.flags.flatMap((flag) => flag.variables)]);
  const rows = buildRows(run.variables, new Set());
  const loud = new Set(rows.flatMap(({ key, within }) => (faulty.has(key) ? within : [])));
  /** From how many levels of quiet modules open a row is seen. */
  const depths = rows.map(({ within }) => within.findLastIndex((key) => !loud.has(key)) + 1);
  const seen = (open: number): number => depths.filter((depth) => depth <= open).length;
  const deepest = depths.reduce((most, depth) => Math.max(most, depth), 0);
  let open = 0;
  // The innermost stay closed.
  while (open + 1 < deepest && seen(open + 1) <= MANY_ROWS) open++;
  return new Set(
    rows.flatMap(({ kind, key, within }) =>
      kind === 'module' && !loud.has(key) && within.length >= open ? [key] : [],
    ),
  );
}

/** Paths of the variables that any finding of these runs is about. */
export function flaggedPaths(...runs: readonly (Run | null)[]): ReadonlySet<string> {
  return new Set(runs.flatMap((run) => run?.flags.flatMap((flag) => flag.variables) ?? []));
}

/**
 * Which variables have a row: those that match the filter and, if wanted, have a finding. A run
 * without findings shows all.
 */
export function rowMatcher(
  filter: string,
  onlyFlagged: boolean,
  ...runs: readonly (Run | null)[]
): (path: string) => boolean {
  const matches = matcher(filter);
  const flagged = onlyFlagged ? flaggedPaths(...runs) : new Set<string>();
  return flagged.size > 0 ? (path) => flagged.has(path) && matches(path) : matches;
}

/** Steps of an epoch; 0: not known. */
export function stepsPerEpoch({ context }: Run): number {
  const steps = Number(context.steps_per_epoch);
  return steps > 1 ? steps : 0;
}

/** The step everything is read off at: the chosen one, else the last. */
export function shownFrame(run: Run, step: number | null): number {
  if (run.steps.length === 0) return 0;
  return step === null ? run.steps.length - 1 : frameAtStep(run.steps, step);
}

/** Columns of one series as [frames] each. */
export function seriesColumn(
  values: Float32Array,
  columns: readonly Column[],
  name: string,
): Float32Array | null {
  const index = columns.findIndex((column) => column.name === name);
  if (index < 0 || columns.length === 0) return null;
  const frames = Math.floor(values.length / columns.length);
  return Float32Array.from({ length: frames }, (_, i) => values[i * columns.length + index] ?? NaN);
}

/** The histograms of a variable in several runs, cut to the same bins; null: not read yet. */
export function readAll(...runs: readonly (VariableData | null)[]): readonly (Histogram | null)[] {
  const known = runs.filter((data) => data !== null);
  const [first] = known;
  if (!first) return [];
  const read = readHistograms(
    known.map(({ histogram }) => histogram),
    first.run.histogram,
  );
  return runs.map((data) => (data ? (read[known.indexOf(data)] ?? null) : null));
}

export function describeShape(variable: Variable): string {
  const shape = variable.shape.length === 0 ? 'scalar' : variable.shape.join(' × ');
  return `${shape} = ${formatCount(variable.elements)}`;
}
