/**
 * A made-up server: runs with the look of real ones, answered as `docs/http_api.md` says.
 *
 * In:  an address below the plugin's folder.
 * Out: what the back end would answer.
 * Used by the demo page (`npm run dev`) and by the unit tests; no network, no clock, the
 * same numbers every time.
 */

export interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string | Uint8Array;
}

interface FixtureVariable {
  readonly path: string;
  readonly module: string;
  readonly elements: number;
  readonly depth: number;
}

type Fault = 'none' | 'vanishing' | 'nan';

interface FixtureRun {
  readonly name: string;
  readonly fault: Fault;
  readonly layers: number;
  readonly lastStep: number;
}

export const FIXTURE_RUNS: readonly FixtureRun[] = [
  { name: 'healthy', fault: 'none', layers: 4, lastStep: 1000 },
  { name: 'deep_sigmoid', fault: 'vanishing', layers: 8, lastStep: 1000 },
  { name: 'deep_relu', fault: 'none', layers: 8, lastStep: 1000 },
  { name: 'exploded', fault: 'nan', layers: 60, lastStep: 4000 },
];

const LOWEST_EXPONENT = -72;
const OCTAVES = 96;
const NAN_FROM = 700;

const column = (name: string, unit: string, scale: string, meaning: string, scope = 'step') => ({
  name,
  unit,
  scope,
  scale,
  meaning,
});

const STATISTICS = [
  column('gradient_norm', 'loss/weight', 'log', 'L2 norm of the gradient.'),
  column('gradient_mean', 'loss/weight', 'linear', 'Mean of the finite elements.'),
  column('gradient_zero_share', 'share', 'linear', 'Share of the elements that are exactly zero.'),
  column('gradient_nan_count', 'elements', 'count', 'Elements that are NaN.'),
  column('dead_unit_share', 'share', 'linear', 'Share of units without any gradient.', 'window'),
  column('nonfinite_age', 'steps', 'count', 'Steps since it was first non-finite.', 'window'),
  column('gradient_rms', 'loss/weight', 'log', 'gradient_norm / sqrt(number of elements).'),
  column('gradient_nonfinite_count', 'elements', 'count', 'NaN and Inf together.'),
  column('update_ratio', 'ratio', 'log', 'update_norm / weight_norm. Healthy is around 1e-3.'),
];
const CONTEXT = [
  column('loss', 'loss', 'linear', 'Loss of the frame’s own step.'),
  column('loss_nonfinite_age', 'steps', 'count', 'Like nonfinite_age, for the loss.', 'window'),
  column('learning_rate', '1/step', 'log', 'Of the optimizer at this step.'),
];

const NAMED = ['mse', '<b>kl</b>'];
const NAMED_COLUMNS = NAMED.map((name) =>
  column(`losses/${name}`, 'loss', 'linear', 'A loss that the loop gave this name.'),
);

/** Of one run only. */
const namesOf = (run: FixtureRun): readonly string[] => (run.fault === 'nan' ? NAMED : []);
const contextColumnsOf = (run: FixtureRun) =>
  namesOf(run).length > 0 ? [...CONTEXT, ...NAMED_COLUMNS] : CONTEXT;

/** A repeatable number in [0, 1) for any place (a 32-bit integer hash). */
function noise(...place: readonly number[]): number {
  let hash = 2166136261;
  for (const part of place) hash = Math.imul(hash ^ part, 16777619) ^ (hash >>> 13);
  hash = Math.imul(hash ^ (hash >>> 16), 2246822507);
  return ((hash ^ (hash >>> 13)) >>> 0) / 2 ** 32;
}

function stepsOf(run: FixtureRun): number[] {
  return Array.from({ length: run.lastStep + 1 }, (_, step) => step).filter(
    (step) => step < 100 || step % 10 === 0,
  );
}

function variablesOf(run: FixtureRun): FixtureVariable[] {
  return Array.from({ length: run.layers }, (_, depth) =>
    ['kernel', 'bias'].map((role) => ({
      path: `dense_${depth}/${role}`,
      module: `dense_${depth}`,
      elements: role === 'kernel' ? 4096 : 64,
      depth,
    })),
  ).flat();
}

