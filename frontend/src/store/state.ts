/** Everything the tab shows, as one immutable value. */

import type { Lane } from '../api/lane';
import type { RuleBook, Run, RunSummary, Severity } from '../api/types';
import type { Theme } from '../host';
import type { Spacing } from '../scale/axis';
import type { Grid } from '../scale/reduce';

/** Numbers remember the run they were read with: steps and rows then always fit. */
export interface MatrixData {
  readonly run: Run;
  readonly statistic: string;
  /** First frame of each column, and one past the last: [columns + 1]. */
  readonly edges: Int32Array;
  /** [columns, variables]: the largest value of a column's frames. */
  readonly values: Float32Array;
  /** The smallest ones; the same array where a column is one frame. */
  readonly low: Float32Array;
  /** False: rounded to a level of the picture, and a column may be several frames. */
  readonly exact: boolean;
  /** [columns, variables]: above 0 where a gradient or weight was not finite. */
  readonly marks: Uint8Array;
}

const grids = new WeakMap<MatrixData, Grid>();

/** A matrix as what is drawn of it. */
export function gridOf(matrix: MatrixData): Grid {
  let grid = grids.get(matrix);
  if (!grid) {
    const { edges, values: high, low, marks } = matrix;
    grids.set(matrix, (grid = { rows: matrix.run.variables.length, edges, high, low, marks }));
  }
  return grid;
}

export interface VariableData {
  readonly run: Run;
  readonly variable: string;
  readonly series: Float32Array;
  readonly histogram: Float32Array;
}

export interface ContextData {
  readonly run: Run;
  readonly values: Float32Array;
}

/** Every step of the selected variable, or without one of the run. */
export interface LaneData {
  readonly run: Run;
  readonly variable: string | null;
  readonly lane: Lane;
}

/** What is loaded of one run: of the selected one, and of those beside it. */
export interface RunData {
  readonly run: Run | null;
  readonly matrix: MatrixData | null;
  readonly context: ContextData | null;
  readonly variable: VariableData | null;
  readonly lane: LaneData | null;
}

export const NO_DATA: RunData = {
  run: null,
  matrix: null,
  context: null,
  variable: null,
  lane: null,
};

export type RunSlot = keyof RunData | 'verdict' | 'whole';
/** What can be loading or broken on its own; of a run beside the selected one with its name. */
export type Slot = 'runs' | 'rules' | RunSlot | `${RunSlot} of ${string}`;

/** As many runs as there is room for, side by side. */
export const MOST_SIDES = 4;

/**
 * How far a value is from what the rules call healthy; the value itself; how far it is from its variable's own median over the steps shown; or, of two
 * runs, how far the second one's is from the first one's.
 */
export type Encoding = 'health' | 'absolute' | 'relative' | 'difference';
/** Variables over steps, or variables by depth at one step. */
export type MainView = 'heatmap' | 'profile';
/** A statistic's own scale (mostly logarithmic), or a linear one. */
export type ValueScale = 'own' | 'linear';
/** Colours that mean the same in every run, or all of them for the values of this one. */
export type ColourRange = 'fixed' | 'run';
/** Histograms over steps: as colours, or as one line for each of some steps. */
export type HistogramForm = 'map' | 'ridges';
/** First and last step shown, both included. */
export type StepRange = readonly [from: number, to: number];

export const RUN_ORDERS = ['verdict', 'tensorboard', 'name', 'loss'] as const;
export type RunOrder = (typeof RUN_ORDERS)[number];

/** Which flags are listed: all conditions must hold. */
export interface FlagFilter {
  /** Severities that are left out. */
  readonly hidden: ReadonlySet<Severity>;
  /** Only this rule; empty for all. */
  readonly rule: string;
  /** Only flags of a variable that matches this regular expression; empty for all. */
  readonly variable: string;
}

export const ALL_FLAGS: FlagFilter = { hidden: new Set(), rule: '', variable: '' };

export interface RememberedModules {
  readonly run: string;
  readonly collapsed: ReadonlySet<string>;
}

export interface State extends RunData {
  readonly theme: Theme;
  readonly visible: boolean;

