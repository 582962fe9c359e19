/** What a person can do: every change of the selection goes through here. */

import type { Flag, Run } from '../api/types';
import type { Link } from '../host';
import type { Spacing } from '../scale/axis';
import { buildRows } from '../scale/rows';
import { selectionOf } from './link';
import { withMuted } from './muted';
import { pictureOf, soughtStep } from './findingpicture';
import { jointVariables, quietModules, shownRun, shownSides } from './selectors';
import {
  ALL_FLAGS,
  DEFAULT_VIEW,
  MOST_SIDES,
  type ColourRange,
  type Encoding,
  type FlagFilter,
  type HistogramForm,
  type MainView,
  type RunOrder,
  type State,
  type StepRange,
  type ValueScale,
} from './state';
import type { Store } from './store';

export interface Actions {
  readonly selectRun: (run: string) => void;
  /** Put a run beside the selected one, or away again. */
  readonly toggleBeside: (run: string) => void;
  readonly endComparison: () => void;
  /** A run beside the selected one changes places with it. */
  readonly swapRuns: (run: string) => void;
  readonly setRunFilter: (text: string) => void;
  readonly setRunOrder: (order: RunOrder) => void;
  readonly showRunTable: (open: boolean) => void;

  /** Select a flag and show where it is; the same flag again puts it away. */
  readonly toggleFlag: (id: string) => void;
  readonly setFlagFilter: (change: Partial<FlagFilter>) => void;
  readonly openRule: (rule: string | null) => void;
  /** Put a finding of the selected run away, or bring it back. */
  readonly muteFlag: (flag: Flag, quiet: boolean) => void;

  readonly selectVariable: (path: string | null) => void;
  readonly selectStatistic: (name: string) => void;
  readonly selectStep: (step: number | null) => void;
  readonly setCompareStep: (step: number | null) => void;
  /** Zoom to these steps; null shows all. */
  readonly setStepRange: (range: StepRange | null) => void;

  readonly setView: (view: MainView) => void;
  readonly setEncoding: (encoding: Encoding) => void;
  readonly setSpacing: (spacing: Spacing) => void;
  readonly setValueScale: (scale: ValueScale) => void;
  readonly setColourRange: (range: ColourRange) => void;
  readonly setSmoothing: (weight: number) => void;
  readonly setHistogramForm: (form: HistogramForm) => void;
  readonly setRowFilter: (text: string) => void;
  /** Only rows with a finding, or all. */
  readonly setOnlyFlagged: (only: boolean) => void;
  readonly toggleModule: (key: string) => void;
  readonly setAllModules: (open: boolean) => void;
  /** Everything as it was when the run was opened. */
  readonly resetView: () => void;

  readonly refresh: () => void;
  /** Follow the address: on load, and when somebody goes back in history. */
  readonly followLink: (link: Link) => void;
}

