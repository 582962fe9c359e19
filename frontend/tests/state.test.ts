import { describe, expect, it, vi } from 'vitest';
import { answer } from '../dev/fixtures';
import { createClient, StaleRunError } from '../src/api/client';
import { decodeRun, decodeRuns } from '../src/api/decode';
import { parseLink } from '../src/host';
import { buildRows, worstOf } from '../src/scale/rows';
import { createActions } from '../src/store/actions';
import { createLoader } from '../src/store/loader';
import {
  orderRuns,
  quietModules,
  sickestRun,
  statisticOf,
  verdictSentence,
} from '../src/store/selectors';
import { initialState, type State } from '../src/store/state';
import { createStore } from '../src/store/store';
import { copyable, splitCode } from '../src/views/code';

const json = (address: string): unknown => JSON.parse(String(answer(address).body));
const run = (name: string) => decodeRun(json(`run?run=${name}`));

const fixtureFetch = ((address: string) => {
  const { status, type, body } = answer(address);
  return Promise.resolve(
    new Response(body as BodyInit, { status, headers: { 'content-type': type } }),
  );
}) as typeof fetch;

/** The tab without a page: store, loader and actions on the made-up server. */
function start(link: Record<string, string> = {}, fetcher = fixtureFetch) {
  const store = createStore<State>(initialState('light'));
  let refresh = (): void => undefined;
  const actions = createActions(store, () => {
    refresh();
  });
  actions.followLink(link);
  const loader = createLoader(store, createClient(fetcher), () =>
    Promise.resolve(['exploded', 'healthy', 'deep_sigmoid']),
  );
  refresh = loader.refresh;
  return { store, actions };
}

describe('the tab', () => {
  it('lands on the sickest run and reads its heat-map', async () => {
    const { store } = start();
    await vi.waitFor(() => {
      expect(store.get().matrix).not.toBeNull();
    });
    const { selectedRun, matrix, run: shown } = store.get();
    expect(selectedRun).toBe('exploded');
    expect(matrix?.run).toBe(shown);
    expect(matrix?.values).toHaveLength((shown?.steps.length ?? 0) * 120);
    expect(matrix?.marks.some((mark) => mark > 0)).toBe(true);
  });

  it('follows a link', async () => {
    const { store } = start({
      run: 'deep_sigmoid',
      variable: 'dense_1/kernel',
      statistic: 'update_ratio',
    });
    await vi.waitFor(() => {
      expect(store.get().variable).not.toBeNull();
    });
    expect(store.get().variable?.variable).toBe('dense_1/kernel');
    expect(store.get().matrix?.statistic).toBe('update_ratio');
  });

  it('shows a flag by its variable, its step and its statistic', async () => {
    const { store, actions } = start({ run: 'deep_sigmoid', statistic: 'update_ratio' });
    await vi.waitFor(() => {
      expect(store.get().run).not.toBeNull();
    });
    actions.setAllModules(false);
    actions.toggleFlag('vanishing');
    expect(store.get()).toMatchObject({
      selectedFlag: 'vanishing',
      selectedVariable: 'dense_0/kernel',
      selectedStep: 10,
      statistic: 'gradient_rms',
    });
    expect(store.get().collapsed.has('dense_0')).toBe(false);
    expect(store.get().collapsed.has('dense_5')).toBe(true);
    actions.toggleFlag('vanishing');
    expect(store.get().selectedFlag).toBeNull();
  });

  it('says the server’s own sentence when something fails, and recovers', async () => {
    let broken = true;
    const { store, actions } = start({}, ((address: string) =>
      broken
        ? Promise.resolve(new Response('{"error": "Free some memory."}', { status: 500 }))
        : fixtureFetch(address)) as typeof fetch);
    await vi.waitFor(() => {
      expect(store.get().failures.runs).toBe('Free some memory.');
    });
    broken = false;
    actions.refresh();
    await vi.waitFor(() => {
      expect(store.get().matrix).not.toBeNull();
    });
    expect(store.get().failures).toEqual({});
  });

  it('reads a run again when it has grown in between', async () => {
    let stale = true;
    let readings = 0;
    const { store } = start({}, ((address: string) => {
      if (address.startsWith('./run?')) readings += 1;
      if (address.startsWith('./context') && stale) {
        stale = false;
        return Promise.resolve(new Response('{"error": "It has grown."}', { status: 409 }));
      }
      return fixtureFetch(address);
    }) as typeof fetch);
    await vi.waitFor(() => {
      expect(store.get().context).not.toBeNull();
    });
    expect(readings).toBe(2);
  });

  it('asks for numbers of the very state it shows', async () => {
    const asked: string[] = [];
    const client = createClient(((address: string) => {
      asked.push(address);
      return Promise.resolve(new Response('{}', { status: 409 }));
    }) as typeof fetch);
    await expect(client.context({ run: 'a b', revision: 'r1' })).rejects.toThrow(StaleRunError);
    expect(asked).toEqual(['./context?run=a+b&revision=r1']);
  });
});

