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
import type { Slot, State } from './state';
import type { Store } from './store';

const POLL_MILLISECONDS = 3000;
const NONFINITE_COUNTS = ['gradient_nonfinite_count', 'weight_nonfinite_count'];
const NONFINITE_AGE = 'nonfinite_age';

export interface Loader {
  /** Ask for everything again; keeps what is selected. */
  readonly refresh: () => void;
}

export function createLoader(
  store: Store<State>,
  client: Client,
  hostRuns: () => Promise<readonly string[]>,
): Loader {
  /** What each slot was last asked for, as a list of values to compare. */
  const wanted = new Map<Slot, readonly unknown[]>();
  let poll: ReturnType<typeof setTimeout> | undefined;

  function load(slot: Slot, key: readonly unknown[], fetch: () => Promise<Partial<State>>): void {
    const last = wanted.get(slot);
    if (last?.length === key.length && key.every((part, i) => Object.is(part, last[i]))) return;
    wanted.set(slot, key);
    const current = (): boolean => wanted.get(slot) === key;
    fetch().then(
      (patch) => {
        if (current()) store.set({ ...patch, failures: without(store.get().failures, slot) });
      },
      (error: unknown) => {
        if (!current()) return;
        if (error instanceof StaleRunError && slot !== 'run') {
          wanted.delete(slot);
          wanted.delete('run');
          ensure(store.get());
          return;
        }
        const sentence = error instanceof Error ? error.message : String(error);
        store.set({ failures: { ...store.get().failures, [slot]: sentence } });
        if (slot === 'runs') askAgainLater();
      },
    );
  }

  function askAgainLater(): void {
    clearTimeout(poll);
    poll = setTimeout(refresh, POLL_MILLISECONDS);
  }

  async function readRuns(): Promise<Partial<State>> {
    const [runs, order] = await Promise.all([client.runs(), hostRuns()]);
    // Nothing yet, or verdicts that the server still works on.
    if (runs.length === 0 || runs.some(({ verdict }) => verdict === null)) askAgainLater();
    const { selectedRun } = store.get();
    const known = runs.some(({ run }) => run === selectedRun);
    return {
      runs,
      hostRuns: order,
      selectedRun: known ? selectedRun : sickestRun(orderRuns(runs, order)),
    };
  }

  function ensure(state: State): void {
    if (!state.visible) return;
    const { generation, run, selectedRun, selectedVariable } = state;
    load('runs', [generation], readRuns);
    if (state.runs === null || state.runs.length === 0 || selectedRun === null) return;
    load('rules', [], async () => ({ rules: await client.rules() }));
    load('run', [generation, selectedRun], () => readRun(selectedRun));
    if (run?.run !== selectedRun) return;
    load('context', [run], async () => ({
      context: { run, values: await client.context(run) },
    }));
    const statistic = shownStatistic(run, state.statistic);
    load('matrix', [run, statistic], async () => {
      const [values, marks] = await Promise.all([client.matrix(run, statistic), readMarks(run)]);
      return { matrix: { run, statistic, values, marks } };
    });
    if (selectedVariable !== null && run.variables.some(({ path }) => path === selectedVariable)) {
      load('variable', [run, selectedVariable], async () => {
        const [series, histogram] = await Promise.all([
          client.series(run, selectedVariable),
          run.histogramSteps.length > 0
            ? client.histogram(run, selectedVariable)
            : new Float32Array(0),
        ]);
        return { variable: { run, variable: selectedVariable, series, histogram } };
      });
    }
  }

  /** An unchanged run stays the same object, so that nothing of it is read again. */
  async function readRun(name: string): Promise<Partial<State>> {
    const next = await client.run(name);
    const last = store.get().run;
    const same = last?.run === name && last.revision !== '' && last.revision === next.revision;
    if (same) return {};
    return last?.run === name
      ? { run: next }
      : { run: next, collapsed: quietModules(next, store.get().selectedVariable) };
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

function without(failures: State['failures'], slot: Slot): State['failures'] {
  if (!(slot in failures)) return failures;
  return Object.fromEntries(Object.entries(failures).filter(([key]) => key !== slot));
}
