import { describe, expect, it, vi } from 'vitest';
import { answer } from '../dev/fixtures';
import { createClient, StaleRunError } from '../src/api/client';
import { decodeRun, decodeRuns } from '../src/api/decode';
import type { Flag } from '../src/api/types';
import { parseLink, parsePreferences } from '../src/host';
import { contrast, lineColours, PALETTES } from '../src/scale/colour';
import { buildRows, sharedPrefix, worstOf } from '../src/scale/rows';
import { createActions } from '../src/store/actions';
import { createLoader } from '../src/store/loader';
import {
  linkOf,
  preferencesOf,
  rememberedModules,
  selectionOf,
  sessionOf,
  startOf,
} from '../src/store/link';
import {
  columnsIn,
  filterFlags,
  groupFlags,
  isDefaultView,
  jointVariables,
  orderRuns,
  quietModules,
  rowMatcher,
  ruleStatesOf,
  ruleTitle,
  shownFrames,
  shownSides,
  worstRun,
  sortRuns,
  statisticOf,
  verdictOf,
  verdictSentence,
} from '../src/store/selectors';
import {
  ALL_FLAGS,
  initialState,
  type FlagFilter,
  type RunOrder,
  type State,
} from '../src/store/state';
import { createStore } from '../src/store/store';
import { isWhole, splitCode } from '../src/views/code';

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

describe('a link to a run that is not there', () => {
  it('opens another one and says so, on load and later', async () => {
    const { store, actions } = start({ run: 'gone' });
    await vi.waitFor(() => {
      expect(store.get().selectedRun).toBe('exploded');
    });
    expect(store.get().missingRun).toBe('gone');
    actions.selectRun('healthy');
    expect(store.get().missingRun).toBeNull();
    actions.followLink({ run: 'renamed' });
    expect(store.get()).toMatchObject({ selectedRun: 'healthy', missingRun: 'renamed' });
  });
});

describe('a rule that the training added', () => {
  const page = { id: 'large_weights', title: 'Weights are <b>large</b>', why: 'It matters.' };
  const known = { id: 'vanishing_gradient', title: 'Of another version' };
  const fetcher = ((address: string) => {
    const { pathname } = new URL(address, 'http://fixtures/');
    if (!pathname.endsWith('/run')) return fixtureFetch(address);
    const body = { ...(json(address) as object), own_rules: [page, known, 'no page'] };
    return Promise.resolve(new Response(JSON.stringify(body), { status: 200 }));
  }) as typeof fetch;

  it('has its page in the rule book, whichever of both is read first', async () => {
    const { store, actions } = start({ run: 'healthy' }, fetcher);
    await vi.waitFor(() => {
      expect(store.get().rules?.rules.get('large_weights')?.why).toBe('It matters.');
    });
    expect(ruleTitle(store.get().rules, 'large_weights')).toBe('Weights are <b>large</b>');
    expect(ruleTitle(store.get().rules, 'vanishing_gradient')).toContain('first layers');
    actions.selectRun('exploded');
    await vi.waitFor(() => {
      expect(store.get().run?.run).toBe('exploded');
    });
    expect(ruleTitle(store.get().rules, 'large_weights')).toBe('Weights are <b>large</b>');
  });
});

