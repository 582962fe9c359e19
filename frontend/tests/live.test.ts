import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createClient } from '../src/api/client';
import { decodeRun, decodeRuns } from '../src/api/decode';
import { formatAge } from '../src/scale/format';
import { changed, createFollower } from '../src/store/follow';
import { pulseOf } from '../src/store/pulse';
import { newFindings } from '../src/store/selectors';
import { initialState, type State } from '../src/store/state';
import { createStore } from '../src/store/store';

const NOW = 1_800_000_000_000;
const summary = (run: string, change: Record<string, unknown> = {}) => ({
  run,
  last_step: 312,
  state: 'judged',
  verdict: 'healthy',
  mark: 'a',
  newest: NOW / 1000 - 4,
  ...change,
});
const stateWith = (change: Record<string, unknown> = {}, more: Partial<State> = {}): State => ({
  ...initialState('light'),
  runs: decodeRuns({ runs: [summary('r', change)] }),
  selectedRun: 'r',
  ...more,
});

describe('the pulse of a run', () => {
  it('is live while its newest frame is young', () => {
    expect(pulseOf(stateWith(), NOW)).toEqual({ kind: 'live', text: 'live · step 312 · 4 s ago' });
    expect(pulseOf(stateWith(), NOW + 179_000)?.text).toBe('stopped 3 min ago');
    expect(pulseOf(stateWith(), NOW + 30 * 86_400_000)).toBeNull();
    expect(pulseOf(stateWith({ newest: 'NaN' }), NOW)).toBeNull();
  });

  it('waits as long as the frames of a long run are apart', () => {
    const wall = NOW / 1000 - 4;
    const run = decodeRun({ run: 'r', steps: [1, 2], wall_times: [wall - 600, wall] });
    expect(pulseOf(stateWith({}, { run }), NOW + 1_200_000)?.kind).toBe('live');
    expect(pulseOf(stateWith({}, { run }), NOW + 2_000_000)?.kind).toBe('stopped');
  });

  it('is that of the run itself where it was read after the list', () => {
    const run = decodeRun({ run: 'r', steps: [310, 320], wall_times: [1, NOW / 1000 - 1] });
    expect(pulseOf(stateWith({}, { run }), NOW)?.text).toBe('live · step 320 · 1 s ago');
  });

  it('goes by the clock of the server', () => {
    expect(pulseOf(stateWith({}, { clockSkew: 6000 }), NOW)?.text).toContain('10 s ago');
    expect(pulseOf(stateWith({}, { clockSkew: -60_000 }), NOW)?.text).toContain('0 s ago');
  });

  it('says that nobody answers', () => {
    expect(pulseOf(stateWith({}, { connected: false }), NOW)?.kind).toBe('lost');
  });

  it('has an age in its largest unit', () => {
    expect([0.9, 59, 60, 3599, 7200, 90_000, 200_000].map(formatAge)).toEqual(
      ['0 s', '59 s', '1 min', '59 min', '2 h', '1 day', '2 days'], // prettier-ignore
    );
  });
});

describe('what a poll changes', () => {
  it('is nothing where nothing was written', () => {
    expect(changed(stateWith(), [], false)).toEqual({});
  });

  it('are the runs whose mark is another one', () => {
    const state = stateWith();
    const same = changed(state, decodeRuns({ runs: [summary('r'), summary('new')] }), false);
    expect([...(same.changes ?? [])]).toEqual([]);
    expect(same.runs?.map(({ run }) => run)).toEqual(['r', 'new']);
    const grown = changed(state, decodeRuns({ runs: [summary('r', { mark: 'b' })] }), true);
    expect([...(grown.changes ?? [])]).toEqual([['r', 1]]);
  });
});

describe('findings that are announced', () => {
  const flag = (id: string, change: Record<string, unknown> = {}) => ({
    id,
    rule: id,
    severity: 'critical',
    variables: ['dense/kernel'],
    open: true,
    ...change,
  });
  const run = (...flags: unknown[]) => decodeRun({ run: 'r', flags });

  it('are warnings that were not there, or were less', () => {
    const ids = (before: unknown[], now: unknown[]) =>
      newFindings(run(...before), run(...now)).map(({ id }) => id);
    expect(ids([], [flag('a'), flag('b', { severity: 'info' })])).toEqual(['a']);
    expect(ids([flag('a')], [flag('a')])).toEqual([]);
    expect(ids([flag('a', { severity: 'info' })], [flag('a')])).toEqual(['a']);
    // The same finding, which began earlier than was known: its id is another one.
    expect(ids([flag('a')], [flag('a2', { rule: 'a' })])).toEqual([]);
    expect(ids([], [flag('a', { open: false })])).toEqual([]);
  });
});

describe('the follower', () => {
  beforeEach(() => vi.useFakeTimers({ now: NOW }));
  afterEach(() => vi.useRealTimers());

  function follow(change: Record<string, unknown> = {}) {
    const asked: (string | null)[] = [];
    let mark = 'a';
    const fetcher = ((_: string, init?: RequestInit) => {
      const known = new Headers(init?.headers).get('if-none-match');
      asked.push(known);
      const headers = { etag: `"${mark}"`, date: new Date(Date.now()).toUTCString() };
      return Promise.resolve(
        known === headers.etag
          ? new Response(null, { status: 304, headers })
          : new Response(JSON.stringify({ runs: [summary('r', { ...change, mark })] }), {
              headers,
            }),
      );
    }) as typeof fetch;
    const store = createStore<State>(stateWith(change));
    createFollower(store, createClient(fetcher));
    store.set({ connected: true, theme: 'dark' });
    return { store, asked, write: (next: string) => (mark = next) };
  }

  it('asks every five seconds while a run grows, and for what is new only', async () => {
    const { store, asked, write } = follow();
    await vi.advanceTimersByTimeAsync(5_100);
    await vi.advanceTimersByTimeAsync(5_100);
    expect(asked).toEqual([null, '"a"']);
    expect(store.get().changes.size).toBe(0);
    write('b');
    await vi.advanceTimersByTimeAsync(5_100);
    expect(store.get().changes.get('r')).toBe(1);
  });

  it('asks once a minute about a run that has stopped', async () => {
    const { asked } = follow({ newest: NOW / 1000 - 1000 });
    await vi.advanceTimersByTimeAsync(59_000);
    expect(asked.length).toBe(0);
    await vi.advanceTimersByTimeAsync(2_000);
    expect(asked.length).toBe(1);
  });

  it('asks nothing while nobody looks, and at once afterwards', async () => {
    const { store, asked } = follow();
    store.set({ visible: false });
    await vi.advanceTimersByTimeAsync(60_000);
    expect(asked.length).toBe(0);
    store.set({ visible: true });
    await vi.advanceTimersByTimeAsync(10);
    expect(asked.length).toBe(1);
  });
});
