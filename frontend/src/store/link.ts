/**
 * What is seen <-> what stands in the address: short texts by name, absent where the view is
 * as it is by default.
 */

import { SEVERITIES, type Severity } from '../api/types';
import type { Link } from '../host';
import { MOST_SMOOTHING } from '../scale/smooth';
import {
  ALL_FLAGS,
  DEFAULT_VIEW,
  RUN_ORDERS,
  type FlagFilter,
  type RememberedModules,
  type State,
  type StepRange,
} from './state';

type Linked = Pick<
  State,
  | 'selectedRun'
  | 'compareRuns'
  | 'selectedFlag'
  | 'selectedVariable'
  | 'statistic'
  | 'selectedStep'
  | 'compareStep'
  | 'stepRange'
  | 'view'
  | 'encoding'
  | 'spacing'
  | 'valueScale'
  | 'colourRange'
  | 'smoothing'
  | 'histogramForm'
  | 'rowFilter'
  | 'onlyFlagged'
  | 'flagFilter'
  | 'runFilter'
  | 'openRule'
>;

/** Every key, with an empty text where there is nothing to keep. */
export function linkOf(state: Linked): Link {
  const unless = (usual: string, value: string): string => (value === usual ? '' : value);
  const step = (value: number | null): string => (value === null ? '' : String(value));
  return {
    run: state.selectedRun ?? '',
    compare: state.compareRuns.map(escaped).join(','),
    flag: state.selectedFlag ?? '',
    variable: state.selectedVariable ?? '',
    statistic: unless(DEFAULT_VIEW.statistic, state.statistic),
    step: step(state.selectedStep),
    compareStep: step(state.compareStep),
    zoom: state.stepRange?.join('-') ?? '',
    view: unless(DEFAULT_VIEW.view, state.view),
    encoding: unless(DEFAULT_VIEW.encoding, state.encoding),
    axis: unless(DEFAULT_VIEW.spacing, state.spacing),
    values: unless(DEFAULT_VIEW.valueScale, state.valueScale),
    colours: unless(DEFAULT_VIEW.colourRange, state.colourRange),
    smoothing: unless(String(DEFAULT_VIEW.smoothing), String(state.smoothing)),
    histograms: unless(DEFAULT_VIEW.histogramForm, state.histogramForm),
    rows: state.rowFilter,
    only: state.onlyFlagged ? 'findings' : '',
    hide: [...state.flagFilter.hidden].sort().join(','),
    rule: state.flagFilter.rule,
    flags: state.flagFilter.variable,
    runs: state.runFilter,
    about: state.openRule ?? '',
  };
}

/** The selection that an address describes; what it does not name is as by default. */
export function selectionOf(address: Link): Linked {
  const link: Link = Object.fromEntries(Object.entries(address).filter(([, text]) => text !== ''));
  return {
    selectedRun: link.run ?? null,
    compareRuns: (link.compare ?? '').split(',').filter(Boolean).map(unescaped),
    selectedFlag: link.flag ?? null,
    selectedVariable: link.variable ?? null,
    statistic: link.statistic ?? DEFAULT_VIEW.statistic,
    selectedStep: step(link.step),
    compareStep: step(link.compareStep),
    stepRange: range(link.zoom),
    view: oneOf(['heatmap', 'profile'], link.view),
    encoding: oneOf(['health', 'absolute', 'relative', 'difference'], link.encoding),
    spacing: oneOf(['steps', 'frames', 'log', 'relative', 'wall'], link.axis),
    valueScale: oneOf(['own', 'linear'], link.values),
    colourRange: oneOf(['fixed', 'run'], link.colours),
    smoothing: share(link.smoothing),
    histogramForm: oneOf(['map', 'ridges'], link.histograms),
    rowFilter: link.rows ?? '',
    onlyFlagged: link.only === 'findings',
    flagFilter: flagFilter(link),
    runFilter: link.runs ?? '',
    openRule: link.about ?? null,
  };
}

/** Habits rather than a view: kept for the next visit, which may be to other runs. */
export function preferencesOf(state: State): Link {
  const { axis, values, colours, smoothing, encoding } = linkOf({
    ...state,
    encoding: state.encoding === 'difference' ? DEFAULT_VIEW.encoding : state.encoding,
  });
  return {
    axis: axis ?? '',
    values: values ?? '',
    colours: colours ?? '',
    smoothing: smoothing ?? '',
    encoding: encoding ?? '',
    order: state.runOrder,
    muted: JSON.stringify([...state.muted]),
  };
}

/** A visit without an address of its own begins with the habits of the last one. */
export function startOf(address: Link, preferences: Link): Partial<State> {
  const { order, muted, ...habits } = preferences;
  return {
    ...selectionOf(Object.keys(address).length > 0 ? address : habits),
    runOrder: oneOf(RUN_ORDERS, order),
    muted: mutedOf(muted),
  };
}

function mutedOf(text: string | undefined): ReadonlySet<string> {
  try {
    const names: unknown = JSON.parse(text ?? '[]');
    return new Set(Array.isArray(names) ? names.map(String) : []);
  } catch {
    return new Set();
  }
}

/** Names may hold the comma that stands between them. */
const escaped = (name: string): string => name.replaceAll('%', '%25').replaceAll(',', '%2C');
const unescaped = (name: string): string => name.replaceAll('%2C', ',').replaceAll('%25', '%');

/** What a window remembers until it is closed, and a colleague need not know. */
export function sessionOf({ run, collapsed }: State): Link {
  return run ? { run: run.run, modules: JSON.stringify([...collapsed]) } : {};
}

export function rememberedModules({ run, modules }: Link): RememberedModules | null {
  try {
    const closed: unknown = JSON.parse(modules ?? '');
    return run !== undefined && Array.isArray(closed)
      ? { run, collapsed: new Set(closed.map(String)) }
      : null;
  } catch {
    return null;
  }
}

function step(text: string | undefined): number | null {
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : null;
}

function share(text: string | undefined): number {
  const value = Number(text ?? DEFAULT_VIEW.smoothing);
  return value > 0 ? Math.min(value, MOST_SMOOTHING) : 0;
}

function range(text: string | undefined): StepRange | null {
  const [, from, to] = /^(\d+)-(\d+)$/.exec(text ?? '') ?? [];
  return from !== undefined && to !== undefined && Number(from) <= Number(to)
    ? [Number(from), Number(to)]
    : null;
}

/** The first choice is the usual one. */
function oneOf<T extends string>(choices: readonly [T, ...T[]], text: string | undefined): T {
  return choices.find((choice) => choice === text) ?? choices[0];
}

function flagFilter(link: Link): FlagFilter {
  const hidden = (link.hide ?? '')
    .split(',')
    .filter((name): name is Severity => SEVERITIES.some((severity) => severity === name));
  if (hidden.length === 0 && !link.rule && !link.flags) return ALL_FLAGS;
  return { hidden: new Set(hidden), rule: link.rule ?? '', variable: link.flags ?? '' };
}
