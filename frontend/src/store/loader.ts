/**
 * Keeps the state supplied: looks at what is selected and fetches what that needs.
 *
 * What is shown stays until its replacement has arrived, so a reload never blanks the
 * page. An answer that nobody waits for any more is dropped. While there is no data at
 * all, the server is asked again every few seconds.
 */

import { StaleRunError, type Client, type Cut } from '../api/client';
import { columnEdges } from '../api/picture';
import type { Run } from '../api/types';
import {
  columnOf,
  orderRuns,
  quietModules,
  shownFrames,
  shownStatistic,
  sickestRun,
} from './selectors';
import {
  NO_DATA,
  type MatrixData,
  type RunData,
  type Slot,
  type State,
  type StepRange,
} from './state';
import type { Store } from './store';

const POLL_MILLISECONDS = 3000;
const VERDICT_PATIENCE = 20;
/** Up to so many numbers of a statistic are read as they are: half a megabyte. */
const EXACT_NUMBERS = 120_000;
/** Of a larger run as many as a screen can show. */
const PICTURE_NUMBERS = 250_000;

export interface Loader {
  /** Ask for everything again; keeps what is selected. */
  readonly refresh: () => void;
}

/** Where the data of a run go: those of the selected one, or those of the second one. */
interface Side {
  readonly slot: (name: keyof RunData) => Slot;
  readonly of: (state: State) => RunData;
  readonly patch: (state: State, data: Partial<RunData>) => Partial<State>;
}

const SELECTED: Side = {
  slot: (name) => name,
  of: (state) => state,
  patch: (_, data) => data,
};
const COMPARED: Side = {
  slot: (name) => `compare ${name}`,
  of: ({ compare }) => compare,
  patch: ({ compare }, data) => ({ compare: { ...compare, ...data } }),
};

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
        store.set({ ...patch(state), ...settled(state, slot) });
      },
      (error: unknown) => {
        if (!current()) return;
        const state = store.get();
        if (error instanceof StaleRunError) {
          const run: Slot = slot.startsWith('compare') ? 'compare run' : 'run';
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
    const [runs, order] = await Promise.all([client.runs(), hostRuns()]);
    // Nothing yet, or verdicts that the server still works on. A run that cannot be read
    // never gets one.
    const pending = runs.filter(({ verdict }) => verdict === null).map(({ run }) => run);
    asked = pending.join('\n') === unjudged ? asked + 1 : 0;
    unjudged = pending.join('\n');
    if (runs.length === 0 || (pending.length > 0 && asked < VERDICT_PATIENCE)) askAgainLater();
    return ({ selectedRun, compareRun }) => {
      const known = (name: string | null): boolean => runs.some(({ run }) => run === name);
      return {
        runs,
        hostRuns: order,
        selectedRun: known(selectedRun) ? selectedRun : sickestRun(orderRuns(runs, order)),
        compareRun: known(compareRun) ? compareRun : null,
      };
    };
  }

  function ensure(state: State): void {
    if (!state.visible) return;
    const { generation, selectedRun, compareRun } = state;
    load('runs', [generation], readRuns);
    if (state.runs === null || state.runs.length === 0 || selectedRun === null) return;
    load('rules', [], async () => {
      const rules = await client.rules();
      return () => ({ rules });
    });
    ensureRun(state, SELECTED, selectedRun);
    if (compareRun !== null) ensureRun(state, COMPARED, compareRun);
    else forget(state);
  }

  function ensureRun(state: State, side: Side, name: string): void {
    const { generation, selectedVariable } = state;
    load(side.slot('run'), [generation, name], () => readRun(side, name));
    const { run } = side.of(state);
    if (run?.run !== name) return;
    load(side.slot('context'), [run], async () => {
      const context = { run, values: await client.context(run) };
      return (now) => side.patch(now, { context });
    });
    // Both runs show the same statistic; a run without it shows none.
    const statistic = shownStatistic(state.run ?? run, state.statistic);
    if (!columnOf(run, statistic)) return;
    const cut = cutOf(run, state.stepRange);
    load(side.slot('matrix'), [run, statistic, ...(cut?.steps ?? [])], async () => {
      const matrix = await readMatrix(run, statistic, cut);
      return (now) => side.patch(now, { matrix });
    });
    if (selectedVariable === null || !run.variables.some(({ path }) => path === selectedVariable))
      return;
    load(side.slot('variable'), [run, selectedVariable], async () => {
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

  /** Nobody compares any more: what was loaded for it, and what is on its way, is dropped. */
  function forget(state: State): void {
    const slots = [...wanted.keys()].filter((slot) => slot.startsWith('compare'));
    if (slots.length === 0) return;
    for (const slot of slots) wanted.delete(slot);
    store.set({
      compare: NO_DATA,
      loading: new Set([...state.loading].filter((slot) => !slot.startsWith('compare'))),
      failures: Object.fromEntries(
        Object.entries(state.failures).filter(([slot]) => !slot.startsWith('compare')),
      ),
    });
  }

  /** An unchanged run stays the same object, so that nothing of it is read again. */
  async function readRun(side: Side, name: string): Promise<(state: State) => Partial<State>> {
    const next = await client.run(name);
    return (state) => {
      const last = side.of(state).run;
      if (last?.run === name && last.revision !== '' && last.revision === next.revision) return {};
      const patch = side.patch(state, { run: next });
      return last?.run === name || side === COMPARED
        ? patch
        : { ...patch, collapsed: quietModules(next, state.selectedVariable) };
    };
  }

  function refresh(): void {
    clearTimeout(poll);
    store.set({ generation: store.get().generation + 1 });
  }

  store.subscribe(ensure);
  ensure(store.get());
  return { refresh };
}

/** What to ask for of a run that is too large for all of its numbers; null: all of them. */
function cutOf({ steps, variables }: Run, range: StepRange | null): Cut | null {
  if (steps.length * variables.length <= EXACT_NUMBERS) return null;
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