describe('runs', () => {
  const runs = decodeRuns(json('runs'));

  it('come in TensorBoard’s order, unknown ones last', () => {
    const names = orderRuns(runs, ['exploded', 'healthy']).map(({ summary }) => summary.run);
    expect(names).toEqual(['exploded', 'healthy', 'deep_sigmoid']);
  });

  it('are opened at the sickest', () => {
    expect(sickestRun(orderRuns(runs, ['healthy', 'deep_sigmoid', 'exploded']))).toBe(
      'deep_sigmoid',
    );
    expect(sickestRun([])).toBeNull();
  });

  it('have a verdict in one line', () => {
    expect(verdictSentence(run('healthy'))).toBe(
      'Healthy: 8 variables, 191 frames over 1,001 steps, nothing found',
    );
    expect(verdictSentence(run('deep_sigmoid'))).toMatch(/^1 critical, 1 info in 16 variables/);
  });
});

describe('rows', () => {
  const { variables } = run('healthy');

  it('keep network order and stand under their module', () => {
    const rows = buildRows(variables, new Set());
    expect(rows.slice(0, 3).map(({ label }) => label)).toEqual(['dense_0', 'kernel', 'bias']);
    expect(rows).toHaveLength(12);
  });

  it('of a closed module are one', () => {
    const rows = buildRows(variables, new Set(['dense_1']));
    expect(rows.filter(({ module }) => module === 'dense_1')).toMatchObject([
      { kind: 'module', variables: [2, 3], open: false },
    ]);
  });

  it('give a module that comes back a header of its own', () => {
    const [a, b] = variables.filter(({ module }) => /_[01]$/.test(module));
    const c = variables.find(({ module }) => module === 'dense_1');
    if (!a || !b || !c) throw new Error('fixture');
    const modules = buildRows([a, c, b], new Set()).filter(({ kind }) => kind === 'module');
    expect(modules.map(({ key }) => key)).toEqual(['dense_0', 'dense_1', 'dense_0#2']);
  });

  it('of many variables start with the healthy modules closed', () => {
    expect(quietModules(run('healthy'), null).size).toBe(0);
    const large = run('exploded');
    const bulky = { ...large, variables: [...large.variables, ...variables.slice(0, 2)] };
    const closed = quietModules(bulky, 'dense_1/kernel');
    expect(closed.has('dense_0')).toBe(true);
    expect(closed.has('dense_1')).toBe(false);
    expect(closed.has('dense_59')).toBe(false);
  });

  it('know the sick direction of a statistic', () => {
    const { statistics } = run('healthy');
    const worst = (name: string) => {
      const column = statistics.find((candidate) => candidate.name === name);
      return column && worstOf(column);
    };
    expect(worst('gradient_zero_share')).toBe('high');
    expect(worst('gradient_nan_count')).toBe('high');
    expect(worst('update_ratio')).toBe('both');
  });
});

describe('small things', () => {
  it('finds the statistic that a flag’s evidence is named after', () => {
    const sick = run('deep_sigmoid');
    expect(sick.flags.map((flag) => statisticOf(flag, sick))).toEqual(['gradient_rms', null]);
  });

  it('splits advice into text and code', () => {
    expect(splitCode('Try `x=1` or\n```python\na\nb\n```')).toEqual([
      { kind: 'text', text: 'Try ' },
      { kind: 'code', text: 'x=1' },
      { kind: 'text', text: ' or\n' },
      { kind: 'code', text: 'a\nb' },
    ]);
    expect(copyable('Try `x=1`.')).toBe('x=1');
    expect(copyable('Sleep on it.')).toBe('Sleep on it.');
    expect(splitCode('an odd ` stays')).toEqual([{ kind: 'text', text: 'an odd ` stays' }]);
  });

  it('reads its own keys from TensorBoard’s address', () => {
    const hash =
      '#gradient_health&p.gradient_health.run=a%2Fb%20c&p.other.run=x&runSelectionState=e30=';
    expect(parseLink(hash)).toEqual({ run: 'a/b c' });
    expect(parseLink('#p.gradient_health.flag=%')).toEqual({ flag: '%' });
  });

  it('tells listeners of the newest state only', () => {
    const store = createStore({ a: 0, b: 0 });
    const seen: string[] = [];
    store.subscribe(({ a, b }) => {
      if (b < a) store.set({ b: a });
    });
    store.subscribe(({ a, b }) => seen.push(`${a}${b}`));
    store.set({ a: 1 });
    expect(new Set(seen)).toEqual(new Set(['11']));
    seen.length = 0;
    store.set({ a: 1 });
    expect(seen).toEqual([]);
  });
});
