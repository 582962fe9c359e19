/** The cells of the rows in view, with what is drawn over them. */

import type { Flag } from '../../api/types';
import { remember } from '../../dom';
import { drawCells, type Cells } from '../../draw/heatmap';
import { drawOnset } from '../../draw/marks';
import type { Pen } from '../../draw/pen';
import { drawStepAxis, drawStepLabel, drawStepLine, flagX } from '../../draw/steps';
import {
  createStepAxis,
  runAxes,
  stepX,
  type Spacing,
  type StepAxis,
  type Track,
} from '../../scale/axis';
import { PALETTES, ramp } from '../../scale/colour';
import { hasRow, stripOf } from '../../scale/map';
import type { Strip } from '../../scale/reduce';
import type { Row } from '../../scale/rows';
import { selectedFlag, shownFrame, stepsPerEpoch } from '../../store/selectors';
import { MOST_SIDES } from '../../store/state';
import { AXIS, FONT, ROW } from '../layout';
import { flagsOfRow, indexOfSide, isDifference, sideOf, type Shown } from './shown';

/** Rows `from` to `to`, that one not included. */
export interface Extent {
  readonly from: number;
  readonly to: number;
}

export interface Painting {
  /** The rows that were drawn; null as long as there are no data. */
  draw(which: number, context: Pen, width: number, height: number): Extent | null;
  /** The step axis of a pane; null before it was drawn. */
  axis(which: number): StepAxis | null;
  /** What was computed for the rows does not hold any more. */
  forget(): void;
}

/** Height of the bar below the cells of a finding. */
const BAR = 3;
const NO_AXIS = createStepAxis([], 0, 'steps');
const NO_TRACK: Track = { steps: [], wallTimes: [] };

export function visibleRows({ rows }: Shown, top: number, height: number): Extent {
  const from = Math.max(0, Math.floor(top / ROW) - 1);
  const to = Math.min(rows.length, Math.ceil((top + height) / ROW) + 1);
  return { from, to };
}