/** One number of one variable at one step; NaN: not measured. */
function valueOf(
  run: FixtureRun,
  variable: FixtureVariable,
  row: number,
  step: number,
  name: string,
): number {
  const jitter = Math.exp(0.5 * (noise(row, step) - 0.5));
  const fade = run.fault === 'vanishing' ? 10 ** (-1.3 * (run.layers - 1 - variable.depth)) : 1;
  const rms = 2e-3 * jitter * fade * Math.exp(-step / 2000);
  const faulty = run.fault === 'nan' && step >= NAN_FROM && variable.depth >= run.layers - 6;
  switch (name) {
    case 'gradient_rms':
      return rms;
    case 'gradient_norm':
      return rms * Math.sqrt(variable.elements);
    case 'gradient_mean':
      return rms * 0.1 * (noise(row, step, 3) - 0.5);
    case 'gradient_zero_share':
      return run.fault === 'nan' && variable.depth === 2 ? Math.min(1, step / 900) : 0;
    case 'dead_unit_share':
      return step < 20 ? Number.NaN : run.fault === 'nan' && variable.depth === 2 ? 0.5 : 0;
    case 'gradient_nan_count':
    case 'gradient_nonfinite_count':
      return faulty ? 12 : 0;
    case 'nonfinite_age':
      return faulty ? 0 : -1;
    case 'update_ratio':
      return 1e-3 * jitter * Math.sqrt(fade) * Math.min(1, (step + 5) / 60);
    default:
      return Number.NaN;
  }
}

function contextOf(run: FixtureRun, step: number, name: string): number {
  const broken = run.fault === 'nan' && step >= NAN_FROM;
  if (name === 'learning_rate') return 1e-3 * Math.min(1, (step + 1) / 50);
  if (name === 'loss_nonfinite_age') return broken ? 0 : -1;
  if (name === 'losses/mse') return 1 / (step + 1);
  return broken ? Number.NaN : 0.4 + 1.9 * Math.exp(-step / 300) + 0.05 * noise(step);
}

function flagsOf(run: FixtureRun) {
  if (run.fault === 'vanishing') {
    return [
      {
        id: 'vanishing',
        rule: 'vanishing_gradient',
        severity: 'critical',
        variables: ['dense_0/kernel', 'dense_1/kernel'],
        first_step: 10,
        last_step: run.lastStep,
        open: true,
        summary: 'The gradient of dense_0/kernel is 8e-10 of that of the last layer.',
        evidence: [
          { name: 'gradient_rms_ratio', value: 8e-10, threshold: 1e-6 },
          { name: 'update_ratio', value: 3e-8, threshold: 1e-6 },
        ],
        causes: [
          { id: 'saturating_activation', confidence: 0.9, summary: 'All layers use `sigmoid`.' },
        ],
        fixes: [
          'Use another activation: `activation="relu"`',
          'Start wider:\n```python\nDense(\n    64,\n    kernel_initializer="he_normal",\n)\n```',
        ],
      },
      {
        id: 'spike',
        rule: 'gradient_spike',
        severity: 'info',
        variables: ['dense_7/kernel'],
        first_step: 40,
        last_step: 40,
        open: false,
        summary: 'One step with 30 times the usual norm.',
        evidence: [],
        causes: [],
        fixes: [],
      },
    ];
  }
  if (run.fault === 'none') return [];
  return [
    {
      id: 'nan',
      rule: 'nonfinite_gradient',
      severity: 'critical',
      variables: variablesOf(run)
        .filter(({ depth }) => depth >= run.layers - 6)
        .map(({ path }) => path),
      first_step: NAN_FROM,
      last_step: run.lastStep,
      open: true,
      summary: `NaN since step ${NAN_FROM}, first in dense_59/kernel.`,
      evidence: [{ name: 'gradient_nan_count', value: 12, threshold: 0 }],
      causes: [{ id: 'learning_rate_too_large', confidence: 0.6, summary: 'The norm grew.' }],
      fixes: ['Clip the gradient: `clipnorm=1.0`'],
    },
  ];
}

