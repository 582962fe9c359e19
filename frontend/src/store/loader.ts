/**
 * Keeps the state supplied: looks at what is selected and fetches what that needs.
 *
 * What is shown stays until its replacement has arrived, so a reload never blanks the
 * page. An answer that nobody waits for any more is dropped. While there is no data at
 * all, the server is asked again every few seconds. Of a large run that the server has yet to
 * read, some frames are shown first.
 */

import { StaleRunError, type Client, type Cut } from '../api/client';
import { columnEdges } from '../api/picture';
import type { RuleBook, Run, RunVerdict } from '../api/types';
import { latePicture, soughtStep } from './findingpicture';
import { heardRun, heardRuns } from './muted';
import {
  columnOf,
  isSameTrouble,
  orderRuns,
  quietModules,
  shownFrames,
  shownStatistic,
  worstRun,
} from './selectors';
import {
  MOST_SIDES,
  NO_DATA,
  type MatrixData,
  type RunData,
  type RunSlot,
  type Slot,
  type State,
  type StepRange,
} from './state';
import type { Store } from './store';

const POLL_MILLISECONDS = 3000;
const VERDICT_PATIENCE = 20;
/** Seconds that the first answers may take for judging what no writer has judged. */
const JUDGING_PATIENCE = { runs: 0.3, run: 0.1 };
/** Up to so many numbers of a statistic are read as they are: half a megabyte. */
const EXACT_NUMBERS = 120_000;
/** All numbers follow soon, and both together are not to be much. */
const EXACT_NUMBERS_OF_GLANCE = 30_000;
/** Of a larger run as many as a screen can show. */
const PICTURE_NUMBERS = 250_000;
/** Of the dense lane more than a chart has pixels. */
const LANE_COLUMNS = 2000;

export interface Loader {
  /** Ask for everything again; keeps what is selected. */
  readonly refresh: () => void;
}

/** Where the data of a run go: those of the selected one, or those of one beside it. */
interface Side {
  readonly slot: (name: RunSlot) => Slot;
  readonly of: (state: State) => RunData;
  readonly patch: (state: State, data: Partial<RunData>) => Partial<State>;
}

const SELECTED: Side = {
  slot: (name) => name,
  of: (state) => state,
  patch: (_, data) => data,
};
const besides = (run: string): Side => ({
  slot: (name) => `${name} of ${run}`,
  of: ({ others }) => others.get(run) ?? NO_DATA,
  patch: ({ others }, data) => ({
    others: new Map(others).set(run, { ...(others.get(run) ?? NO_DATA), ...data }),
  }),
});

/** The run beside the selected one that a slot is about; null: it is about none. */
function besideOf(slot: Slot): string | null {
  const at = slot.indexOf(' of ');
  return at < 0 ? null : slot.slice(at + ' of '.length);
}