export function createActions(store: Store<State>, refresh: () => void): Actions {
  const { get, set } = store;

  function showBeside(compareRuns: readonly string[]): void {
    const alone = compareRuns.length === 0 && get().encoding === 'difference';
    set({ compareRuns, ...(alone ? { encoding: DEFAULT_VIEW.encoding } : {}) });
  }

  return {
    selectRun(run) {
      const { selectedRun, compareRuns } = get();
      if (run === selectedRun) return;
      set({
        selectedRun: run,
        missingRun: null,
        compareRuns: compareRuns.map((name) => (name === run ? (selectedRun ?? run) : name)),
        selectedFlag: null,
        selectedVariable: null,
        selectedStep: null,
        compareStep: null,
        stepRange: null,
      });
    },
    toggleBeside(run) {
      const { selectedRun, compareRuns } = get();
      if (run === selectedRun) return;
      const without = compareRuns.filter((name) => name !== run);
      if (without.length < compareRuns.length) showBeside(without);
      else if (compareRuns.length < MOST_SIDES - 1) showBeside([...compareRuns, run]);
    },
    endComparison() {
      showBeside([]);
    },
    swapRuns(name) {
      const { selectedRun, compareRuns, others, run, matrix, context, variable, lane } = get();
      const other = others.get(name);
      if (selectedRun === null || other?.run?.run !== name || run?.run !== selectedRun) return;
      // What is loaded changes sides too: nothing blinks.
      const next = new Map(others).set(selectedRun, { run, matrix, context, variable, lane });
      next.delete(name);
      set({
        selectedRun: name,
        compareRuns: compareRuns.map((old) => (old === name ? selectedRun : old)),
        selectedFlag: null,
        ...other,
        others: next,
      });
    },
    setRunFilter(runFilter) {
      set({ runFilter });
    },
    setRunOrder(runOrder) {
      set({ runOrder });
    },
    showRunTable(runTable) {
      set({ runTable });
    },

    toggleFlag(id) {
      const state = get();
      const flag = state.run?.flags.find((candidate) => candidate.id === id);
      if (!flag || !state.run || state.selectedFlag === id) {
        set({ selectedFlag: null });
        return;
      }
      set(showFlag(state, state.run, flag));
    },
    setFlagFilter(change) {
      const next = { ...get().flagFilter, ...change };
      const all = next.hidden.size === 0 && next.rule === '' && next.variable === '';
      set({ flagFilter: all ? ALL_FLAGS : next });
    },
    openRule(rule) {
      set({ openRule: rule });
    },
    muteFlag(flag, quiet) {
      const { run, muted, selectedFlag } = get();
      if (!run) return;
      set({
        muted: withMuted(muted, run.run, flag, quiet),
        selectedFlag: quiet && selectedFlag === flag.id ? null : selectedFlag,
      });
    },

    selectVariable(path) {
      set({ selectedVariable: path });
    },
    selectStatistic(name) {
      set({ statistic: name });
    },
    selectStep(step) {
      set({ selectedStep: step, seeking: false });
    },
    setCompareStep(step) {
      set({ compareStep: step });
    },
    setStepRange(range) {
      set({ stepRange: range });
    },

    setView(view) {
      set({ view });
    },
    setEncoding(encoding) {
      set({ encoding });
    },
    setSpacing(spacing) {
      set({ spacing });
    },
    setValueScale(valueScale) {
      set({ valueScale });
    },
    setColourRange(colourRange) {
      set({ colourRange });
    },
    setSmoothing(smoothing) {
      set({ smoothing });
    },
    setHistogramForm(histogramForm) {
      set({ histogramForm });
    },
    setRowFilter(rowFilter) {
      set({ rowFilter });
    },
    setOnlyFlagged(onlyFlagged) {
      set({ onlyFlagged });
    },
    toggleModule(key) {
      const collapsed = new Set(get().collapsed);
      if (!collapsed.delete(key)) collapsed.add(key);
      set({ collapsed });
    },
    setAllModules(open) {
      const variables = jointVariables(...shownSides(get()).map(({ run }) => run));
      const modules = buildRows(variables, new Set()).filter(({ kind }) => kind === 'module');
      set({ collapsed: new Set(open ? [] : modules.map(({ key }) => key)) });
    },
    resetView() {
      const run = shownRun(get());
      set({
        ...DEFAULT_VIEW,
        selectedFlag: null,
        selectedVariable: null,
        collapsed: run ? quietModules(run, null) : new Set(),
      });
    },

    refresh,
    followLink(link) {
      const next = selectionOf(link);
      const { runs, selectedRun } = get();
      const wanted = next.selectedRun ?? selectedRun;
      const known = !runs?.length || runs.some(({ run }) => run === wanted);
      set({
        ...next,
        selectedRun: known ? wanted : selectedRun,
        missingRun: known ? null : wanted,
      });
    },
  };
}

/** A flag brings its first variable, its first step and the picture that shows it. */
function showFlag(state: State, run: Run, flag: Flag): Partial<State> {
  const path = flag.variables.find((name) => run.variables.some((v) => v.path === name));
  const { view, statistic } = pictureOf(flag, run, state.rules);
  const change = {
    selectedFlag: flag.id,
    selectedVariable: path ?? null,
    selectedStep: flag.firstStep,
    collapsed: openModulesOf(state, run, flag),
    view,
    ...(statistic !== null ? { statistic } : {}),
    seeking: true,
    unpictured: state.rules === null ? flag.id : null,
  };
  return { ...change, ...soughtStep({ ...state, ...change }) };
}

function openModulesOf(state: State, run: Run, flag: Flag): ReadonlySet<string> {
  const faulty = new Set(flag.variables);
  const needed = buildRows(run.variables, new Set())
    .filter(({ kind, key }) => kind === 'variable' && faulty.has(key))
    .flatMap(({ within }) => within);
  if (!needed.some((module) => state.collapsed.has(module))) return state.collapsed;
  const collapsed = new Set(state.collapsed);
  for (const module of needed) collapsed.delete(module);
  return collapsed;
}
