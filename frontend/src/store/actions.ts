/** What a person can do: every change of the selection goes through here. */

import type { Flag, Run } from '../api/types';
import type { Link } from '../host';
import type { Spacing } from '../scale/axis';
import { buildRows } from '../scale/rows';
import { columnOf, statisticOf } from './selectors';
import { DEFAULT_STATISTIC, type State } from './state';
import type { Store } from './store';

export interface Actions {
  selectRun(run: string): void;
  /** Select a flag and show where it is; the same flag again puts it away. */
  toggleFlag(id: string): void;
  selectVariable(path: string | null): void;
  selectStep(step: number | null): void;
  selectStatistic(name: string): void;
  setSpacing(spacing: Spacing): void;
  setFilter(text: string): void;
  toggleModule(key: string): void;
  setAllModules(open: boolean): void;
  openRule(rule: string | null): void;
  refresh(): void;
  /** Follow the address: on load, and when somebody goes back in history. */
  followLink(link: Link): void;
}

export function createActions(store: Store<State>, refresh: () => void): Actions {
  const { get, set } = store;

  return {
    selectRun(run) {
      if (run === get().selectedRun) return;
      set({ selectedRun: run, selectedFlag: null, selectedVariable: null, selectedStep: null });
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
    selectVariable(path) {
      set({ selectedVariable: path });
    },
    selectStep(step) {
      set({ selectedStep: step });
    },
    selectStatistic(name) {
      set({ statistic: name });
    },
    setSpacing(spacing) {
      set({ spacing });
    },
    setFilter(text) {
      set({ filter: text });
    },
    toggleModule(key) {
      const collapsed = new Set(get().collapsed);
      if (!collapsed.delete(key)) collapsed.add(key);
      set({ collapsed });
    },
    setAllModules(open) {
      const variables = get().run?.variables ?? [];
      const keys = buildRows(variables, new Set()).map(({ module }) => module);
      set({ collapsed: new Set(open ? [] : keys) });
    },
    openRule(rule) {
      set({ openRule: rule });
    },
    refresh,
    followLink(link) {
      set({
        selectedRun: link.run ?? get().selectedRun,
        selectedFlag: link.flag ?? null,
        selectedVariable: link.variable ?? null,
        statistic: link.statistic ?? DEFAULT_STATISTIC,
      });
    },
  };
}

/** A flag brings its first variable, its first step and the statistic that shows it. */
function showFlag(state: State, run: Run, flag: Flag): Partial<State> {
  const path = flag.variables.find((name) => run.variables.some((v) => v.path === name));
  const statistic = statisticOf(flag, run);
  return {
    selectedFlag: flag.id,
    selectedVariable: path ?? state.selectedVariable,
    selectedStep: flag.firstStep,
    collapsed: openModulesOf(state, run, flag),
    ...(statistic !== null && columnOf(run, statistic) ? { statistic } : {}),
  };
}

function openModulesOf(state: State, run: Run, flag: Flag): ReadonlySet<string> {
  const sick = new Set(flag.variables);
  const needed = buildRows(run.variables, new Set())
    .filter(({ kind, key }) => kind === 'variable' && sick.has(key))
    .map(({ module }) => module);
  if (!needed.some((module) => state.collapsed.has(module))) return state.collapsed;
  const collapsed = new Set(state.collapsed);
  for (const module of needed) collapsed.delete(module);
  return collapsed;
}