describe('the tab', () => {
  it('lands on the worst run and reads its heat-map', async () => {
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

  it('waits for verdicts, but not for ever', async () => {
    vi.useFakeTimers();
    try {
      let asked = 0;
      const unjudged = JSON.stringify({ runs: [{ run: 'broken', frames: 3, verdict: null }] });
      start({}, ((address: string) => {
        if (!address.startsWith('./runs'))
          return Promise.resolve(new Response('{}', { status: 404 }));
        asked += 1;
        return Promise.resolve(new Response(unjudged));
      }) as typeof fetch);
      await vi.advanceTimersByTimeAsync(10_000);
      expect(asked).toBeGreaterThan(2);
      await vi.advanceTimersByTimeAsync(300_000);
      expect(asked).toBeLessThan(25);
    } finally {
      vi.useRealTimers();
    }
  });

  it('shows the numbers of a run first, and what is found in it once it is judged', async () => {
    const asked: string[] = [];
    let judge = (): void => undefined;
    const { store } = start({ run: 'deep_sigmoid' }, ((address: string) => {
      asked.push(address);
      const reported = json(`run?run=deep_sigmoid`) as Record<string, unknown>;
      const reply = (body: unknown): Response => new Response(JSON.stringify(body));
      if (address.startsWith('./run?'))
        return Promise.resolve(reply({ ...reported, judged: null, flags: [] }));
      if (!address.startsWith('./verdict')) return fixtureFetch(address);
      return new Promise((resolve) => {
        judge = () => {
          resolve(reply(reported));
        };
      });
    }) as typeof fetch);
    expect(asked.map((address) => address.split('?')[0]).sort()).toEqual(['./run', './runs']);
    await vi.waitFor(() => {
      expect(asked.some((address) => address.startsWith('./verdict?'))).toBe(true);
    });
    const before = store.get();
    expect(before.matrix).not.toBeNull();
    expect(before.run && verdictSentence(before.run)).toMatch(/^Judging \d+ frames/);
    judge();
    await vi.waitFor(() => {
      expect(store.get().run?.flags.length).toBeGreaterThan(0);
    });
    expect(store.get().matrix, 'numbers are not read again').toBe(before.matrix);
    expect(asked.filter((address) => address.startsWith('./matrix'))).toHaveLength(1);
  });

  it('glances at a large run first, and then reads it', async () => {
    const asked: string[] = [];
    const reported = json('run?run=deep_sigmoid') as Record<string, unknown>;
    const { store } = start({ run: 'deep_sigmoid' }, ((address: string) => {
      asked.push(address);
      if (address.startsWith('./marks') && address.includes('revision=some'))
        return Promise.resolve(new Response(new Uint8Array(5 * 120)));
      if (!address.startsWith('./run?')) return fixtureFetch(address);
      const glance = address.includes('glance');
      const steps = reported.steps as number[];
      const answered = {
        ...reported,
        ...(glance ? { glance, steps: steps.slice(-5), revision: 'some', flags: [] } : {}),
      };
      return Promise.resolve(new Response(JSON.stringify({ ...answered, judged: 'live' })));
    }) as typeof fetch);
    let glanced: State | null = null;
    store.subscribe((state) => {
      if (state.run?.glance && state.matrix?.run === state.run) glanced ??= state;
    });
    await vi.waitFor(() => {
      expect(store.get().run?.glance).toBe(false);
      expect(store.get().matrix?.run).toBe(store.get().run);
    });
    const before = glanced as State | null;
    expect(before?.run?.steps).toHaveLength(5);
    expect(before?.run && verdictSentence(before.run)).toContain('reading all frames');
    expect(store.get().run?.steps.length).toBeGreaterThan(5);
    expect(asked.filter((address) => address.startsWith('./run?'))).toHaveLength(2);
  });

  it('drops what is read on for a run that nobody looks at any more', async () => {
    const reported = (name: string): Record<string, unknown> =>
      json(`run?run=${name}`) as Record<string, unknown>;
    let readOn = (): void => undefined;
    const { store, actions } = start({ run: 'deep_sigmoid' }, ((address: string) => {
      if (address.startsWith('./marks') && address.includes('revision=some'))
        return Promise.resolve(new Response(new Uint8Array(5 * 120)));
      if (!address.startsWith('./run?run=deep_sigmoid')) return fixtureFetch(address);
      const whole = { ...reported('deep_sigmoid'), judged: 'live' };
      if (!address.includes('glance'))
        return new Promise((resolve) => {
          readOn = () => {
            resolve(new Response(JSON.stringify(whole)));
          };
        });
      const steps = (whole as unknown as { steps: number[] }).steps.slice(-5);
      const some = { ...whole, glance: true, steps, revision: 'some' };
      return Promise.resolve(new Response(JSON.stringify(some)));
    }) as typeof fetch);
    await vi.waitFor(() => {
      expect(store.get().loading.has('whole')).toBe(true);
    });
    actions.selectRun('healthy');
    await vi.waitFor(() => {
      expect(store.get().matrix?.run.run).toBe('healthy');
    });
    readOn();
    await new Promise((resolve) => setTimeout(resolve, 0));
    expect(store.get().run?.run).toBe('healthy');
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

describe('two runs side by side', () => {
  async function compared() {
    const tab = start({ run: 'deep_sigmoid', compare: 'deep_relu', variable: 'dense_1/kernel' });
    await vi.waitFor(() => {
      expect(tab.store.get().others.get('deep_relu')?.variable).not.toBeNull();
      expect(tab.store.get().others.get('deep_relu')?.matrix).not.toBeNull();
      expect(tab.store.get().loading.size).toBe(0);
    });
    return tab;
  }

  it('are loaded alike', async () => {
    const { store } = await compared();
    const [first, second] = shownSides(store.get());
    expect([first?.name, second?.name]).toEqual(['deep_sigmoid', 'deep_relu']);
    expect(second?.matrix?.statistic).toBe(first?.matrix?.statistic);
    expect(second?.variable?.variable).toBe('dense_1/kernel');
  });

  it('change places with what was loaded', async () => {
    const { store, actions } = await compared();
    const before = store.get();
    actions.swapRuns('deep_relu');
    expect(store.get().selectedRun).toBe('deep_relu');
    expect(store.get().run).toBe(before.others.get('deep_relu')?.run);
    expect(shownSides(store.get())[1]?.matrix).toBe(before.matrix);
  });

  it('become one again', async () => {
    const { store, actions } = await compared();
    actions.endComparison();
    expect(store.get().others.size).toBe(0);
    expect(shownSides(store.get())).toHaveLength(1);
  });

  it('are never the same one', async () => {
    const { store, actions } = await compared();
    actions.toggleBeside('deep_sigmoid');
    expect(store.get().compareRuns).toEqual(['deep_relu']);
    actions.selectRun('deep_relu');
    expect(store.get().compareRuns).toEqual(['deep_sigmoid']);
    actions.toggleBeside('deep_sigmoid');
    expect(store.get().compareRuns).toEqual([]);
  });

  it('may be more than two, and one of them may go', async () => {
    const { store, actions } = await compared();
    actions.toggleBeside('healthy');
    await vi.waitFor(() => {
      expect(shownSides(store.get())[2]?.matrix).toBeTruthy();
    });
    const kept = shownSides(store.get())[2];
    actions.toggleBeside('deep_relu');
    expect(shownSides(store.get()).map(({ name }) => name)).toEqual(['deep_sigmoid', 'healthy']);
    expect(shownSides(store.get())[1]?.matrix).toBe(kept?.matrix);
    expect(store.get().others.has('deep_relu')).toBe(false);
  });

  it('have colours that stand out from the page and from each other', () => {
    for (const theme of ['light', 'dark'] as const) {
      const colours = lineColours([0, 3, 7, 10], theme);
      expect(new Set(colours).size).toBe(4);
      for (const colour of colours) {
        const [own, page] = [colour, PALETTES[theme].surface].map((hex) =>
          [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)),
        );
        expect(contrast(own ?? [], page ?? [])).toBeGreaterThanOrEqual(3);
      }
    }
    expect(lineColours([5], 'light')).toEqual([PALETTES.light.first]);
  });

  it('share their rows, also those that only one has', () => {
    const [small, large] = [run('healthy'), run('deep_relu')];
    expect(jointVariables(large, small)).toEqual(large.variables);
    const rows = jointVariables(small, large);
    expect(rows.slice(0, 8)).toEqual(small.variables);
    expect(rows).toHaveLength(16);
    expect([...columnsIn(small, rows)].slice(6, 10)).toEqual([6, 7, -1, -1]);
  });
});

describe('the address', () => {
  it('restores the whole view', () => {
    const link = {
      run: 'a',
      compare: 'b/c,lr=1%2Cbs=2',
      flag: 'x1',
      variable: 'dense/kernel',
      statistic: 'update_ratio',
      step: '120',
      compareStep: '7',
      zoom: '100-200',
      view: 'profile',
      encoding: 'relative',
      axis: 'log',
      values: 'linear',
      colours: 'run',
      smoothing: '0.6',
      rows: '^dense',
      only: 'findings',
      hide: 'info,warning',
      rule: 'dead_units',
      flags: 'kernel$',
      histograms: 'ridges',
      runs: 'a|b',
      about: 'dead_units',
    };
    expect(linkOf(selectionOf(link))).toEqual(link);
  });

  it('keeps nothing of a view that is as always', () => {
    const kept = Object.values(linkOf(initialState('light'))).filter((text) => text !== '');
    expect(kept).toEqual([]);
    expect(isDefaultView({ ...initialState('light'), ...selectionOf({}) })).toBe(true);
  });

  it('wins over the habits of the last visit', () => {
    const habits = preferencesOf({ ...initialState('light'), spacing: 'log', runOrder: 'name' });
    expect(startOf({}, habits)).toMatchObject({ spacing: 'log', runOrder: 'name' });
    expect(startOf({ run: 'a' }, habits)).toMatchObject({ spacing: 'steps', runOrder: 'name' });
    expect(parsePreferences('{"axis": "log", "order": 3}')).toEqual({ axis: 'log' });
    expect(parsePreferences(null)).toEqual({});
  });

  it('leaves the open modules to the window', async () => {
    const { store, actions } = start({ run: 'deep_sigmoid' });
    await vi.waitFor(() => {
      expect(store.get().run).not.toBeNull();
    });
    actions.toggleModule('dense_2');
    const session = sessionOf(store.get());
    expect(rememberedModules(session)).toEqual({
      run: 'deep_sigmoid',
      collapsed: new Set(['dense_2']),
    });
    expect(rememberedModules({})).toBeNull();
    const again = start({ run: 'deep_sigmoid' });
    again.store.set({ remembered: rememberedModules(session) });
    await vi.waitFor(() => {
      expect(again.store.get().collapsed).toEqual(new Set(['dense_2']));
    });
  });

  it('may hold nonsense, which is as if it were not there', () => {
    expect(
      selectionOf({ step: '-3', zoom: '9-2', view: 'cinema', hide: 'all,info', axis: '' }),
    ).toMatchObject({
      selectedStep: null,
      stepRange: null,
      view: 'heatmap',
      spacing: 'steps',
      flagFilter: { hidden: new Set(['info']) },
    });
  });
});

describe('the list of flags', () => {
  const flag = (id: string, change: Partial<Flag> = {}): Flag => ({
    id,
    rule: 'dead_units',
    severity: 'warning',
    variables: ['dense/kernel'],
    firstStep: 0,
    lastStep: 9,
    open: true,
    summary: '',
    evidence: [],
    causes: [],
    fixes: [],
    followUps: [],
    origin: null,
    provisional: false,
    ...change,
  });
  const cause = (id: string) => ({ causes: [{ id, confidence: 0.5, summary: '' }] });

  it('puts flags of one cause together and keeps the ranking', () => {
    const groups = groupFlags([
      flag('a', cause('rate')),
      flag('b'),
      flag('c', cause('clip')),
      flag('d', cause('rate')),
      flag('e'),
    ]);
    expect(groups.map(({ cause: id, flags }) => [id, flags.map((f) => f.id).join('')])).toEqual([
      ['rate', 'ad'],
      [null, 'b'],
      ['clip', 'c'],
      [null, 'e'],
    ]);
  });

  it('is filtered by severity, rule and variable, all at once', () => {
    const flags = [
      flag('a'),
      flag('b', { severity: 'info' }),
      flag('c', { rule: 'gradient_spike' }),
      flag('d', { variables: ['norm/gamma', 'head/bias'] }),
    ];
    const ids = (filter: Partial<FlagFilter>) =>
      filterFlags(flags, { ...ALL_FLAGS, ...filter })
        .map(({ id }) => id)
        .join('');
    expect(ids({})).toBe('abcd');
    expect(ids({ hidden: new Set(['info']) })).toBe('acd');
    expect(ids({ rule: 'gradient_spike' })).toBe('c');
    expect(ids({ variable: '^head|gamma$' })).toBe('d');
    expect(ids({ hidden: new Set(['warning']), variable: 'KERNEL' })).toBe('b');
  });
});

describe('the zoom', () => {
  it('covers the frames within it and at least one', () => {
    const steps = [0, 10, 20, 30];
    expect(shownFrames(steps, null)).toEqual({ from: 0, to: 4 });
    expect(shownFrames(steps, [10, 25])).toEqual({ from: 1, to: 3 });
    expect(shownFrames(steps, [12, 13])).toEqual({ from: 1, to: 2 });
    expect(shownFrames([], [0, 9])).toEqual({ from: 0, to: 0 });
  });

  it('is put away by a reset, like all of the view but the runs', async () => {
    const { store, actions } = start({ run: 'deep_sigmoid', zoom: '10-20', rows: 'bias' });
    await vi.waitFor(() => {
      expect(store.get().run).not.toBeNull();
    });
    expect(isDefaultView(store.get())).toBe(false);
    actions.resetView();
    expect(isDefaultView(store.get())).toBe(true);
    expect(store.get().selectedRun).toBe('deep_sigmoid');
  });
});

describe('runs', () => {
  const runs = decodeRuns(json('runs'));

  it('come in TensorBoard’s order, unknown ones last', () => {
    const names = orderRuns(runs, ['exploded', 'healthy']).map(({ summary }) => summary.run);
    expect(names).toEqual(['exploded', 'healthy', 'deep_relu', 'deep_sigmoid']);
  });

  it('are sorted by verdict or by name', () => {
    const entries = orderRuns(runs, ['healthy', 'exploded']);
    const names = (order: RunOrder) => sortRuns(entries, order).map(({ summary }) => summary.run);
    expect(names('tensorboard')).toEqual(['healthy', 'exploded', 'deep_relu', 'deep_sigmoid']);
    expect(names('verdict')).toEqual(['exploded', 'deep_sigmoid', 'healthy', 'deep_relu']);
    expect(names('name')).toEqual(['deep_relu', 'deep_sigmoid', 'exploded', 'healthy']);
  });

  it('are opened at the worst', () => {
    expect(worstRun(orderRuns(runs, ['healthy', 'deep_sigmoid', 'exploded']))).toBe('deep_sigmoid');
    expect(worstRun([])).toBeNull();
  });

  it('have a verdict in one line', () => {
    expect(verdictSentence(run('healthy'))).toBe(
      'Healthy: 8 variables, 191 frames over 1,001 steps, nothing found',
    );
    expect(verdictSentence(run('deep_sigmoid'))).toMatch(/^1 critical, 1 info in 16 variables/);
  });

  it('is undecided where too little was seen, unless there is a warning already', () => {
    const undecided = 'too early to tell: 9 steps';
    const early = { ...run('healthy'), undecided };
    expect(verdictOf(early)).toBe('undecided');
    expect(verdictSentence(early)).toBe(`Undecided: ${undecided}`);
    expect(verdictSentence(early, true)).toBe('Undecided');
    const flagged = { ...run('deep_sigmoid'), undecided };
    expect(verdictOf(flagged)).toBe('critical');
    const info = { ...flagged, flags: flagged.flags.filter(({ severity }) => severity === 'info') };
    expect(verdictOf(info)).toBe('undecided');
    expect(verdictSentence(info)).toBe(`Undecided, 1 info: ${undecided}`);
    expect(verdictOf({ ...info, undecided: '' })).toBe('info');
  });

  it('rank an undecided run above a healthy one and below one with a warning', () => {
    const runs = decodeRuns({
      runs: ['info', 'undecided', 'warning'].map((verdict) => ({ run: verdict, verdict })),
    });
    const order = sortRuns(orderRuns(runs, []), 'verdict').map(({ summary }) => summary.run);
    expect(order).toEqual(['warning', 'undecided', 'info']);
  });

  it('list the rules by how far they have judged', () => {
    const rules = decodeRun({
      rules: [
        { rule: 'a', state: 'passed', reason: '' },
        { rule: 'b', state: 'not_yet', reason: 'needs 100 losses; 9 were seen' },
        { rule: 'c', state: 'passed', reason: 'does not apply: the optimizer does not clip' },
        { rule: 'd', state: 'of a newer server', reason: '' },
      ],
    });
    const states = ruleStatesOf(rules).map(({ state, rules: some }) => [state, some.length]);
    expect(states).toEqual([
      ['not_yet', 1],
      ['passed', 2],
    ]);
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

  it('nest by path, without what all names begin with', () => {
    const named = (path: string, module: string) =>
      ({ ...variables[0], path, module }) as (typeof variables)[number];
    const model = [
      named('net/encoder/block_0/dense/kernel', 'net/encoder/block_0/dense'),
      named('net/encoder/block_0/dense/bias', 'net/encoder/block_0/dense'),
      named('net/encoder/block_0/norm/gamma', 'net/encoder/block_0/norm'),
      named('net/encoder/block_1/dense/kernel', 'net/encoder/block_1/dense'),
      named('net/head/kernel', 'net/head'),
    ];
    expect(sharedPrefix(model)).toEqual(['net']);
    const reported = (collapsed: string[]) =>
      buildRows(model, new Set(collapsed)).map(
        ({ label, within }) => '  '.repeat(within.length) + label,
      );
    expect(reported([])).toEqual([
      'encoder',
      '  block_0',
      '    dense/kernel',
      '    dense/bias',
      '    norm/gamma',
      '  block_1/dense/kernel',
      'head',
      '  kernel',
    ]);
    expect(reported(['net/encoder'])).toEqual(['encoder', 'head', '  kernel']);
  });

  it('can be those with findings alone, if there are any', () => {
    const [healthy, faulty] = [run('healthy'), run('deep_sigmoid')];
    const shown = rowMatcher('kernel', true, faulty);
    expect(faulty.variables.map(({ path }) => path).filter(shown)).toEqual([
      'dense_0/kernel',
      'dense_1/kernel',
      'dense_7/kernel',
    ]);
    expect(rowMatcher('', true, healthy)('dense_0/kernel')).toBe(true);
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

  it('know the bad direction of a statistic', () => {
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
    const faulty = run('deep_sigmoid');
    expect(faulty.flags.map((flag) => statisticOf(flag, faulty))).toEqual(['gradient_rms', null]);
  });

  it('splits advice into text and code', () => {
    expect(splitCode('Try `x=1` or\n```python\na\nb\n```')).toEqual([
      { kind: 'text', text: 'Try ' },
      { kind: 'code', text: 'x=1' },
      { kind: 'text', text: ' or\n' },
      { kind: 'code', text: 'a\nb' },
    ]);
    expect(splitCode('an odd ` stays')).toEqual([{ kind: 'text', text: 'an odd ` stays' }]);
  });

  it('copies complete statements, and no part of one', () => {
    const text = 'In a and b: `kernel_initializer="he_normal"`, or `x = x / 255`, not `argmax`.';
    const whole = splitCode(text).filter((part) => isWhole(part, ['x = x / 255']));
    expect(whole.map((part) => part.text)).toEqual(['x = x / 255']);
    expect(splitCode(text).filter((part) => isWhole(part, []))).toEqual([]);
  });

  it('reads its own keys from TensorBoard’s address', () => {
    const hash =
      '#gradient_health&p.gradient_health.run=a%2Fb%20c&p.other.run=x&runSelectionState=e30=';
    expect(parseLink(hash)).toEqual({ run: 'a/b c' });
    expect(parseLink('#p.gradient_health.flag=%')).toEqual({ flag: '%' });
  });

  it('gives listeners the newest state only', () => {
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
