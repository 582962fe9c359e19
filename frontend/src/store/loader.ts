/**
 * Keeps the state supplied: looks at what is selected and fetches what that needs.
 *
 * What is shown stays until its replacement has arrived, so a reload never blanks the
 * page. An answer that nobody waits for any more is dropped. While there is no data at
 * all, the server is asked again every few seconds.
 */

import { StaleRunError, type Client } from '../api/client';
import type { Run } from '../api/types';
import { columnOf, orderRuns, quietModules, shownStatistic, sickestRun } from './selectors';
import { NO_DATA, type RunData, type Slot, type State } from './state';
import type { Store } from './store';

const POLL_MILLISECONDS = 3000;
const NONFINITE_COUNTS = ['gradient_nonfinite_count', 'weight_nonfinite_count'];
const NONFINITE_AGE = 'nonfinite_age';

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
    // Nothing yet, or verdicts that the server still works on.
    if (runs.length === 0 || runs.some(({ verdict }) => verdict === null)) askAgainLater();
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
    load(side.slot('matrix'), [run, statistic], async () => {
      const [values, marks] = await Promise.all([client.matrix(run, statistic), readMarks(run)]);
      return (now) => side.patch(now, { matrix: { run, statistic, values, marks } });
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

  const marks = new WeakMap<Run, Promise<Float32Array>>();

  /** Where anything was non-finite, at a frame's own step or since the frame before it. */
  async function readMarks(run: Run): Promise<Float32Array> {
    let found = marks.get(run);
    if (!found) {
      const names = [...NONFINITE_COUNTS, NONFINITE_AGE].filter((name) => columnOf(run, name));
      found = Promise.all(names.map((name) => client.matrix(run, name))).then((grids) =>
        combineMarks(names, grids),
      );
      found.catch(() => marks.delete(run));
      marks.set(run, found);
    }
    return found;
  }

  function refresh(): void {
    clearTimeout(poll);
    store.set({ generation: store.get().generation + 1 });
  }

  store.subscribe(ensure);
  ensure(store.get());
  return { refresh };
}

/** Counts mark from 1 on; an age marks from 0 on (0: at this very step, -1: never). */
function combineMarks(names: readonly string[], grids: readonly Float32Array[]): Float32Array {
  const marks = new Float32Array(Math.max(0, ...grids.map((grid) => grid.length)));
  grids.forEach((grid, which) => {
    const least = names[which] === NONFINITE_AGE ? 0 : 1;
    grid.forEach((value, i) => {
      if (value >= least) marks[i] = 1;
    });
  });
  return marks;
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
