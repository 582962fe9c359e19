/** All findings over the whole height of the list, beside its scroll bar: a click goes there. */

import type { Flag } from '../../api/types';
import { SEVERITIES } from '../../api/types';
import { fill, h, onChange } from '../../dom';
import { plural } from '../../scale/format';
import type { Row } from '../../scale/rows';
import { stripMarks, type RowState, type StripMark } from '../../scale/strip';
import { focusKey } from '../focus';
import { AXIS, ROW } from '../layout';
import { createRoving } from '../roving';
import { flagsOfRow, type Shown } from './shown';

export interface Strip {
  readonly element: HTMLElement;
  /** `height`: of the visible part of the list. */
  update(states: readonly (RowState | null)[], height: number): void;
}

export function createStrip(shown: Shown, goTo: (row: number) => void): Strip {
  const element = h('div', {
    class: 'strip',
    role: 'toolbar',
    'aria-label': 'Where the findings are',
    'aria-orientation': 'vertical',
  });
  const roving = createRoving(element, 'button');

  function markButton({ from, rows, severity, ended, top, height }: StripMark): HTMLElement {
    const row = shown.rows[from];
    const more = rows > 1 ? ` and ${plural(rows - 1, 'more row')}` : '';
    const text = `${ended ? 'Ended: ' : ''}${severity}, ${row?.key ?? ''}${more}`;
    return h('button', {
      type: 'button',
      style: `top: ${AXIS + top}px; height: ${height}px`,
      title: text,
      'aria-label': text,
      'data-severity': severity,
      'data-ended': ended,
      'data-focus': row?.key,
      onclick: () => {
        goTo(from);
      },
    });
  }

  const draw = onChange((states: readonly (RowState | null)[], height: number) => {
    const focus = focusKey(element);
    const marks = stripMarks(states, Math.max(0, height - AXIS), ROW);
    fill(element, marks.map(markButton));
    element.hidden = marks.length === 0;
    if (focus !== null) element.querySelector<HTMLElement>(`[data-focus="${focus}"]`)?.focus();
    roving.update();
  });

  return { element, update: draw };
}

/** What each row has; an open module leaves it to the rows below it. */
export function statesOf(shown: Shown): readonly (RowState | null)[] {
  return shown.rows.map((row) => (row.kind === 'module' && row.open ? null : stateOf(shown, row)));
}

function stateOf(shown: Shown, row: Row): RowState | null {
  const flags = shown.sides.flatMap((_, side) => flagsOfRow(shown, row, side));
  const open = worst(flags.filter((flag) => flag.open));
  const severity = open ?? worst(flags);
  return severity ? { severity, ended: open === undefined } : null;
}

const worst = (flags: readonly Flag[]): Flag['severity'] | undefined =>
  SEVERITIES.find((severity) => flags.some((flag) => flag.severity === severity));