  readonly runs: readonly RunSummary[] | null;
  /** TensorBoard's order of all its runs: decides order and colours. */
  readonly hostRuns: readonly string[];
  /** The runs beside the selected one, loaded like it, by name. */
  readonly others: ReadonlyMap<string, RunData>;
  readonly rules: RuleBook | null;
  /** What the server has been asked for and has not answered yet. */
  readonly loading: ReadonlySet<Slot>;
  /** Sentences about what could not be loaded. */
  readonly failures: Readonly<Partial<Record<Slot, string>>>;
  /** Grows with every reload. */
  readonly generation: number;
  /** How often each run was found to have changed, between reloads. */
  readonly changes: ReadonlyMap<string, number>;
  /** How far the server's clock is ahead of the browser's, in milliseconds. */
  readonly clockSkew: number;
  /** False: the last poll had no answer. */
  readonly connected: boolean;

  readonly selectedRun: string | null;
  /** The run that the address names, if there is none of that name. */
  readonly missingRun: string | null;
  /** The runs beside the selected one, in their order. */
  readonly compareRuns: readonly string[];
  readonly selectedFlag: string | null;
  readonly selectedVariable: string | null;
  readonly statistic: string;
  /** The step everything is read off at; null: the last one, also while the run grows. */
  readonly selectedStep: number | null;
  /** The step is that of a finding, and moves on to where its statistic was measured. */
  readonly seeking: boolean;
  /** A finding that was opened before the rules were read, which name its picture. */
  readonly unpictured: string | null;
  /** A second step, for the layer profile and the histograms; null: none. */
  readonly compareStep: number | null;
  /** Zoom; null: all steps, also while the run grows. */
  readonly stepRange: StepRange | null;

  readonly view: MainView;
  readonly encoding: Encoding;
  readonly spacing: Spacing;
  readonly valueScale: ValueScale;
  readonly colourRange: ColourRange;
  /** Weight of the values before, in the lines of the charts; 0: none. */
  readonly smoothing: number;
  readonly histogramForm: HistogramForm;
  readonly collapsed: ReadonlySet<string>;
  /** Closed modules of the last visit in this window; null: there was none. */
  readonly remembered: RememberedModules | null;
  /** Regular expression on the paths of variables; empty: all. */
  readonly rowFilter: string;
  /** Only rows with a finding. */
  readonly onlyFlagged: boolean;
  readonly flagFilter: FlagFilter;
  /** Findings that were put away: see `muted.ts`. */
  readonly muted: ReadonlySet<string>;
  /** Regular expression on the names of runs; empty: all. */
  readonly runFilter: string;
  readonly runOrder: RunOrder;
  /** The table of all runs is open. */
  readonly runTable: boolean;
  /** Rule whose card is open. */
  readonly openRule: string | null;
}

export const DEFAULT_STATISTIC = 'gradient_rms';

/** What the "reset" button brings back. */
export const DEFAULT_VIEW = {
  statistic: DEFAULT_STATISTIC,
  selectedStep: null,
  compareStep: null,
  stepRange: null,
  view: 'heatmap',
  encoding: 'health',
  spacing: 'steps',
  valueScale: 'own',
  colourRange: 'fixed',
  smoothing: 0,
  histogramForm: 'map',
  rowFilter: '',
  onlyFlagged: false,
  flagFilter: ALL_FLAGS,
} as const satisfies Partial<State>;

export function initialState(theme: Theme): State {
  return {
    ...NO_DATA,
    ...DEFAULT_VIEW,
    theme,
    visible: true,
    runs: null,
    hostRuns: [],
    others: new Map(),
    rules: null,
    loading: new Set(),
    failures: {},
    generation: 0,
    changes: new Map(),
    clockSkew: 0,
    connected: true,
    selectedRun: null,
    missingRun: null,
    compareRuns: [],
    selectedFlag: null,
    selectedVariable: null,
    seeking: false,
    unpictured: null,
    collapsed: new Set(),
    remembered: null,
    muted: new Set(),
    runFilter: '',
    runOrder: 'verdict',
    runTable: false,
    openRule: null,
  };
}