/** `top`: how far the rows are scrolled. */
export function createPainting(shown: Shown, top: () => number): Painting {
  const panes = Array.from({ length: MOST_SIDES }, () => ({
    strips: new Map<string, Strip>(),
    axis: NO_AXIS,
  }));

  function forget(): void {
    for (const { strips } of panes) strips.clear();
  }

  const yOf = (row: number): number => AXIS + row * ROW - top();

  const axesOf = panes.map(() =>
    remember(
      (
        shared: readonly number[],
        width: number,
        spacing: Spacing,
        after: number | null,
        ...tracks: readonly Track[]
      ): readonly StepAxis[] => {
        forget();
        return runAxes(tracks, shared, after, width, spacing);
      },
    ),
  );

  /** The rows that were drawn; null as long as there are no data. */
  function draw(which: number, context: Pen, width: number, height: number): Extent | null {
    const pane = panes[which];
    const { state, scale, rows } = shown;
    if (!state || !scale || !pane) return null;
    const tracks = shown.sides.map(({ run }) => run ?? NO_TRACK);
    // What two runs had at one time of day says nothing: a difference needs a common start.
    const spacing = isDifference(shown) && state.spacing === 'wall' ? 'relative' : state.spacing;
    const axes = axesOf[which]?.(shown.steps, width, spacing, shown.after, ...tracks) ?? [];
    pane.axis = axes[indexOfSide(shown, which)] ?? NO_AXIS;
    const palette = PALETTES[state.theme];
    const { from, to } = visibleRows(shown, top(), height);
    const cells: Cells[] = [];
    for (let i = from; i < to; i++) {
      const row = rows[i];
      if (!row) continue;
      const key = `${row.kind} ${row.key}`;
      let strip = pane.strips.get(key);
      if (!strip) pane.strips.set(key, (strip = stripOf(scale, which, row, axes, width)));
      // An open module shows its summary as a thin band; its variables follow below.
      const thin = row.kind === 'module' && row.open;
      const [inset, tall] = thin ? [7, 6] : [1, ROW - 2];
      cells.push({ strip, y: yOf(i) + inset, height: tall });
    }
    context.font = FONT;
    const colours = ramp(state.theme, scale.domain.kind);
    drawCells(context, cells, 0, width, scale.domain, colours, palette);
    drawAbsent(which, context, from, to);
    drawSelection(which, context, pane.axis, from, to, height);
    drawOnsets(which, context, pane.axis, from, to);
    drawHeader(which, context, pane.axis, width);
    return { from, to };
  }

  /** Rows that only the other run has say so. */
  function drawAbsent(which: number, context: Pen, from: number, to: number): void {
    const { state, rows } = shown;
    const source = shown.scale?.sources[which];
    if (!source || !state || shown.sides.length < 2 || isDifference(shown)) return;
    const palette = PALETTES[state.theme];
    context.textAlign = 'left';
    context.textBaseline = 'middle';
    for (let i = from; i < to; i++) {
      const row = rows[i];
      if (!row || hasRow(source, row) || (row.kind === 'module' && row.open)) continue;
      context.fillStyle = palette.surface;
      context.fillRect(6, yOf(i) + 1, context.measureText('not in this run').width + 8, ROW - 2);
      context.fillStyle = palette.quiet;
      context.fillText('not in this run', 10, yOf(i) + ROW / 2);
    }
  }

  function drawOnsets(which: number, context: Pen, axis: StepAxis, from: number, to: number): void {
    const { state, rows } = shown;
    if (!state) return;
    const palette = PALETTES[state.theme];
    for (let i = from; i < to; i++) {
      const row = rows[i];
      if (!row || (row.kind === 'module' && row.open)) continue;
      for (const flag of flagsOfRow(shown, row, indexOfSide(shown, which))) {
        const x = stepX(axis, flag.firstStep);
        if (x < 0 || x >= axis.width) continue;
        drawOnset(context, palette, palette[flag.severity], Math.round(x) + 1, yOf(i) + 1, ROW - 2);
      }
    }
  }

  function drawSelection(
    which: number,
    context: Pen,
    axis: StepAxis,
    from: number,
    to: number,
    height: number,
  ): void {
    const { state, rows, indexOf } = shown;
    const run = sideOf(shown, which)?.run;
    if (!state || !run) return;
    const palette = PALETTES[state.theme];
    const chosen =
      state.selectedVariable === null ? -1 : (indexOf.get(state.selectedVariable) ?? -1);
    if (chosen >= 0) {
      context.strokeStyle = palette.text;
      context.lineWidth = 1;
      context.strokeRect(-1, yOf(chosen) - 0.5, axis.width + 2, ROW + 1);
    }
    const bottom = Math.min(height, yOf(rows.length));
    drawStepLine(context, axis, shownFrame(run, state.selectedStep), AXIS, bottom, palette);
    if (state.compareStep !== null) {
      const frame = shownFrame(run, state.compareStep);
      drawStepLine(context, axis, frame, AXIS, bottom, palette, true);
    }
    // A flag belongs to the selected run.
    const flag = which === 0 ? selectedFlag(state) : null;
    if (!flag) return;
    const faulty = new Set(flag.variables);
    for (let i = from; i < to; i++) {
      const row = rows[i];
      if (row && isFaulty(row, faulty)) underline(context, axis, flag, yOf(i + 1));
    }
  }

  /** A closed module is marked for its variables; an open one leaves that to them. */
  function isFaulty(row: Row | undefined, faulty: ReadonlySet<string>): boolean {
    if (!row) return false;
    if (row.kind === 'variable') return faulty.has(row.key);
    return !row.open && row.variables.some((i) => faulty.has(shown.variables[i]?.path ?? ''));
  }

  /** When the finding was so: a bar in the gap below the cells, which stay as they are. */
  function underline(context: Pen, axis: StepAxis, flag: Flag, bottom: number): void {
    const interval = flagX(axis, flag);
    if (!shown.state || !interval) return;
    const [from, to] = interval;
    context.fillStyle = PALETTES[shown.state.theme].outline;
    context.fillRect(from, bottom - BAR / 2, to - from, BAR);
  }

  function drawHeader(which: number, context: Pen, axis: StepAxis, width: number): void {
    const { state } = shown;
    const run = sideOf(shown, which)?.run;
    if (!state || !run) return;
    const palette = PALETTES[state.theme];
    context.fillStyle = palette.surface;
    context.fillRect(0, 0, width, AXIS - 1);
    drawStepAxis(context, axis, AXIS, palette, stepsPerEpoch(run));
    for (const flag of run.flags) {
      const x = stepX(axis, flag.firstStep);
      if (flag.variables.length > 0 || x < 0 || x >= axis.width) continue;
      drawOnset(context, palette, palette[flag.severity], Math.round(x) + 1, AXIS - 12, 11);
    }
    const flag = which === 0 ? selectedFlag(state) : null;
    const interval = flag && flagX(axis, flag);
    if (interval) {
      context.fillStyle = palette.outline;
      context.fillRect(interval[0], AXIS - 3, interval[1] - interval[0], 3);
    }
    if (state.compareStep !== null) {
      drawStepLabel(context, axis, shownFrame(run, state.compareStep), palette, true);
    }
    drawStepLabel(context, axis, shownFrame(run, state.selectedStep), palette);
  }

  return {
    draw,
    axis(which) {
      const axis = panes[which]?.axis;
      return axis && axis.width > 0 ? axis : null;
    },
    forget,
  };
}
