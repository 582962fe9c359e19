/**
 * Server JSON -> typed data.
 *
 * In:  parsed JSON of unknown quality: an older or newer server may lack keys or add some.
 * Out: complete objects; a missing key becomes its neutral value, never `undefined`.
 * Does not know about fetch. Strict JSON has no NaN, so the server writes their names.
 */

import {
  RULE_STATES,
  RUN_STATES,
  SEVERITIES,
  type Advice,
  type Cause,
  type CauseCard,
  type Column,
  type Evidence,
  type Flag,
  type HealthyRange,
  type Origin,
  type PathRow,
  type RuleBook,
  type RuleCard,
  type RuleError,
  type RulePicture,
  type RuleState,
  type Run,
  type RunSummary,
  type SummaryFinding,
  type RunVerdict,
  type Severity,
  type Variable,
  type Verdict,
} from './types';

type Fields = Readonly<Record<string, unknown>>;

const fields = (json: unknown): Fields =>
  typeof json === 'object' && json !== null && !Array.isArray(json) ? (json as Fields) : {};

const list = <T>(json: unknown, decode: (item: unknown, index: number) => T): T[] =>
  Array.isArray(json) ? json.map(decode) : [];

/** Two numbers; null where there are none. */
function pair(json: unknown): readonly [number, number] | null {
  const [low, high] = list(json, (one) => number(one));
  return low !== undefined && high !== undefined ? [low, high] : null;
}

/** Rule cards may hold one paragraph or a list of them. */
const text = (json: unknown): string => {
  if (typeof json === 'string') return json;
  if (typeof json === 'number' || typeof json === 'boolean') return String(json);
  return Array.isArray(json) ? json.map(text).join('\n') : '';
};

const texts = (json: unknown): string[] =>
  Array.isArray(json) ? json.map(text) : text(json) === '' ? [] : [text(json)];

const number = (json: unknown, otherwise = Number.NaN): number => {
  if (typeof json === 'number') return json;
  if (typeof json === 'string' && /^(NaN|-?Infinity)$/.test(json)) return Number(json);
  return otherwise;
};

/** Settings of any depth as lines of a table: `optimizer_config.momentum`. */
const facts = (json: unknown, prefix = ''): Record<string, string> =>
  Object.fromEntries(
    Object.entries(fields(json)).flatMap(([key, value]) =>
      typeof value === 'object' && value !== null && !Array.isArray(value)
        ? Object.entries(facts(value, `${prefix}${key}.`))
        : [[prefix + key, text(value)]],
    ),
  );

const severity = (json: unknown): Severity =>
  SEVERITIES.find((candidate) => candidate === json) ?? 'info';

const verdict = (json: unknown): Verdict | null =>
  json === 'healthy' || json === 'undecided'
    ? json
    : (SEVERITIES.find((candidate) => candidate === json) ?? null);

function runSummary(json: unknown): RunSummary {
  const f = fields(json);
  const counts = fields(f.counts);
  return {
    run: text(f.run),
    firstStep: number(f.first_step, 0),
    lastStep: number(f.last_step, 0),
    frames: number(f.frames, 0),
    variables: number(f.variables, 0),
    state:
      RUN_STATES.find((state) => state === f.state) ?? (verdict(f.verdict) ? 'judged' : 'judging'),
    error: text(f.error),
    verdict: verdict(f.verdict),
    counts: {
      critical: number(counts.critical, 0),
      warning: number(counts.warning, 0),
      info: number(counts.info, 0),
    },
    mark: text(f.mark),
    newest: number(f.newest),
    loss: number(f.loss),
    settings: facts(f.settings),
    leading: text(fields(f.leading).rule) === '' ? null : finding(f.leading),
    findings: list(f.findings, finding),
    undecided: f.undecided === true,
    muted: 0,
    flagged: Object.fromEntries(
      Object.entries(fields(f.flagged)).map(([rule, one]) => [rule, severity(one)]),
    ),
  };
}

