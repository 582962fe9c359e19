/** Where findings are among all rows, squeezed into the height of the picture. Pure. */

import { SEVERITIES, type Severity } from '../api/types';

/** What a row has; an ended finding counts less than any that goes on. */
export interface RowState {
  readonly severity: Severity;
  readonly ended: boolean;
}

/** Neighbouring rows with findings. */
export interface StripMark extends RowState {
  /** Rows [from, to). */
  readonly from: number;
  readonly to: number;
  /** How many of them have a finding: rows without one may lie between. */
  readonly rows: number;
  /** In pixels. */
  readonly top: number;
  readonly height: number;
}

/** A mark is to be seen and to be hit. */
const LEAST_HEIGHT = 4;
/** Marks that are closer than this are one. */
const LEAST_GAP = 2;

/** `row`: the height of a row; where all rows fit, each mark stands beside its row. */
export function stripMarks(
  states: readonly (RowState | null)[],
  height: number,
  row: number,
): StripMark[] {
  const scale = Math.min(row, height / Math.max(1, states.length));
  const marks: StripMark[] = [];
  states.forEach((state, i) => {
    if (!state) return;
    const last = marks.at(-1);
    const top = i * scale;
    if (last && (last.to === i || top - (last.top + last.height) < LEAST_GAP)) {
      const worst = rankOf(state) < rankOf(last) ? state : last;
      const { severity, ended } = worst;
      const tall = Math.max(last.height, top + scale - last.top);
      marks[marks.length - 1] = {
        ...last,
        severity,
        ended,
        to: i + 1,
        rows: last.rows + 1,
        height: tall,
      };
      return;
    }
    const tall = Math.max(LEAST_HEIGHT, scale);
    const within = Math.min(top, Math.max(0, height - tall));
    marks.push({ ...state, from: i, to: i + 1, rows: 1, top: within, height: tall });
  });
  return marks;
}

/** The first of the rows with the worst finding; -1: there is none. */
export function worstRow(states: readonly (RowState | null)[]): number {
  const best = states.reduce(
    (least, state) => Math.min(least, state ? rankOf(state) : Infinity),
    Infinity,
  );
  return best === Infinity ? -1 : states.findIndex((state) => state && rankOf(state) === best);
}

const rankOf = ({ severity, ended }: RowState): number =>
  SEVERITIES.indexOf(severity) + (ended ? SEVERITIES.length : 0);
