/** The numbers of a variable at one step: the few that decide, judged; all others folded away. */

import type { Column, RuleBook, Variable } from '../api/types';
import { h, type Child } from '../dom';
import { formatRelation, formatValue, title } from '../scale/format';
import { unitWords } from '../scale/units';
import type { Actions } from '../store/actions';
import { judgedNumbers, type JudgedNumber } from '../store/judgement';
import { shownFrame } from '../store/selectors';
import type { ContextData, MatrixData, VariableData } from '../store/state';
import { icon } from './icons';

export interface NumbersOf {
  readonly data: VariableData;
  readonly variable: Variable;
  readonly context: ContextData | null;
  readonly step: number | null;
  /** The one in the heat-map. */
  readonly statistic: string | null;
  /** The one that the open finding is about. */
  readonly decisive: string | null;
  readonly rules: RuleBook | null;
  readonly matrix: MatrixData | null;
}

export function numbers(of: NumbersOf, actions: Actions): Child[] {
  const { data, variable, step, decisive, rules, matrix } = of;
  const { run, series } = data;
  const frame = shownFrame(run, step);
  const judged = judgedNumbers(run, variable, series, frame, rules, decisive, matrix);
  return [
    h(
      'ul',
      { class: 'judged' },
      judged.map((number) => judgedRow(number, of, actions)),
    ),
    judged.length === 0 &&
      h('p', { class: 'note' }, 'Nothing of this variable was measured at this step.'),
    allNumbers(of, frame, actions),
  ];
}

const MARK = { healthy: 'check', unusual: 'info', beyond: 'warning' } as const;

/** `Update ratio 4e-5 · low (healthy: 1e-4 to 1e-2)`. */
function judgedRow(
  { statistic, value, change, towards, judgement }: JudgedNumber,
  { data, statistic: shown }: NumbersOf,
  actions: Actions,
): HTMLElement {
  const column = data.run.statistics.find(({ name }) => name === statistic);
  const since = relationText(change, towards);
  return h(
    'li',
    { 'data-standing': judgement?.standing, 'data-statistic': statistic },
    column && statisticButton(column, shown, actions),
    h('b', {}, column && formatValue(value, column.unit === 'share' ? 'share' : '')),
    (judgement ?? since) !== '' &&
      h(
        'span',
        { class: 'judgement' },
        judgement && [icon(MARK[judgement.standing]), judgement.word],
        since !== '' && (judgement ? `, ${since}` : since),
        judgement && h('span', { class: 'range' }, ` (${judgement.range})`),
      ),
  );
}

/** What the value is held against, if not against limits of its own. */
function relationText(change: number, towards: number): string {
  if (!Number.isNaN(towards)) return `${formatRelation(towards, 'ratio')} against the last layers`;
  if (Number.isNaN(change)) return '';
  const text = formatRelation(change, 'ratio');
  return text === 'the same' ? 'as at the start' : `${text} since the start`;
}

function statisticButton(
  { name, meaning }: Column,
  shown: string | null,
  actions: Actions,
): HTMLElement {
  return h(
    'button',
    {
      class: 'column-link',
      type: 'button',
      'data-column': name,
      'aria-pressed': String(name === shown),
      'aria-description': `${meaning} Show it in the heat-map.`,
      title: meaning,
      onclick: () => {
        actions.selectStatistic(name);
      },
    },
    title(name),
  );
}

function allNumbers(
  { data, context, statistic }: NumbersOf,
  frame: number,
  actions: Actions,
): HTMLElement {
  const { run, series } = data;
  const own = valuesAt(run.statistics, series, frame);
  const whole = valuesAt(context?.run.contextColumns ?? [], context?.values, frame).filter(
    ({ column }) => column.unit !== 'id',
  );
  return h(
    'details',
    { class: 'all-numbers', 'data-fold': 'all numbers' },
    h(
      'summary',
      { 'data-column': 'all' },
      h('h3', {}, `All numbers (${own.length + whole.length})`),
    ),
    table('This variable', own, (column) => statisticButton(column, statistic, actions)),
    whole.length > 0 && table('The whole run', whole, ({ name }) => title(name)),
  );
}

interface Value {
  readonly column: Column;
  readonly value: number;
}

/** What was measured at a frame. */
const valuesAt = (
  columns: readonly Column[],
  values: Float32Array | undefined,
  frame: number,
): readonly Value[] =>
  columns
    .map((column, i) => ({ column, value: values?.[frame * columns.length + i] ?? Number.NaN }))
    .filter(({ value }) => !Number.isNaN(value));

/** By unit, which is said once. */
function table(
  caption: string,
  values: readonly Value[],
  name: (column: Column) => Child,
): HTMLElement {
  const units = [...new Set(values.map(({ column }) => heading(column)))];
  return h(
    'table',
    { class: 'value-table' },
    h('caption', {}, caption),
    units.map((unit) =>
      h(
        'tbody',
        {},
        unit !== '' && h('tr', { class: 'unit' }, h('th', { scope: 'rowgroup', colspan: 2 }, unit)),
        values
          .filter(({ column }) => heading(column) === unit)
          .map(({ column, value }) =>
            h(
              'tr',
              { title: column.meaning },
              h('th', { scope: 'row' }, name(column)),
              h('td', {}, reading(column, value)),
            ),
          ),
      ),
    ),
  );
}

/** A share carries its own sign, and the loss is in units of itself. */
const heading = ({ name, unit }: Column): string =>
  unit === 'share' || unit === name ? '' : unitWords(unit);

/** An age of -1: it has not happened. */
const never = ({ name }: Column, value: number): boolean =>
  name.endsWith('nonfinite_age') && value < 0;
const reading = (column: Column, value: number): string =>
  never(column, value) ? 'never' : formatValue(value, column.unit === 'share' ? 'share' : '', 5);