function finding(json: unknown): SummaryFinding {
  const f = fields(json);
  return {
    rule: text(f.rule),
    severity: severity(f.severity),
    variable: text(f.variable),
    firstStep: number(f.first_step, 0),
    open: f.open !== false,
  };
}

export function decodeRuns(json: unknown): RunSummary[] {
  return list(fields(json).runs, runSummary);
}

function column(json: unknown): Column {
  const f = fields(json);
  return {
    name: text(f.name),
    unit: text(f.unit),
    scope: f.scope === 'window' ? 'window' : 'step',
    scale: f.scale === 'log' || f.scale === 'count' ? f.scale : 'linear',
    meaning: text(f.meaning),
    span: pair(f.span),
  };
}

function variable(json: unknown): Variable {
  const f = fields(json);
  const shape = list(f.shape, (size) => number(size, 0));
  return {
    path: text(f.path),
    shape,
    dtype: text(f.dtype),
    elements: number(
      f.elements,
      shape.reduce((product, size) => product * size, 1),
    ),
    module: text(f.module),
    layerClass: text(f.layer_class),
    role: text(f.role),
    activation: text(f.activation),
    initializer: text(f.initializer),
    regularizer: text(f.regularizer),
    constraint: text(f.constraint),
    trainable: f.trainable !== false,
    units: number(f.units, 0),
    optimizer: text(f.optimizer),
    facts: facts(f.facts),
  };
}

function evidence(json: unknown): Evidence {
  const f = fields(json);
  return {
    name: text(f.name),
    value: number(f.value),
    threshold: f.threshold === null || f.threshold === undefined ? null : number(f.threshold),
  };
}

function cause(json: unknown): Cause {
  const f = fields(json);
  return { id: text(f.id), confidence: number(f.confidence, 0), summary: text(f.summary) };
}

function advice(f: Fields): Advice[] {
  const snippets = list(f.snippets, texts);
  return texts(f.fixes).map((text, index) => ({ text, snippets: snippets[index] ?? [] }));
}

function origin(json: unknown): Origin | null {
  if (json === null || json === undefined) return null;
  const f = fields(json);
  return {
    operation: text(f.operation),
    layer: text(f.layer),
    phase: text(f.phase),
    file: text(f.file),
    line: number(f.line, 0),
    code: text(f.code),
    inputs: texts(f.inputs),
    outputs: texts(f.outputs),
    exact: f.exact !== false,
    onlyXla: f.only_xla === true,
    summary: text(f.summary),
    path: list(f.path, pathRow),
  };
}

function pathRow(json: unknown): PathRow {
  const f = fields(json);
  return {
    layer: text(f.layer),
    operation: text(f.operation),
    file: text(f.file),
    line: number(f.line, 0),
    logSize: number(f.log10_size, -Infinity),
  };
}

function flag(json: unknown, index: number): Flag {
  const f = fields(json);
  return {
    id: text(f.id) || String(index),
    rule: text(f.rule),
    severity: severity(f.severity),
    variables: texts(f.variables),
    firstStep: number(f.first_step, 0),
    lastStep: number(f.last_step, 0),
    open: f.open !== false,
    summary: text(f.summary),
    evidence: list(f.evidence, evidence),
    causes: list(f.causes, cause),
    fixes: advice(f),
    followUps: texts(f.follow_ups),
    origin: origin(f.origin),
    provisional: f.provisional === true,
  };
}

/** A state that only a newer server knows is left out: nothing is said of that rule. */
function ruleStates(json: unknown): RuleState[] {
  return list(json, fields).flatMap((f) => {
    const state = RULE_STATES.find((known) => known === f.state);
    return state ? [{ rule: text(f.rule), state, reason: text(f.reason) }] : [];
  });
}