export function createLoader(
  store: Store<State>,
  client: Client,
  hostRuns: () => Promise<readonly string[]>,
): Loader {
  /** What each slot was last asked for, as a list of values to compare. */
  const wanted = new Map<Slot, readonly unknown[]>();
  let poll: ReturnType<typeof setTimeout> | undefined;
  /** Runs without a verdict at the last answer, and how often they have been the same ones. */
  let unjudged = '';
  let asked = 0;

  function load(
    slot: Slot,
    key: readonly unknown[],
    fetch: () => Promise<(state: State) => Partial<State>>,
  ): void {
    const last = wanted.get(slot);
    if (last?.length === key.length && key.every((part, i) => Object.is(part, last[i]))) return;
    wanted.set(slot, key);
    const current = (): boolean => wanted.get(slot) === key;
    store.set({ loading: withSlot(store.get().loading, slot) });
    fetch().then(
      (patch) => {
        if (!current()) return;
        const state = store.get();
        const change = { ...patch(state), ...settled(state, slot) };
        const next = { ...state, ...change };
        store.set(next.rules ? { ...change, rules: withOwnRules(next.rules, next) } : change);
      },
      (error: unknown) => {
        if (!current()) return;
        const state = store.get();
        if (error instanceof StaleRunError) {
          const name = besideOf(slot);
          const run = (name === null ? SELECTED : besides(name)).slot('run');
          if (slot !== run) {
            wanted.delete(slot);
            wanted.delete(run);
            ensure(state);
            return;
          }
        }
        const sentence = error instanceof Error ? error.message : String(error);
        const after = settled(state, slot);
        store.set({ ...after, failures: { ...after.failures, [slot]: sentence } });
        if (slot === 'runs') askAgainLater();
      },
    );
  }

  function askAgainLater(): void {
    clearTimeout(poll);
    poll = setTimeout(refresh, POLL_MILLISECONDS);
  }

  async function readRuns(): Promise<(state: State) => Partial<State>> {
    const patience = store.get().runs === null ? JUDGING_PATIENCE.runs : undefined;
    const [runs, order] = await Promise.all([client.runs(patience), hostRuns()]);
    // Nothing yet, or verdicts that the server still works on.
    const pending = runs.filter((run) => run.state === 'judging').map(({ run }) => run);
    asked = pending.join('\n') === unjudged ? asked + 1 : 0;
    unjudged = pending.join('\n');
    if (runs.length === 0 || (pending.length > 0 && asked < VERDICT_PATIENCE)) askAgainLater();
    return (state) => {
      const known = (name: string | null): boolean => runs.some(({ run }) => run === name);
      const selectedRun = known(state.selectedRun)
        ? state.selectedRun
        : worstRun(orderRuns(heardRuns(runs, state.muted), order));
      const beside = state.compareRuns.filter((name) => known(name) && name !== selectedRun);
      const same = beside.length === state.compareRuns.length;
      const missing = runs.length > 0 && !known(state.selectedRun) ? state.selectedRun : null;
      return {
        runs,
        hostRuns: order,
        selectedRun,
        missingRun: missing ?? state.missingRun,
        compareRuns: same ? state.compareRuns : beside.slice(0, MOST_SIDES - 1),
      };
    };
  }

  function ensure(state: State): void {
    if (!state.visible) return;
    const { generation, selectedRun, compareRuns } = state;
    load('runs', [generation], readRuns);
    // A run that the address names is asked for at once, not after the list of all.
    if (state.runs?.length === 0 || selectedRun === null) return;
    ensureRun(state, SELECTED, selectedRun);
    for (const name of compareRuns) ensureRun(state, besides(name), name);
    forget(state);
    // The picture first: what rules mean is read later.
    if (state.run === null || busy('matrix')) return;
    load('rules', [], async () => {
      const rules = await client.rules();
      return (now) => {
        const book = withOwnRules(rules, now);
        return { rules: book, ...latePicture(now, book) };
      };
    });
  }

  const busy = (slot: Slot): boolean => store.get().loading.has(slot);

  function ensureRun(state: State, side: Side, name: string): void {
    const { generation, changes, selectedVariable } = state;
    load(side.slot('run'), [generation, name, changes.get(name) ?? 0], () => readRun(side, name));
    const { run } = side.of(state);
    if (run?.run !== name) return;
    // What is said of a run may change while its numbers are the same.
    const key = run.revision === '' ? run : run.revision;
    load(side.slot('context'), [key], async () => {
      const context = { run, values: await client.context(run) };
      return (now) => side.patch(now, { context });
    });
    // Both runs show the same statistic; a run without it shows none.
    const statistic = shownStatistic(state.run ?? run, state.statistic);
    if (!columnOf(run, statistic)) return;
    const cut = cutOf(run, state.stepRange);
    // What was only glanced at is read as soon as there is something to see of it.
    const seen = side.of(state).matrix?.run === run || side.slot('matrix') in state.failures;
    if (run.glance && seen) {
      load(side.slot('whole'), [key], () => readRun(side, name));
    }
    load(side.slot('matrix'), [key, statistic, ...(cut?.steps ?? [])], async () => {
      const matrix = await readMatrix(run, statistic, cut);
      return (now) => {
        const patch = side.patch(now, { matrix });
        return { ...patch, ...soughtStep({ ...now, ...patch }) };
      };
    });
    if (run.judged === null && !run.glance && !busy(side.slot('matrix'))) {
      load(side.slot('verdict'), [key], async () => {
        const verdict = await client.verdict(run);
        return (now) => withVerdict(side, now, run.revision, verdict);
      });
    }
    const known = run.variables.some(({ path }) => path === selectedVariable);
    ensureLane(state, side, run, key, known ? selectedVariable : null);
    if (selectedVariable === null || !known) return;
    load(side.slot('variable'), [key, selectedVariable], async () => {
      const [series, histogram] = await Promise.all([
        client.series(run, selectedVariable),
        run.histogramSteps.length > 0
          ? client.histogram(run, selectedVariable)
          : new Float32Array(0),
      ]);
      const variable = { run, variable: selectedVariable, series, histogram };
      return (now) => side.patch(now, { variable });
    });
  }

  /** Every step: of the steps that are seen, as the charts have so many pixels only. */
  function ensureLane(
    { stepRange }: State,
    side: Side,
    run: Run,
    key: unknown,
    variable: string | null,
  ): void {
    if (run.glance) return;
    const cut = { columns: LANE_COLUMNS, steps: stepRange };
    load(side.slot('lane'), [key, variable, ...(stepRange ?? [])], async () => {
      const lane = await client.lane(run, variable, cut);
      return (now) => side.patch(now, { lane: { run, variable, lane } });
    });
  }

  async function readMatrix(run: Run, statistic: string, cut: Cut | null): Promise<MatrixData> {
    const frames = run.steps.length;
    if (cut) {
      const [{ edges, low, high }, marks] = await Promise.all([
        client.picture(run, statistic, cut),
        client.marks(run, cut),
      ]);
      return { run, statistic, edges, values: high, low, marks, exact: false };
    }
    const [values, marks] = await Promise.all([
      client.matrix(run, statistic),
      client.marks(run, { columns: Math.max(1, frames), steps: null }),
    ]);
    const edges = columnEdges(0, frames, frames);
    return { run, statistic, edges, values, low: values, marks, exact: true };
  }

  /** A run that is put away: what was loaded for it, and what is on its way, is dropped. */
  function forget({ compareRuns, others, loading, failures }: State): void {
    const needed = (slot: Slot): boolean => {
      const name = besideOf(slot);
      return name === null || compareRuns.includes(name);
    };
    const slots = [...wanted.keys()].filter((slot) => !needed(slot));
    if (slots.length === 0) return;
    for (const slot of slots) wanted.delete(slot);
    store.set({
      others: new Map([...others].filter(([name]) => compareRuns.includes(name))),
      loading: new Set([...loading].filter(needed)),
      failures: Object.fromEntries(
        Object.entries(failures).filter(([slot]) => needed(slot as Slot)),
      ),
    });
  }

  /** An unchanged run stays the same object, so that nothing of it is read again. */
  async function readRun(side: Side, name: string): Promise<(state: State) => Partial<State>> {
    const unknown = side.of(store.get()).run?.run !== name;
    const read = await client.run(name, JUDGING_PATIENCE.run, unknown);
    return (state) => {
      const last = side.of(state).run;
      // Read on for a run that nobody looks at any more: another one may be there already.
      if (last?.run !== name && !unknown) return {};
      if (last?.run !== name) {
        const patch = side.patch(state, { run: read });
        return side === SELECTED ? { ...patch, collapsed: closedModules(state, read) } : patch;
      }
      if (last.revision !== '' && last.revision === read.revision)
        return read.judged === null ? {} : withVerdict(side, state, read.revision, read);
      // Until the longer run is judged, what was found in the shorter one stays.
      const run = read.judged === null ? { ...read, ...findings(last) } : read;
      const patch = side.patch(state, { run });
      return side === SELECTED
        ? { ...patch, selectedFlag: followedFlag(state.selectedFlag, last, run) }
        : patch;
    };
  }

  function withVerdict(
    side: Side,
    state: State,
    revision: string,
    verdict: RunVerdict,
  ): Partial<State> {
    const { run } = side.of(state);
    if (run?.revision !== revision || run.judged !== null) return {};
    return side.patch(state, { run: { ...run, ...findings(verdict), judged: verdict.judged } });
  }

  function refresh(): void {
    clearTimeout(poll);
    store.set({ generation: store.get().generation + 1 });
  }

  store.subscribe(ensure);
  ensure(store.get());
  return { refresh };
}