function summaryOf(run: FixtureRun) {
  const flags = flagsOf(run);
  const count = (severity: string): number =>
    flags.filter((flag) => flag.severity === severity).length;
  return {
    run: run.name,
    first_step: 0,
    last_step: run.lastStep,
    frames: stepsOf(run).length,
    variables: 2 * run.layers,
    verdict: flags[0]?.severity ?? 'healthy',
    counts: { critical: count('critical'), warning: count('warning'), info: count('info') },
  };
}

function runOf(run: FixtureRun) {
  return {
    run: run.name,
    revision: '1',
    steps: stepsOf(run),
    variables: variablesOf(run).map(({ path, module, elements }) => ({
      path,
      module,
      elements,
      shape: elements === 64 ? [64] : [64, 64],
      dtype: 'float32',
      layer_class: 'Dense',
      role: path.split('/')[1],
      activation: run.fault === 'vanishing' ? 'sigmoid' : 'relu',
      initializer: 'GlorotUniform',
      trainable: true,
      units: 64,
      optimizer: 'Adam',
      facts: { fed_by: 'the layer before' },
    })),
    statistics: STATISTICS,
    context_columns: contextColumnsOf(run),
    context: { optimizer: 'Adam', optimizer_config: { learning_rate: '0.001' }, loss: 'MSE' },
    flags: flagsOf(run),
    errors:
      run.fault === 'nan'
        ? [{ rule: 'bad_data', step: 12, message: 'division by zero in check()' }]
        : [],
    sampled: run.fault === 'nan',
    judged: 'live',
    histogram_steps: stepsOf(run).filter((step) => step % 50 === 0),
    histogram: { lowest_exponent: LOWEST_EXPONENT, octaves: OCTAVES },
  };
}

/** Counts of a bell curve around the frame's own size, by octave. */
function histogramOf(
  run: FixtureRun,
  variable: FixtureVariable,
  row: number,
  step: number,
): number[] {
  const bins = new Array<number>(4 + 2 * OCTAVES).fill(0);
  const value = (name: string): number => valueOf(run, variable, row, step, name);
  const elements = variable.elements;
  if (value('gradient_nan_count') > 0) {
    bins[1] = elements;
    return bins;
  }
  const zeros = Math.round(elements * value('gradient_zero_share'));
  bins[0] = zeros;
  const centre = Math.log2(value('gradient_rms')) - LOWEST_EXPONENT;
  for (let octave = 0; octave < OCTAVES; octave++) {
    const away = octave - centre;
    const share = away > 2 ? 0 : 0.35 * 2 ** -Math.abs(away);
    const count = Math.round((share * (elements - zeros)) / 2);
    bins[4 + octave] = count;
    bins[4 + OCTAVES + octave] = count;
  }
  return bins;
}

const RULES = {
  rules: [
    {
      id: 'vanishing_gradient',
      title: 'The gradient vanishes towards the first layers',
      severity: 'critical',
      summary: 'Early layers receive far smaller gradients than late ones.',
      why: 'Those layers stop learning while the loss may still fall.',
      definition: 'Early / late gradient RMS below 1e-6, and `update_ratio` below 1e-6.',
      fixes: ['Use residual connections.', 'Try `activation="relu"`.'],
      silent_when: 'The early layers are frozen on purpose.',
    },
  ],
  causes: [{ id: 'saturating_activation', title: 'A saturating activation', summary: '' }],
};

const json = (value: unknown, status = 200): Answer => ({
  status,
  type: 'application/json',
  body: JSON.stringify(value),
});
const floats = (values: readonly number[]): Answer => ({
  status: 200,
  type: 'application/octet-stream',
  body: new Uint8Array(Float32Array.from(values).buffer),
});

/** 1 where anything of a column's frames is NaN; the made-up runs have one frame a column. */
function marksOf(
  run: FixtureRun,
  steps: readonly number[],
  variables: readonly FixtureVariable[],
  columns: number,
): Answer {
  if (columns < steps.length) return json({ error: 'The made-up runs are small.' }, 400);
  const body = Uint8Array.from(
    steps.flatMap((step) =>
      variables.map((v, row) => Number(valueOf(run, v, row, step, 'nonfinite_age') >= 0)),
    ),
  );
  return { status: 200, type: 'application/octet-stream', body };
}

