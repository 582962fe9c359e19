/** Above the picture: what it shows, of which variables, and how. */

import type { Column, Run } from '../api/types';
import { fill, h, onChange, type Child } from '../dom';
import { title } from '../scale/format';
import { isPattern } from '../scale/pattern';
import { worstOf } from '../scale/rows';
import { unitWords } from '../scale/units';
import type { Actions } from '../store/actions';
import { LEADING } from '../store/judgement';
import { columnOf, flaggedPaths, isMeasured, shownSides, shownStatistic } from '../store/selectors';
import type { Encoding, MainView, MatrixData } from '../store/state';
import { choice } from './choice';
import type { View } from './view';

/** The ones to start with; the rest follows in the server's order. */
const FIRST: readonly string[] = LEADING;

const WORST = {
  high: 'A closed module shows its largest value.',
  low: 'A closed module shows its smallest value.',
  both: 'A closed module shows its largest value above, its smallest below.',
};

/** `tools` stand at the end of the row. */
export function createControls(parent: HTMLElement, actions: Actions, ...tools: Child[]): View {
  const view = choice<MainView>(
    'View',
    [
      ['heatmap', 'Over steps', 'Heat-map: variables over steps'],
      ['profile', 'By depth', 'Layer profile: one step, from the first layer to the last'],
    ],
    actions.setView,
  );
  const statistic = h('select', {
    class: 'statistic',
    'aria-label': 'Statistic',
    onchange: () => {
      actions.selectStatistic(statistic.value);
    },
  });
  const encoding = choice<Encoding>(
    'Colours',
    [
      [
        'health',
        'Health',
        'Colour is the distance from what the rules call healthy: pale is healthy, the marks on the scale are limits',
      ],
      ['absolute', 'Value', 'Colour is the value itself: which variable is faulty?'],
      [
        'relative',
        'Change',
        'Colour is the change against the variable’s own beginning, before the first finding: since when is it faulty?',
      ],
      [
        'difference',
        'Difference',
        'Colour of the other runs is their change against the first one: what did the fix do?',
      ],
    ],
    actions.setEncoding,
  );
  const filter = h('input', {
    type: 'search',
    class: 'row-filter',
    placeholder: 'Filter variables (regex)',
    'aria-label': 'Filter variables by regular expression',
    oninput: () => {
      actions.setRowFilter(filter.value);
    },
  });
  const only = h(
    'button',
    {
      type: 'button',
      class: 'only-flagged',
      title: 'Show only the variables that have a finding',
      onclick: () => {
        actions.setOnlyFlagged(only.ariaPressed !== 'true');
      },
    },
    'With findings',
  );
  const meaning = h('p', { class: 'meaning' });
  const element = h(
    'div',
    { class: 'controls' },
    h(
      'div',
      { class: 'controls-row' },
      view.element,
      statistic,
      encoding.element,
      filter,
      only,
      tools,
    ),
    meaning,
  );
  parent.append(element);

  const drawOptions = onChange((statistics: readonly Column[]) => {
    fill(statistic, statisticOptions(statistics));
  });
  const drawMeaning = onChange(
    (column: Column | null, folded: boolean, matrix: MatrixData | null) => {
      if (!column) return;
      const missing = matrix?.statistic === column.name && !isMeasured(matrix);
      const unit = unitWords(column.unit);
      fill(
        meaning,
        h('strong', {}, `${title(column.name)}${unit === '' ? '.' : `, ${unit}.`}`),
        ` ${inWords(column.meaning)}`,
        folded && ` ${WORST[worstOf(column)]}`,
        missing &&
          h(
            'span',
            { class: 'missing' },
            ' Not measured anywhere in this run: it does not apply to this model, or the run was written by a version that did not know it. Train again with the installed version to record it.',
          ),
      );
    },
  );

  return {
    update(state) {
      const run: Run | null = state.run;
      if (!run) return;
      const name = shownStatistic(run, state.statistic);
      drawOptions(run.statistics);
      statistic.value = name;
      view.update(state.view);
      encoding.update(state.encoding, state.compareRuns.length === 0 ? ['difference'] : []);
      encoding.element.hidden = state.view !== 'heatmap';
      if (document.activeElement !== filter) filter.value = state.rowFilter;
      filter.setAttribute('aria-invalid', String(!isPattern(state.rowFilter)));
      only.ariaPressed = String(state.onlyFlagged);
      only.hidden = flaggedPaths(...shownSides(state).map((side) => side.run)).size === 0;
      drawMeaning(
        columnOf(run, name),
        state.view === 'heatmap' && state.collapsed.size > 0,
        state.matrix,
      );
    },
    destroy() {
      element.remove();
    },
  };
}

/** Names of other statistics as the tab writes them. */
const inWords = (meaning: string): string =>
  meaning.replace(/`?\b([a-z]+(?:_[a-z]+)+)\b`?/g, (_, name: string) => {
    const words = title(name);
    return words.charAt(0).toLowerCase() + words.slice(1);
  });

function statisticOptions(statistics: readonly Column[]): Child[] {
  const option = ({ name }: Column): HTMLElement => h('option', { value: name }, title(name));
  const first = statistics
    .filter(({ name }) => FIRST.includes(name))
    .sort((a, b) => FIRST.indexOf(a.name) - FIRST.indexOf(b.name));
  const rest = statistics.filter(({ name }) => !FIRST.includes(name));
  const group = (label: string, columns: readonly Column[]): Child =>
    columns.length > 0 && h('optgroup', { label }, columns.map(option));
  return [
    group('Start here', first),
    group(
      'At the step itself',
      rest.filter(({ scope }) => scope === 'step'),
    ),
    group(
      'Since the frame before',
      rest.filter(({ scope }) => scope === 'window'),
    ),
  ];
}
