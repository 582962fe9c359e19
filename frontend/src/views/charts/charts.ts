/**
 * One variable over steps, of one run or of several: small charts under the heat-map, all on one
 * step axis.
 */

import type { Run } from '../../api/types';
import { h, onChange } from '../../dom';
import { lossName, namedLosses, type NamedLossColumn } from '../../scale/losses';
import type { Actions } from '../../store/actions';
import { failureOf, shownSides } from '../../store/selectors';
import type { State } from '../../store/state';
import type { View } from '../view';
import { createAxes, type Panel } from './axes';
import { createHistogramPanel } from './histograms';
import { createLeading } from './leading';
import { createPanel, type PanelSpec } from './lines';
import { GRADIENT_MARKS, LOSS_MARKS, WEIGHT_MARKS } from './marks';

const PANELS: readonly PanelSpec[] = [
  {
    title: 'Gradient RMS',
    of: 'variable',
    columns: [{ name: 'gradient_rms', label: '' }],
    dense: 'rms',
    marks: GRADIENT_MARKS,
  },
  {
    title: 'Update ratio',
    of: 'variable',
    columns: [{ name: 'update_ratio', label: '' }],
    marks: WEIGHT_MARKS,
    guide: 'update_ratio',
  },
  {
    title: 'Zero and dead',
    of: 'variable',
    columns: [
      { name: 'gradient_zero_share', label: 'zeros' },
      { name: 'dead_unit_share', label: 'dead' },
    ],
    marks: [],
  },
  {
    title: 'NaN and Inf',
    of: 'variable',
    columns: [
      { name: 'gradient_nonfinite_count', label: 'gradient' },
      { name: 'weight_nonfinite_count', label: 'weight' },
    ],
    marks: GRADIENT_MARKS,
  },
  {
    title: 'Loss',
    of: 'run',
    isLoss: true,
    columns: [{ name: 'loss', label: '' }],
    dense: 'loss',
    marks: LOSS_MARKS,
  },
  {
    title: 'Learning rate',
    of: 'run',
    columns: [{ name: 'learning_rate', label: '' }],
    stepped: true,
    marks: [],
  },
  {
    title: 'Weights moved',
    of: 'run',
    columns: [{ name: 'applied_steps', label: '' }],
    shareOf: 'window_steps',
    dense: 'moved',
    quiet: 1,
    marks: [],
  },
];

const namedPanel = (column: NamedLossColumn): PanelSpec => ({
  title: lossName(column),
  of: 'run',
  isLoss: true,
  columns: [{ name: column, label: '' }],
  dense: column,
  marks: [],
});

/** The selected variable, if the run has it. */
function ownVariable(run: Run | null, { selectedVariable }: State): string | null {
  const known = run?.variables.some(({ path }) => path === selectedVariable) ?? false;
  return known ? selectedVariable : null;
}

export function createCharts(parent: HTMLElement, actions: Actions): View {
  const axes = createAxes();
  const panels = PANELS.map((spec) => createPanel(spec, actions, axes));
  const leading = createLeading(actions, axes);
  const histogram = createHistogramPanel(actions, axes);
  const missing = h('p', { class: 'not-measured' });
  const message = h('p', { class: 'overlay-message' });
  const element = h(
    'section',
    {
      class: 'charts',
      'aria-label': 'The selected variable over steps',
      'data-picture': 'Variable over steps',
      'data-picture-of': 'variable',
      'data-picture-axis': 'elsewhere',
      // It scrolls, and the keyboard has to be able to do that.
      tabindex: 0,
    },
    message,
    leading.element,
  );
  // The distribution stands between the gradient it explains and what became of it.
  panels.forEach((panel, i) => {
    element.append(panel.element);
    if (i === 0) element.append(histogram.element);
  });
  element.append(missing);
  parent.append(element);

  // Behind the loss, one for each that the shown runs have a name of.
  const named = new Map<NamedLossColumn, Panel>();
  const after = panels.findIndex(({ element }) => element.dataset.title === 'Loss') + 1;
  const choose = onChange((...columns: readonly NamedLossColumn[]) => {
    for (const [column, panel] of named) {
      if (columns.includes(column)) continue;
      panel.destroy();
      named.delete(column);
    }
    const next = panels[after]?.element ?? missing;
    for (const column of columns) {
      const panel = named.get(column) ?? createPanel(namedPanel(column), actions, axes);
      named.set(column, panel);
      next.before(panel.element);
    }
  });

  return {
    update(state) {
      const sides = shownSides(state).map((side) => ({
        ...side,
        variable: side.variable?.variable === state.selectedVariable ? side.variable : null,
        lane: side.lane?.variable === ownVariable(side.run, state) ? side.lane : null,
      }));
      const failure = failureOf(state, 'variable') ?? failureOf(state, 'context');
      const open = state.selectedVariable !== null;
      element.ariaLabel = open ? 'The selected variable over steps' : 'The run over steps';
      // A link, or another run, may name a variable that a run does not have.
      const owner = sides.find(
        ({ run }) => run?.variables.some(({ path }) => path === state.selectedVariable) ?? open,
      );
      message.textContent = failure ?? (owner && !owner.variable ? 'Reading …' : '');
      message.hidden = message.textContent === '';
      element.dataset.sides = String(sides.length);
      leading.update(state, sides);
      choose(...namedLosses(sides.flatMap(({ run }) => run?.contextColumns ?? [])));
      for (const panel of [...panels, ...named.values()]) panel.update(state, sides);
      histogram.update(state, sides);
      const read = open && message.hidden;
      const empty = [...panels.map((panel) => panel.element), histogram.element].filter(
        (panel) => panel.dataset.of === 'variable' && panel.dataset.empty === 'true',
      );
      missing.textContent = `Not measured here: ${empty.map((panel) => panel.dataset.title ?? '').join(', ')}.`;
      missing.hidden = !read || empty.length === 0;
    },
    destroy() {
      leading.destroy();
      for (const panel of [...panels, ...named.values()]) panel.destroy();
      histogram.destroy();
      element.remove();
    },
  };
}
