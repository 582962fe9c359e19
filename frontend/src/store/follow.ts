/**
 * Asks the server for news by itself, so that the page follows a training.
 *
 * While a run grows every few seconds, otherwise now and then; never while nobody looks. A poll
 * without news is a few bytes. Of what has changed the loader reads only what is shown. Where
 * reading takes long, the polls are further apart: they are to take a small share of the time.
 */

import type { Client } from '../api/client';
import type { RunSummary } from '../api/types';
import { isGrowing } from './pulse';
import type { State } from './state';
import type { Store } from './store';

const LIVE_MILLISECONDS = 5_000;
const IDLE_MILLISECONDS = 60_000;
/** Seconds that an answer may take for judging what no writer has judged. */
const PATIENCE = 0.3;
/** Reading what is new may take a fifth of the time. */
const SHARE = 5;
/** Of more runs than this, most polls are about those that are shown. */
const FEW_RUNS = 20;
const EVERY_RUN = 12;

export function createFollower(store: Store<State>, client: Client): void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let asking = false;
  let polls = 0;
  /** When the last poll and what it led to had ended, and how long that took. */
  let [ended, took] = [Date.now(), 0];
  let awake = false;

  function plan(): void {
    clearTimeout(timer);
    if (asking || !isAwake(store.get())) return;
    const pause = isGrowing(store.get(), Date.now()) ? LIVE_MILLISECONDS : IDLE_MILLISECONDS;
    const due = ended + Math.max(pause, SHARE * took) - Date.now();
    timer = setTimeout(() => void poll(), Math.max(due, 0));
  }

  async function poll(): Promise<void> {
    asking = true;
    const began = Date.now();
    const { runs, selectedRun, compareRuns } = store.get();
    const shown = selectedRun === null ? [] : [selectedRun, ...compareRuns];
    const some = (runs?.length ?? 0) > FEW_RUNS && polls++ % EVERY_RUN > 0 && shown.length > 0;
    try {
      const news = await client.news(some ? shown : null, PATIENCE);
      const skew = news.now === null ? {} : { clockSkew: news.now - Date.now() };
      store.set({ connected: true, ...skew, ...changed(store.get(), news.runs, some) });
      await settled(store);
    } catch {
      store.set({ connected: false });
    }
    [ended, took] = [Date.now(), Date.now() - began];
    asking = false;
    plan();
  }

  store.subscribe((state) => {
    if (awake === isAwake(state)) return;
    awake = !awake;
    plan();
  });
}

/** While there is no run at all the loader asks by itself. */
const isAwake = ({ visible, runs }: State): boolean => visible && runs !== null && runs.length > 0;

/** What of the state the new summaries change. */
export function changed(
  { runs, changes }: State,
  news: readonly RunSummary[],
  some: boolean,
): Partial<State> {
  if (news.length === 0) return {};
  const known = new Map((runs ?? []).map((summary) => [summary.run, summary]));
  const next = new Map(changes);
  for (const { run, mark } of news) {
    const before = known.get(run)?.mark;
    if (before !== undefined && before !== mark) next.set(run, (next.get(run) ?? 0) + 1);
  }
  const fresh = new Map(news.map((summary) => [summary.run, summary]));
  return {
    runs: some ? (runs ?? []).map((summary) => fresh.get(summary.run) ?? summary) : news,
    changes: next,
  };
}

/** When all that was asked for has been answered. */
function settled(store: Store<State>): Promise<void> {
  return new Promise((resolve) => {
    const done = ({ loading }: State): boolean => loading.size === 0;
    if (done(store.get())) {
      resolve();
      return;
    }
    const end = store.subscribe((state) => {
      if (!done(state)) return;
      end();
      resolve();
    });
  });
}
