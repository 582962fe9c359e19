/** Above the heat-map: which statistic, what it means, its colours, and which rows. */

import type { Column, Run } from '../api/types';
import { fill, h, onChange } from '../dom';
import type { Theme } from '../host';
import { PALETTES, ramp, RAMP_SIZE } from '../scale/colour';
import { position, ticks, type Domain } from '../scale/domain';
import { formatNumber, formatShare, title } from '../scale/format';
import { isPattern } from '../scale/pattern';
import { worstOf } from '../scale/rows';
import { createDrawing } from '../draw/canvas';
import { drawMissing, drawNonfinite, drawZero } from '../draw/marks';
import type { Actions } from '../store/actions';
import { columnOf, shownStatistic } from '../store/selectors';
import type { State } from '../store/state';
import { FONT } from './layout';

export interface Toolbar {
  update(state: State, domain: Domain | null): void;
  destroy(): void;
}

/** The ones to start with; the rest follows in the server's order. */
const FIRST = [
  'gradient_rms',
  'update_ratio',
  'gradient_zero_share',
  'dead_unit_share',
  'gradient_nonfinite_count',
];

const WORST = {
  high: 'A closed module shows its largest value.',
  low: 'A closed module shows its smallest value.',
  both: 'A closed module shows its largest value above, its smallest below.',
};

export function createToolbar(parent: HTMLElement, actions: Actions): Toolbar {
  const select = h('select', {
    'aria-label': 'Statistic',
    onchange: () => {
      actions.selectStatistic(select.value);
    },
  });
  const meaning = h('p', { class: 'meaning' });
  const filter = h('input', {
    type: 'search',
    placeholder: 'Filter variables (regex)',
    'aria-label': 'Filter variables by regular expression',
    oninput: () => {
      actions.setRowFilter(filter.value);
    },
  });
  const spacing = h('select', {
    'aria-label': 'Step axis',
    title: 'By step is true to time; by frame gives the densely logged start more room',
    onchange: () => {
      actions.setSpacing(spacing.value === 'frames' ? 'frames' : 'steps');
    },
  });
  fill(
    spacing,
    h('option', { value: 'steps' }, 'Axis by step'),
    h('option', { value: 'frames' }, 'Axis by frame'),
  );
  const button = (label: string, open: boolean): HTMLElement =>
    h(
      'button',
      {
        type: 'button',
        onclick: () => {
          actions.setAllModules(open);
        },
      },
      label,
    );
  let domain: Domain | null = null;
  let theme: Theme = 'light';
  const scale = createDrawing('legend', (context, width) => {
    if (domain) drawLegend(context, domain, theme, width);
  });
  scale.element.setAttribute('role', 'img');
  const element = h(
    'div',
    { class: 'toolbar' },
    h(
      'div',
      { class: 'toolbar-row' },
      select,
      h('span', { class: 'spacer' }),
      filter,
      spacing,
      button('Open all', true),
      button('Close all', false),
    ),
    h('div', { class: 'toolbar-row toolbar-legend' }, scale.element, meaning),
  );
  parent.append(element);

  const drawOptions = onChange((statistics: readonly Column[]) => {
    const rank = (name: string): number =>
      (FIRST.indexOf(name) + FIRST.length + 1) % (FIRST.length + 1);
    const option = ({ name }: Column): HTMLElement => h('option', { value: name }, title(name));
    const first = statistics
      .filter(({ name }) => FIRST.includes(name))
      .sort((a, b) => rank(a.name) - rank(b.name));
    const rest = statistics.filter(({ name }) => !FIRST.includes(name));
    const group = (label: string, columns: readonly Column[]): HTMLElement | null =>
      columns.length === 0 ? null : h('optgroup', { label }, columns.map(option));
    fill(
      select,
      group('Start here', first),
      group(
        'At the step itself',
        rest.filter(({ scope }) => scope === 'step'),
      ),
      group(
        'Since the frame before',
        rest.filter(({ scope }) => scope === 'window'),
      ),
    );
  });
  const drawMeaning = onChange((column: Column | null) => {
    if (!column) return;
    const unit = column.unit === '' ? '' : ` [${column.unit}]`;
    fill(
      meaning,
      h('strong', {}, `${title(column.name)}${unit}`),
      ` ${column.meaning}`,
      h('span', { class: 'worst' }, ` ${WORST[worstOf(column)]}`),
    );
    meaning.title = `${column.meaning} ${WORST[worstOf(column)]}`;
  });
  const drawScale = onChange((...[next, shade]: [Domain | null, Theme]) => {
    domain = next;
    theme = shade;
    if (next) {
      scale.element.setAttribute(
        'aria-label',
        `Colours from ${formatNumber(next.low)} to ${formatNumber(next.high)}; a cross on black: not finite; hatching: not measured`,
      );
    }
    scale.request();
  });

  return {
    update(state, nextDomain) {
      const run: Run | null = state.run;
      if (!run) return;
      const name = shownStatistic(run, state.statistic);
      drawOptions(run.statistics);
      select.value = name;
      spacing.value = state.spacing;
      if (document.activeElement !== filter) filter.value = state.rowFilter;
      filter.setAttribute('aria-invalid', String(!isPattern(state.rowFilter)));
      drawMeaning(columnOf(run, name));
      drawScale(nextDomain, state.theme);
    },
    destroy() {
      scale.destroy();
      element.remove();
    },
  };
}

function drawLegend(
  context: CanvasRenderingContext2D,
  domain: Domain,
  theme: Theme,
  width: number,
): void {
  const palette = PALETTES[theme];
  const colours = ramp(theme, domain.kind);
  const [bar, y, height] = [width - 204, 3, 11];
  const left = domain.kind === 'log' ? 22 : 4;
  for (let x = 0; x < bar; x++) {
    const c = 3 * Math.round((x / (bar - 1)) * (RAMP_SIZE - 1));
    context.fillStyle = `rgb(${colours[c]} ${colours[c + 1]} ${colours[c + 2]})`;
    context.fillRect(left + x, y, 1.5, height);
  }
  context.font = FONT;
  context.fillStyle = palette.quiet;
  context.textBaseline = 'top';
  const share = domain.kind === 'linear' && domain.low === 0 && domain.high === 1;
  let taken = -Infinity;
  for (const value of ticks(domain, Math.max(2, Math.floor(bar / 44)))) {
    const label = share ? formatShare(value) : formatNumber(value);
    const half = context.measureText(label).width / 2;
    const x = Math.max(left + half - 3, left + position(domain, value) * (bar - 1));
    if (x - half < taken + 6) continue;
    context.textAlign = 'center';
    context.fillText(label, x, y + height + 3);
    taken = x + half;
  }
  if (domain.kind === 'log') {
    drawZero(context, palette, 4, y, 12, height);
    context.fillStyle = palette.quiet;
    if (taken > -Infinity) {
      context.textAlign = 'center';
      context.fillText('0', 10, y + height + 3);
    }
  }
  const marks = left + bar + 14;
  drawNonfinite(context, palette, marks, y, 12, height);
  drawMissing(context, palette, marks + 78, y, 14, height);
  context.fillStyle = palette.quiet;
  context.textAlign = 'left';
  context.fillText('NaN / Inf', marks + 16, y);
  context.fillText('not measured', marks + 96, y);
}
