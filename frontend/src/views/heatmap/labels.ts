/** The names of the rows in view, as elements beside the cells. */

import type { Flag, Severity } from '../../api/types';
import { SEVERITIES } from '../../api/types';
import { fill, h } from '../../dom';
import { plural } from '../../scale/format';
import type { Row } from '../../scale/rows';
import { icon } from '../icons';
import { AXIS, ROW } from '../layout';
import { flagsOfRow, indexOfActive, type Shown } from './shown';

export interface Labels {
  readonly element: HTMLElement;
  /** Rows `from` to `to`, that one not included. */
  draw(from: number, to: number): void;
}

/** `tree` is the element that has the focus; `choose` is called for a row that is clicked. */
export function createLabels(shown: Shown, tree: HTMLElement, choose: (row: Row) => void): Labels {
  const element = h('div', { class: 'labels', role: 'presentation' });

  const draw = onChangeOf(
    () => [shown.rows, shown.flagsOf, shown.active, shown.state?.selectedVariable],
    (from: number, to: number) => {
      fill(
        element,
        shown.rows.slice(from, to).map((row, i) => label(row, from + i)),
      );
      const index = indexOfActive(shown);
      if (index >= from && index < to) tree.setAttribute('aria-activedescendant', rowId(index));
      else tree.removeAttribute('aria-activedescendant');
    },
  );

  function label(row: Row, index: number): HTMLElement {
    const severity = worstSeverity(flagsOfRow(shown, row, 0).filter(({ open }) => open));
    const faulty = row.kind === 'module' && severity ? faultyVariables(shown, row) : 0;
    const all = row.variables.length;
    return h(
      'div',
      {
        id: rowId(index),
        class: `label label-${row.kind}`,
        role: 'treeitem',
        style: `top: ${AXIS + index * ROW}px; --level: ${row.within.length}`,
        title:
          row.kind === 'variable'
            ? row.key
            : `${row.key}: ${faulty > 0 ? `${faulty} of ` : ''}${plural(all, 'variable')}${faulty > 0 ? ' with findings' : ''}`,
        'data-key': row.key,
        'data-active': row.key === shown.active,
        'aria-level': row.within.length + 1,
        'aria-expanded': row.kind === 'module' ? String(row.open) : null,
        'aria-selected': String(
          row.kind === 'variable' && row.key === shown.state?.selectedVariable,
        ),
        onclick: () => {
          shown.active = row.key;
          choose(row);
        },
      },
      row.kind === 'module' && icon('chevron'),
      h('span', { class: 'label-text' }, row.label),
      faulty > 0
        ? h(
            'span',
            { class: 'label-count' },
            `${faulty} of ${all}`,
            h('span', { class: 'visually-hidden' }, ' with findings: '),
          )
        : row.kind === 'module' && !row.open && h('span', { class: 'label-count' }, all),
      severity &&
        h(
          'span',
          { class: 'label-flag', 'data-severity': severity },
          icon(severity),
          h('span', { class: 'visually-hidden' }, severity),
        ),
    );
  }

  return { element, draw };
}

/** How many variables of a module have a finding that goes on. */
function faultyVariables({ flagsOf, variables }: Shown, row: Row): number {
  const flags = flagsOf[0];
  return row.variables.filter((i) => flags?.get(variables[i]?.path ?? '')?.some(({ open }) => open))
    .length;
}

const rowId = (index: number): string => `gradient-health-row-${index}`;

function worstSeverity(flags: readonly Flag[]): Severity | null {
  return SEVERITIES.find((severity) => flags.some((flag) => flag.severity === severity)) ?? null;
}

/** As `onChange`, for a drawing that depends on more than its arguments. */
function onChangeOf<T extends readonly unknown[]>(
  inputs: () => readonly unknown[],
  draw: (...args: T) => void,
): (...args: T) => void {
  let last: readonly unknown[] = [];
  return (...args) => {
    const now = [...inputs(), ...args];
    if (now.length === last.length && now.every((value, i) => Object.is(value, last[i]))) return;
    last = now;
    draw(...args);
  };
}
