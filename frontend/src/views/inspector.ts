/** One variable at one step: its facts, its flags, its distribution and every number. */

import type { Flag, RuleBook, Run, Variable } from '../api/types';
import { breakable, fill, h, onChange, type Child } from '../dom';
import { formatCount, formatInterval, title } from '../scale/format';
import type { Actions } from '../store/actions';
import { pictureOf } from '../store/findingpicture';
import {
  describeShape,
  ruleTitle,
  selectedFlag,
  selectedVariable,
  shownFrame,
  shownRun,
  shownStatistic,
} from '../store/selectors';
import type { ContextData, MatrixData, VariableData } from '../store/state';
import { createBars } from './bars';
import { foldsOf, restoreFolds } from './focus';
import { icon } from './icons';
import { numbers } from './numbers';
import type { View } from './view';

export function createInspector(parent: HTMLElement, actions: Actions): View {
  const head = h('div', { class: 'inspector-head' });
  const flags = h('div', { class: 'inspector-flags' });
  const stepBar = h('div', { class: 'step-bar' });
  const bars = createBars();
  const values = h('div', { class: 'values' });
  const facts = h('div', {});
  const element = h(
    'aside',
    { class: 'inspector', 'aria-label': 'The selected variable' },
    head,
    flags,
    stepBar,
    bars.element,
    values,
    facts,
  );
  parent.append(element);

  const drawHead = onChange((variable: Variable | null) => {
    fill(
      head,
      variable && [
        h('h2', {}, breakable(variable.path)),
        h(
          'button',
          {
            class: 'plain',
            type: 'button',
            'aria-label': 'Close the panel of this variable',
            onclick: () => {
              actions.selectVariable(null);
            },
          },
          icon('close'),
        ),
      ],
    );
    fill(facts, variable && factTable(variable));
  });
  const drawFlags = onChange((...[run, path, chosen, rules]: FlagInputs) => {
    const found = run?.flags.filter((flag) => path !== null && flag.variables.includes(path)) ?? [];
    fill(
      flags,
      found.map((flag) => flagButton(flag, flag.id === chosen, rules, actions)),
    );
  });
  const drawStep = onChange((run: Run | null, step: number | null) => {
    fill(stepBar, run && stepControls(run, step, actions));
  });
  const drawValues = onChange(
    (...[data, variable, context, step, statistic, ...rest]: ValueInputs) => {
      const [decisive, rules, matrix] = rest;
      const focused = document.activeElement?.getAttribute('data-column');
      const folds = foldsOf(values);
      const of = data &&
        variable && { data, variable, context, step, statistic, decisive, rules, matrix };
      fill(values, of && numbers(of, actions));
      restoreFolds(values, folds);
      if (focused) values.querySelector<HTMLElement>(`[data-column="${focused}"]`)?.focus();
    },
  );

  return {
    update(state) {
      const variable = selectedVariable(state);
      element.hidden = variable === null;
      const data = state.variable?.variable === state.selectedVariable ? state.variable : null;
      drawHead(variable);
      drawFlags(shownRun(state), state.selectedVariable, state.selectedFlag, state.rules);
      drawStep(state.run, state.selectedStep);
      const flag = selectedFlag(state);
      drawValues(
        data,
        variable,
        state.context,
        state.selectedStep,
        state.run && shownStatistic(state.run, state.statistic),
        flag && state.run && pictureOf(flag, state.run, state.rules).statistic,
        state.rules,
        state.matrix,
      );
      bars.update(state);
    },
    destroy() {
      bars.destroy();
      element.remove();
    },
  };
}

type ValueInputs = [
  VariableData | null,
  Variable | null,
  ContextData | null,
  step: number | null,
  statistic: string | null,
  decisive: string | null,
  RuleBook | null,
  MatrixData | null,
];
type FlagInputs = [Run | null, string | null, string | null, RuleBook | null];

function flagButton(
  flag: Flag,
  chosen: boolean,
  rules: RuleBook | null,
  actions: Actions,
): HTMLElement {
  return h(
    'button',
    {
      class: 'flag-chip',
      type: 'button',
      'data-severity': flag.severity,
      'aria-pressed': String(chosen),
      title: flag.summary,
      onclick: () => {
        actions.toggleFlag(flag.id);
      },
    },
    icon(flag.severity),
    `${ruleTitle(rules, flag.rule)} · ${formatInterval(flag.firstStep, flag.lastStep, flag.open)}`,
  );
}

function stepControls(run: Run, step: number | null, actions: Actions): Child[] {
  const frame = shownFrame(run, step);
  const go = (label: string, sign: string, to: number): HTMLElement =>
    h(
      'button',
      {
        type: 'button',
        'aria-label': label,
        disabled: to < 0 || to >= run.steps.length,
        onclick: () => {
          actions.selectStep(run.steps[to] ?? null);
        },
      },
      sign,
    );
  return [
    h('h3', {}, `At step ${formatCount(run.steps[frame] ?? 0)}`),
    h(
      'span',
      { class: 'frame-count' },
      `frame ${formatCount(frame + 1)} of ${formatCount(run.steps.length)}`,
    ),
    go('Frame before', '‹', frame - 1),
    go('Frame after', '›', frame + 1),
  ];
}

function factTable(variable: Variable): HTMLElement {
  const rows: [string, string][] = [
    ['Shape', describeShape(variable)],
    ['Dtype', variable.dtype],
    ['Layer', variable.layerClass],
    ['Module', variable.module],
    ['Role', variable.role],
    ['Output units', variable.units > 0 ? formatCount(variable.units) : ''],
    ['Activation', variable.activation],
    ['Initializer', variable.initializer],
    ['Regularizer', variable.regularizer],
    ['Constraint', variable.constraint],
    ['Trainable', variable.trainable ? 'yes' : 'no'],
    ['Optimizer', variable.optimizer],
    ...Object.entries(variable.facts).map(([name, value]): [string, string] => [
      title(name),
      value,
    ]),
  ];
  return h(
    'section',
    {},
    h('h3', {}, 'Facts'),
    h(
      'dl',
      { class: 'facts' },
      rows
        .filter(([, value]) => value !== '')
        .map(([name, value]) => [h('dt', {}, name), h('dd', {}, value)]),
    ),
  );
}