/** Errors of rules are objects, those of reading are sentences. */
function ruleError(json: unknown): RuleError {
  if (typeof json === 'string') return { rule: '', step: null, message: json };
  const f = fields(json);
  const step = number(f.step);
  return {
    rule: text(f.rule),
    step: Number.isFinite(step) ? step : null,
    message: text(f.message),
  };
}

export function decodeVerdict(json: unknown): RunVerdict {
  const f = fields(json);
  return {
    flags: list(f.flags, flag),
    undecided: text(f.undecided),
    rules: ruleStates(f.rules),
    ownRules: list(f.own_rules, ruleCard),
    errors: list(f.errors, ruleError),
    judged: f.judged === null ? null : f.judged === 'live' ? 'live' : 'offline',
  };
}

export function decodeRun(json: unknown): Run {
  const f = fields(json);
  const bins = fields(f.histogram);
  return {
    run: text(f.run),
    revision: text(f.revision),
    steps: list(f.steps, (step) => number(step, 0)),
    wallTimes: list(f.wall_times, (time) => number(time)),
    variables: list(f.variables, variable),
    statistics: list(f.statistics, column),
    contextColumns: list(f.context_columns, column),
    context: facts(f.context),
    ...decodeVerdict(f),
    muted: [],
    sampled: f.sampled === true,
    glance: f.glance === true,
    histogramSteps: list(f.histogram_steps, (step) => number(step, 0)),
    histogram: {
      lowestExponent: number(bins.lowest_exponent, -72),
      octaves: number(bins.octaves, 96),
    },
  };
}

function rulePicture(json: unknown): RulePicture {
  const f = fields(json);
  return {
    view: f.view === 'by_depth' ? 'by_depth' : 'over_steps',
    statistic: text(f.statistic),
    chart: Array.isArray(f.chart) ? texts(f.chart) : null,
    limit: text(f.limit),
  };
}

function ruleCard(json: unknown): RuleCard {
  const f = fields(json);
  return {
    id: text(f.id),
    title: text(f.title),
    severity: text(f.severity),
    summary: text(f.summary),
    why: text(f.why),
    definition: text(f.definition),
    fixes: advice(f),
    silentWhen: text(f.silent_when),
    picture: rulePicture(f.picture),
  };
}

function causeCard(json: unknown): CauseCard {
  const f = fields(json);
  return { id: text(f.id), title: text(f.title), summary: text(f.summary) };
}

const limit = (json: unknown): number | null =>
  json === null || json === undefined ? null : number(json);

/** A range against something that only a newer server knows is left out. */
function healthyRange(json: unknown): HealthyRange[] {
  const f = fields(json);
  const against = (['', 'start', 'last_layers'] as const).find((one) => one === f.against);
  if (against === undefined) return [];
  return [
    {
      statistic: text(f.statistic),
      against,
      above: limit(f.above),
      below: limit(f.below),
      usual: pair(f.usual),
      kernelsOnly: f.kernels_only === true,
    },
  ];
}

export function decodeRules(json: unknown): RuleBook {
  const f = fields(json);
  return {
    rules: new Map(list(f.rules, ruleCard).map((card) => [card.id, card])),
    causes: new Map(list(f.causes, causeCard).map((card) => [card.id, card])),
    ranges: list(f.ranges, healthyRange).flat(),
  };
}

/** The remedy of an error answer, or null when the body is not one of ours. */
export function decodeError(body: string): string | null {
  try {
    return text(fields(JSON.parse(body)).error) || null;
  } catch {
    return null;
  }
}

/** Little-endian float32, whatever the machine's own order; NaN and infinities survive. */
export function decodeFloats(body: ArrayBuffer): Float32Array {
  const whole = body.byteLength - (body.byteLength % 4);
  if (new Uint8Array(new Uint16Array([1]).buffer)[0] === 1) {
    return new Float32Array(body, 0, whole / 4);
  }
  const view = new DataView(body);
  return Float32Array.from({ length: whole / 4 }, (_, i) => view.getFloat32(4 * i, true));
}
