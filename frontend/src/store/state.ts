/** Everything the tab shows, as one immutable value. */

import type { RuleBook, Run, RunSummary } from '../api/types';
import type { Theme } from '../host';
import type { Spacing } from '../scale/axis';

/** Numbers remember the run they were read with: steps and rows then always fit. */
export interface MatrixData {
  readonly run: Run;
  readonly statistic: string;
  readonly values: Float32Array;
  /** Above 0 where a variable's gradient or weight was not finite. */
  readonly marks: Float32Array;
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

/** What can be loading or broken on its own. */
export type Slot = 'runs' | 'run' | 'matrix' | 'context' | 'variable' | 'rules';

export interface State {
  readonly theme: Theme;
  readonly visible: boolean;

  readonly runs: readonly RunSummary[] | null;
  /** TensorBoard's order of all its runs: decides order and colours. */
  readonly hostRuns: readonly string[];
  readonly run: Run | null;
  readonly matrix: MatrixData | null;
  readonly context: ContextData | null;
  readonly variable: VariableData | null;
  readonly rules: RuleBook | null;
  /** Sentences about what could not be loaded. */
  readonly failures: Readonly<Partial<Record<Slot, string>>>;
  /** Grows with every reload. */
  readonly generation: number;

  readonly selectedRun: string | null;
  readonly selectedFlag: string | null;
  readonly selectedVariable: string | null;
  readonly statistic: string;
  readonly selectedStep: number | null;
  readonly spacing: Spacing;
  readonly collapsed: ReadonlySet<string>;
  readonly filter: string;
  /** Rule whose card is open. */
  readonly openRule: string | null;
}

export const DEFAULT_STATISTIC = 'gradient_rms';

export function initialState(theme: Theme): State {
  return {
    theme,
    visible: true,
    runs: null,
    hostRuns: [],
    run: null,
    matrix: null,
    context: null,
    variable: null,
    rules: null,
    failures: {},
    generation: 0,
    selectedRun: null,
    selectedFlag: null,
    selectedVariable: null,
    statistic: DEFAULT_STATISTIC,
    selectedStep: null,
    spacing: 'steps',
    collapsed: new Set(),
    filter: '',
    openRule: null,
  };
}