/** Every step, or of many steps columns of as many each. */
function laneOf(
  run: FixtureRun,
  variable: FixtureVariable | null,
  row: number,
  asked: URLSearchParams,
): Answer {
  const from = Math.max(0, Number(asked.get('from') ?? 0));
  const to = Math.min(run.lastStep, Number(asked.get('to') ?? run.lastStep));
  const size = Math.ceil((to - from + 1) / Number(asked.get('columns')));
  const first = Array.from(
    { length: Math.ceil((to - from + 1) / size) },
    (_, i) => from + i * size,
  );
  const last = first.map((step) => Math.min(step + size - 1, to));
  const norm = (step: number): number =>
    variable ? valueOf(run, variable, row, step, 'gradient_norm') : Number.NaN;
  const loss = (step: number): number => contextOf(run, step, 'loss');
  const names = namesOf(run);
  const marks = first.map(
    (step) =>
      Number(variable !== null && Number.isNaN(norm(step))) + 2 * Number(!isFinite(loss(step))),
  );
  const parts = [
    Uint32Array.of(first.length, names.length),
    Float64Array.from([...first, ...last]),
    Float32Array.from([
      ...[...first.map(norm), ...last.map(norm)],
      ...[...first.map(loss), ...last.map(loss)],
      ...first.map(() => 1),
    ]),
    Uint8Array.from(marks),
    ...names.flatMap((name) => {
      const value = (step: number): number => contextOf(run, step, `losses/${name}`);
      return [
        Float32Array.from([...first.map(value), ...last.map(value)]),
        Uint8Array.from(first.map((step) => Number(Number.isNaN(value(step))))),
      ];
    }),
    names.length > 0 ? new TextEncoder().encode(JSON.stringify(names)) : new Uint8Array(0),
  ];
  const bytes = parts.flatMap((part) => [...new Uint8Array(part.buffer)]);
  return { status: 200, type: 'application/octet-stream', body: Uint8Array.from(bytes) };
}

/** Answer an address such as `matrix?run=healthy&statistic=gradient_rms`. */
export function answer(address: string): Answer {
  const { pathname, searchParams } = new URL(address, 'http://fixtures/');
  const route = pathname.split('/').at(-1);
  if (route === 'runs') return json({ schema: 1, runs: FIXTURE_RUNS.map(summaryOf) });
  if (route === 'rules') return json(RULES);
  if (route === 'report') {
    const wanted = searchParams.getAll('run');
    const runs = FIXTURE_RUNS.filter(({ name }) => wanted.length === 0 || wanted.includes(name));
    return json({
      schema: 1,
      runs: runs.map((run) => ({ ...summaryOf(run), flags: flagsOf(run) })),
    });
  }
  const run = FIXTURE_RUNS.find(({ name }) => name === searchParams.get('run'));
  if (!run) return json({ error: 'There is no such run; ask for `runs`.' }, 404);
  const variables = variablesOf(run);
  const row = variables.findIndex(({ path }) => path === searchParams.get('variable'));
  const variable = variables[row];
  const steps = stepsOf(run);
  switch (route) {
    case 'run':
      return json(runOf(run));
    case 'matrix': {
      const name = searchParams.get('statistic') ?? '';
      return floats(
        steps.flatMap((step) => variables.map((v, i) => valueOf(run, v, i, step, name))),
      );
    }
    case 'marks':
      return marksOf(run, steps, variables, Number(searchParams.get('columns')));
    case 'context':
      return floats(
        steps.flatMap((step) =>
          contextColumnsOf(run).map(({ name }) => contextOf(run, step, name)),
        ),
      );
    case 'series':
      if (!variable) break;
      return floats(
        steps.flatMap((step) =>
          STATISTICS.map(({ name }) => valueOf(run, variable, row, step, name)),
        ),
      );
    case 'lane':
      return laneOf(run, variable ?? null, row, searchParams);
    case 'histogram':
      if (!variable) break;
      return floats(
        steps
          .filter((step) => step % 50 === 0)
          .flatMap((step) => histogramOf(run, variable, row, step)),
      );
  }
  return json({ error: 'There is no such route or variable.' }, 404);
}