/** The open finding in the run as it is now: it may have begun earlier than was known. */
function followedFlag(selected: string | null, before: Run, now: Run): string | null {
  if (selected === null || now.flags.some(({ id }) => id === selected)) return selected;
  const flag = before.flags.find(({ id }) => id === selected);
  const same = flag && now.flags.find((candidate) => isSameTrouble(flag, candidate));
  return same?.id ?? selected;
}

/** What the rules say of a run. */
const findings = ({
  flags,
  undecided,
  rules,
  ownRules,
  errors,
}: RunVerdict): Omit<RunVerdict, 'judged'> => ({ flags, undecided, rules, ownRules, errors });

/** The rule book with the pages that the shown runs have of rules of their own. */
function withOwnRules(book: RuleBook, { run, others }: State): RuleBook {
  const runs = [run, ...[...others.values()].map((other) => other.run)];
  const own = runs
    .flatMap((one) => one?.ownRules ?? [])
    .filter(({ id }) => !book.rules.has(id))
    .map((card) => [card.id, card] as const);
  return own.length > 0 ? { ...book, rules: new Map([...book.rules, ...own]) } : book;
}

/** As they were left, or as they are at first. */
const closedModules = (
  { remembered, selectedVariable, muted }: State,
  run: Run,
): ReadonlySet<string> =>
  remembered?.run === run.run
    ? remembered.collapsed
    : quietModules(heardRun(run, muted), selectedVariable);

/** What to ask for of a run that is too large for all of its numbers; null: all of them. */
function cutOf({ steps, variables, glance }: Run, range: StepRange | null): Cut | null {
  const most = glance ? EXACT_NUMBERS_OF_GLANCE : EXACT_NUMBERS;
  if (steps.length * variables.length <= most) return null;
  const shown = shownFrames(steps, range);
  const columns = Math.max(16, Math.floor(PICTURE_NUMBERS / variables.length));
  return {
    columns: Math.min(columns, shown.to - shown.from),
    steps: range && [steps[shown.from] ?? 0, steps[shown.to - 1] ?? 0],
  };
}

const withSlot = (slots: ReadonlySet<Slot>, slot: Slot): ReadonlySet<Slot> =>
  slots.has(slot) ? slots : new Set([...slots, slot]);

/** A slot that was answered is neither loading nor broken. */
function settled(state: State, slot: Slot): Pick<State, 'loading' | 'failures'> {
  const loading = new Set(state.loading);
  loading.delete(slot);
  const failures =
    slot in state.failures
      ? Object.fromEntries(Object.entries(state.failures).filter(([key]) => key !== slot))
      : state.failures;
  return { loading, failures };
}
