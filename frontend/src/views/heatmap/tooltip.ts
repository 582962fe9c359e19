/** What a cell says in words, beside the pointer. */

import { fill, h, type Child } from '../../dom';
import { frameAtStep } from '../../scale/axis';
import {
  formatCount,
  formatInterval,
  formatRelation,
  formatValue,
  plural,
  title,
} from '../../scale/format';
import { hasRow, readHealth, readRow, type Reading } from '../../scale/map';
import { markWords } from '../../scale/nonfinite';
import { against } from '../../scale/relate';
import type { Row } from '../../scale/rows';
import { ruleTitle, type Side } from '../../store/selectors';
import { icon } from '../icons';
import { flagsOfRow, type Shown } from './shown';

/** A cell. */
export interface Place {
  readonly row: Row;
  readonly step: number;
}

export interface Tooltip {
  readonly element: HTMLElement;
  /** Beside the pointer; nothing for no cell. */
  show(event: PointerEvent, place: Place | null): void;
  hide(): void;
}

export function createTooltip(shown: Shown): Tooltip {
  const element = h('div', { class: 'tooltip', role: 'tooltip', hidden: true });
  return {
    element,
    show(event, place) {
      element.hidden = place === null;
      if (!place) return;
      fill(element, describe(shown, place));
      const { offsetWidth: width, offsetHeight: height } = element;
      const right = event.clientX + 14 + width > window.innerWidth;
      const low = event.clientY + 18 + height > window.innerHeight;
      element.style.left = `${Math.max(4, right ? event.clientX - width - 10 : event.clientX + 14)}px`;
      element.style.top = `${Math.max(4, low ? event.clientY - height - 10 : event.clientY + 18)}px`;
    },
    hide() {
      element.hidden = true;
    },
  };
}

/** All that a tooltip says is also in the panel of the variable. */
export function describe(shown: Shown, { row, step }: Place): Child[] {
  const { scale, state, sides } = shown;
  if (!scale || !state) return [];
  const { column } = scale;
  const flags = sides
    .flatMap((_, which) => flagsOfRow(shown, row, which))
    .filter((flag) => flag.firstStep <= step && (flag.open || step <= flag.lastStep));
  return [
    h(
      'strong',
      {},
      row.kind === 'variable'
        ? row.key
        : `${row.label} (${plural(row.variables.length, 'variable')})`,
    ),
    h('span', {}, `step ${formatCount(step)} · ${title(column.name)}`),
    sides.map((side, which) => h('span', {}, describeSide(shown, side, which, row, step))),
    flags.map((flag) =>
      h(
        'span',
        { 'data-severity': flag.severity },
        icon(flag.severity),
        `${ruleTitle(state.rules, flag.rule)} · ${formatInterval(flag.firstStep, flag.lastStep, flag.open)}`,
      ),
    ),
  ];
}

/** One run's own value at a step, and how far it is from what it is compared with. */
function describeSide(
  shown: Shown,
  { matrix, name }: Side,
  which: number,
  row: Row,
  step: number,
): Child[] {
  const { scale, plain, sides } = shown;
  const source = plain[which];
  if (!matrix || !source || !scale) return [];
  const prefix = sides.length > 1 ? `${name}: ` : '';
  if (!hasRow(source, row)) return [`${prefix}not in this run`];
  const reading = readRow(source, row, frameAtStep(matrix.run.steps, step));
  const { unit } = scale.column;
  const about = matrix.exact || Number.isNaN(reading.high) ? '' : '≈ ';
  const change = describeChange(shown, which, row, step, reading);
  return [
    `${prefix}${about}${rangeText(reading, (value) => formatValue(value, unit))}`,
    change !== '' && ` (${change})`,
    reading.marked > 0 &&
      h('span', { class: 'tooltip-nonfinite' }, ` × ${markWords(reading.marked)} here`),
  ];
}

function describeChange(
  shown: Shown,
  which: number,
  row: Row,
  step: number,
  reading: Reading,
): string {
  const { scale, sides, plain } = shown;
  const [relation, drawn] = [scale?.relation, scale?.sources[which]];
  const steps = sides[which]?.run?.steps;
  if (scale?.encoding === 'health' && drawn && steps) {
    return healthText(readHealth(drawn, row, frameAtStep(steps, step)));
  }
  if (!relation || !drawn || !steps) return '';
  const text = (value: number): string => formatRelation(value, relation);
  if (scale?.encoding === 'relative') {
    return `${rangeText(readRow(drawn, row, frameAtStep(steps, step)), text)} against its start`;
  }
  const [first, before] = [sides[0]?.run, plain[0]];
  if (which === 0 || row.kind === 'module' || !first || !before) return '';
  const { high } = readRow(before, row, frameAtStep(first.steps, step));
  return text(against(reading.high, high, relation));
}

/** The worse end of what a cell stands for. */
function healthText({ low, high }: Reading): string {
  const worst = Math.abs(low) > Math.abs(high) ? low : high;
  if (Number.isNaN(worst) || worst === 0) return Number.isNaN(worst) ? '' : 'healthy';
  const side = worst < 0 ? 'low' : 'high';
  return Math.abs(worst) >= 1
    ? `too ${side}: beyond the limit of a rule`
    : `${side}, within the limits`;
}

function rangeText({ low, high }: Reading, format: (value: number) => string): string {
  const [a, b] = [format(low), format(high)];
  return a === b ? b : `${a} to ${b}`;
}
