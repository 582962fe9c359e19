/**
 * Variables x steps, of one run or of several side by side. Only the rows in view are drawn; names
 * are elements, cells are canvas.
 *
 * The canvases stick to the top of the scrolled box and are redrawn at every scroll, so their
 * size does not depend on the number of variables (a canvas that is too tall draws nothing).
 * All runs share the rows, the scroll position, the step axis and the colours.
 */

import type { Flag, Severity, Variable } from '../../api/types';
import { SEVERITIES } from '../../api/types';
import { fill, h, onChange, remember, type Child } from '../../dom';
import { createDrawing, type Drawing } from '../../draw/canvas';
import { drawCells, type Cells } from '../../draw/heatmap';
import { drawOnset } from '../../draw/marks';
import type { Pen } from '../../draw/pen';
import { drawStepAxis, drawStepLabel, drawStepLine, flagX } from '../../draw/steps';
import { UNROLLED } from '../../export/unroll';
import {
  createStepAxis,
  frameAtStep,
  frameAtX,
  frameAxis,
  jointSteps,
  stepX,
  type Spacing,
  type StepAxis,
} from '../../scale/axis';
import { PALETTES, ramp, runColour } from '../../scale/colour';
import {
  formatCount,
  formatInterval,
  formatRelation,
  formatValue,
  plural,
  title,
} from '../../scale/format';
import {
  hasRow,
  readRow,
  scaleMap,
  stripOf,
  type MapScale,
  type Reading,
  type Source,
} from '../../scale/map';
import { markWords } from '../../scale/nonfinite';
import { matcher, nothingMatches } from '../../scale/pattern';
import type { Strip } from '../../scale/reduce';
import { against } from '../../scale/relate';
import { buildRows, type Row } from '../../scale/rows';
import type { Actions } from '../../store/actions';
import {
  columnOf,
  columnsIn,
  failureOf,
  jointVariables,
  ruleTitle,
  selectedFlag,
  shownFrame,
  shownFrames,
  shownSides,
  type Side,
} from '../../store/selectors';
import {
  gridOf,
  MOST_SIDES,
  type MainView,
  type MatrixData,
  type State,
  type StepRange,
} from '../../store/state';
import { attachBrush } from '../brush';
import { icon } from '../icons';
import { AXIS, FONT, ROW } from '../layout';
import { createLegend } from '../legend';
import { nameParts } from '../runs';
import type { View } from '../view';

/** One canvas: a run, or its difference from the first one. */
interface Pane {
  readonly drawing: Drawing;
  readonly strips: Map<string, Strip>;
  axis: StepAxis;
  readonly dragging: () => boolean;
}

const NO_STEPS: readonly number[] = [];
const NO_ROWS: readonly Variable[] = [];
const NO_AXIS = createStepAxis([], 0, 'steps');
/** For whoever measures: the first time that there was something to see. */
const FIRST_PICTURE = 'gradient-health:first-picture';
/** The same with all frames: of a large run some are shown first. */
const WHOLE_PICTURE = 'gradient-health:whole-picture';
const SHOWN_IN: MainView = 'heatmap';

export function createHeatmap(parent: HTMLElement, actions: Actions): View {
  const element = h('section', {
    class: 'heatmap',
    'aria-label': 'Variables over steps',
    'data-picture': 'Heat-map',
  });
  const legend = createLegend(element);
  const panes = Array.from({ length: MOST_SIDES }, (_, which) => createPane(which));
  const heads = h('div', { class: 'pane-heads', hidden: true });
  const labels = h('div', { class: 'labels', role: 'presentation' });
  const corner = h('div', { class: 'corner', 'aria-hidden': 'true' });
  const canvases = h(
    'div',
    { class: 'canvases' },
    panes.map(({ drawing }) => drawing.element),
  );
  const rowsBox = h('div', { class: 'rows', role: 'presentation' }, corner, canvases, labels);
  const scroller = h(
    'div',
    { class: 'scroller', role: 'tree', tabindex: 0, 'aria-label': 'Variables in network order' },
    rowsBox,
  );
  const message = h('p', { class: 'overlay-message' });
  const spoken = h('p', { class: 'visually-hidden', 'aria-live': 'polite' });
  const tooltip = h('div', { class: 'tooltip', role: 'tooltip', hidden: true });
  element.append(heads, h('div', { class: 'map-box' }, scroller, message), spoken, tooltip);
  parent.append(element);

  let state: State | null = null;
  let sides: readonly Side[] = [];
  let scale: MapScale | null = null;
  /** The values themselves, also while a change is drawn. */
  let plain: readonly (Source | null)[] = [];
  let variables: readonly Variable[] = [];
  let rows: readonly Row[] = [];
  let indexOf: ReadonlyMap<string, number> = new Map();
  /** Steps of all runs within the zoom. */
  let steps: readonly number[] = [];
  let flagsOf: readonly ReadonlyMap<string, readonly Flag[]>[] = [];
  let active: string | null = null;
  let seen = false;
  let seenWhole = false;

  // --- What is shown ----------------------------------------------------------------------

  function forgetStrips(): void {
    for (const { strips } of panes) strips.clear();
  }

  const prepareRows = onChange(
    (joint: readonly Variable[], collapsed: ReadonlySet<string>, filter: string) => {
      forgetStrips();
      variables = joint;
      rows = buildRows(joint, collapsed, matcher(filter));
      indexOf = new Map(rows.map(({ key }, i) => [key, i]));
      const height = `${AXIS + rows.length * ROW + 8}px`;
      rowsBox.style.height = height;
      element.style.setProperty('--content', height);
    },
  );
  const join = remember(jointVariables);
  const prepareScale = onChange(
    (
      joint: readonly Variable[],
      encoding: State['encoding'],
      linear: boolean,
      ...matrices: readonly (MatrixData | null)[]
    ) => {
      forgetStrips();
      const [first] = matrices;
      const column = first ? columnOf(first.run, first.statistic) : null;
      plain = matrices.map(
        (matrix) => matrix && { grid: gridOf(matrix), columns: columnsIn(matrix.run, joint) },
      );
      scale = column && scaleMap(column, plain, encoding, linear);
    },
  );
  const prepareSteps = onChange(
    (range: StepRange | null, ...runs: readonly (readonly number[])[]) => {
      const all = jointSteps(...runs);
      const { from, to } = shownFrames(all, range);
      steps = from === 0 && to === all.length ? all : all.slice(from, to);
    },
  );
  const prepareFlags = onChange((...all: readonly (readonly Flag[] | undefined)[]) => {
    flagsOf = all.map((flags) => {
      const found = new Map<string, Flag[]>();
      for (const flag of flags ?? []) {
        for (const path of flag.variables) found.set(path, [...(found.get(path) ?? []), flag]);
      }
      return found;
    });
  });
  const drawHeads = onChange(
    (theme: State['theme'], difference: boolean, ...names: readonly (string | number)[]) => {
      const count = names.length / 2;
      heads.hidden = count < 2;
      const name = (which: number): Child => {
        const run = String(names[2 * which]);
        return [
          h('span', {
            class: 'run-dot',
            style: `background: ${runColour(Number(names[2 * which + 1]), theme)}`,
          }),
          h('span', { class: 'run-name', title: run }, nameParts(run)),
        ];
      };
      fill(
        heads,
        Array.from({ length: count }, (_, which) =>
          difference
            ? which > 0 &&
              h('div', { class: 'run-label' }, name(which), h('span', {}, 'against'), name(0))
            : h('div', { class: 'run-label' }, name(which)),
        ),
      );
    },
  );
  const revealFlag = onChange((flag: Flag | null) => {
    if (!flag) return;
    const sick = new Set(flag.variables);
    reveal(rows.findIndex(({ kind, key }) => kind === 'variable' && sick.has(key)));
  });
  const revealVariable = onChange((path: string | null) => {
    if (path === null) return;
    active = path;
    reveal(indexOf.get(path) ?? -1);
  });

  function reveal(row: number): void {
    if (row < 0) return;
    const top = row * ROW;
    const room = scroller.clientHeight - AXIS;
    if (top < scroller.scrollTop) scroller.scrollTop = Math.max(0, top - 2 * ROW);
    else if (top + ROW > scroller.scrollTop + room) {
      scroller.scrollTop = top - Math.max(0, Math.min(room / 2, room - 3 * ROW));
    }
  }

  function request(): void {
    for (const { drawing } of panes) if (!drawing.element.hidden) drawing.request();
  }

  // --- Drawing ----------------------------------------------------------------------------

  function createPane(which: number): Pane {
    const drawing = createDrawing('cells', (context, width, height) => {
      draw(which, context, Math.floor(width), height);
    });
    const pane: Pane = {
      drawing,
      strips: new Map(),
      axis: NO_AXIS,
      dragging: attachBrush(drawing.element, actions, {
        axis: () => (pane.axis.width > 0 ? pane.axis : null),
        left: 0,
        press,
      }),
    };
    listen(drawing.element, which);
    return pane;
  }

  const isDifference = (): boolean => scale?.encoding === 'difference';
  /** The run whose steps and flags a pane shows; a difference is about the other one. */
  const indexOfSide = (which: number): number => (isDifference() ? which + 1 : which);
  const sideOf = (which: number): Side | undefined => sides[indexOfSide(which)];

  function visibleRows(height: number): { from: number; to: number } {
    const from = Math.max(0, Math.floor(scroller.scrollTop / ROW) - 1);
    const to = Math.min(rows.length, Math.ceil((scroller.scrollTop + height) / ROW) + 1);
    return { from, to };
  }

  const yOf = (row: number): number => AXIS + row * ROW - scroller.scrollTop;

  const axesOf = panes.map(() =>
    remember(
      (
        shared: readonly number[],
        width: number,
        spacing: Spacing,
        ...runs: readonly (readonly number[])[]
      ): readonly StepAxis[] => {
        forgetStrips();
        const axis = createStepAxis(shared, width, spacing);
        return runs.map((own) => frameAxis(axis, own));
      },
    ),
  );

  function draw(which: number, context: Pen, width: number, height: number): void {
    const pane = panes[which];
    if (!state || !scale || !pane) return;
    const runs = sides.map(({ run }) => run?.steps ?? NO_STEPS);
    const axes = axesOf[which]?.(steps, width, state.spacing, ...runs) ?? [];
    pane.axis = axes[indexOfSide(which)] ?? NO_AXIS;
    const palette = PALETTES[state.theme];
    const { from, to } = visibleRows(height);
    const cells: Cells[] = [];
    for (let i = from; i < to; i++) {
      const row = rows[i];
      if (!row) continue;
      const key = `${row.kind} ${row.key}`;
      let strip = pane.strips.get(key);
      if (!strip) pane.strips.set(key, (strip = stripOf(scale, which, row, axes, width)));
      // An open module shows its summary as a thin band; its variables follow below.
      const thin = row.kind === 'module' && row.open;
      const [top, tall] = thin ? [7, 6] : [1, ROW - 2];
      cells.push({ strip, y: yOf(i) + top, height: tall });
    }
    context.font = FONT;
    const colours = ramp(state.theme, scale.domain.kind);
    drawCells(context, cells, 0, width, scale.domain, colours, palette);
    drawAbsent(which, context, from, to);
    drawSelection(which, context, pane.axis, from, to, height);
    drawOnsets(which, context, pane.axis, from, to);
    drawHeader(which, context, pane.axis, width);
    if (which === 0) drawLabels(from, to);
    if (!seen && cells.length > 0) {
      seen = true;
      performance.mark(FIRST_PICTURE);
    }
    if (
      !seenWhole &&
      cells.length > 0 &&
      sides.every(({ matrix }) => matrix?.run.glance === false)
    ) {
      seenWhole = true;
      performance.mark(WHOLE_PICTURE);
    }
  }

  /** Rows that only the other run has say so. */
  function drawAbsent(which: number, context: Pen, from: number, to: number): void {
    const source = scale?.sources[which];
    if (!source || !state || sides.length < 2 || isDifference()) return;
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
    if (!state) return;
    const palette = PALETTES[state.theme];
    for (let i = from; i < to; i++) {
      const row = rows[i];
      if (!row || (row.kind === 'module' && row.open)) continue;
      for (const flag of flagsOfRow(row, indexOfSide(which))) {
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
    const run = sideOf(which)?.run;
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
    const sick = new Set(flag.variables);
    for (let i = from; i < to; i++) {
      const row = rows[i];
      if (row && isSick(row, sick)) {
        let last = i;
        while (last + 1 < to && isSick(rows[last + 1], sick)) last++;
        outline(context, axis, flag, yOf(i), yOf(last + 1));
        i = last;
      }
    }
  }

  /** A closed module is outlined for its variables; an open one leaves that to them. */
  function isSick(row: Row | undefined, sick: ReadonlySet<string>): boolean {
    if (!row) return false;
    if (row.kind === 'variable') return sick.has(row.key);
    return !row.open && row.variables.some((i) => sick.has(variables[i]?.path ?? ''));
  }

  function outline(context: Pen, axis: StepAxis, flag: Flag, top: number, bottom: number): void {
    const interval = flagX(axis, flag);
    if (!state || !interval) return;
    const palette = PALETTES[state.theme];
    const [from, to] = interval;
    for (const [colour, thickness] of [
      [palette.surface, 5],
      [palette.outline, 2.5],
    ] as const) {
      context.strokeStyle = colour;
      context.lineWidth = thickness;
      context.strokeRect(from + 1, top, to - from - 2, bottom - top);
    }
  }

  function drawHeader(which: number, context: Pen, axis: StepAxis, width: number): void {
    const run = sideOf(which)?.run;
    if (!state || !run) return;
    const palette = PALETTES[state.theme];
    context.fillStyle = palette.surface;
    context.fillRect(0, 0, width, AXIS - 1);
    drawStepAxis(context, axis, AXIS, palette);
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

  // --- Names ------------------------------------------------------------------------------

  function flagsOfRow(row: Row, side: number): readonly Flag[] {
    const flags = flagsOf[side];
    if (!flags || flags.size === 0) return [];
    if (row.kind === 'variable') return flags.get(row.key) ?? [];
    return [...new Set(row.variables.flatMap((i) => flags.get(variables[i]?.path ?? '') ?? []))];
  }

  const drawLabels = onChangeOf(
    () => [rows, flagsOf, active, state?.selectedVariable],
    (from: number, to: number) => {
      fill(
        labels,
        rows.slice(from, to).map((row, i) => label(row, from + i)),
      );
      const index = active === null ? -1 : (indexOf.get(active) ?? -1);
      if (index >= from && index < to) scroller.setAttribute('aria-activedescendant', rowId(index));
      else scroller.removeAttribute('aria-activedescendant');
    },
  );

  function label(row: Row, index: number): HTMLElement {
    const severity = worstSeverity(flagsOfRow(row, 0).filter(({ open }) => open));
    return h(
      'div',
      {
        id: rowId(index),
        class: `label label-${row.kind}`,
        role: 'treeitem',
        style: `top: ${AXIS + index * ROW}px`,
        title:
          row.kind === 'variable'
            ? row.key
            : `${row.label}: ${plural(row.variables.length, 'variable')}`,
        'data-key': row.key,
        'data-active': row.key === active,
        'aria-level': row.kind === 'module' ? 1 : 2,
        'aria-expanded': row.kind === 'module' ? String(row.open) : null,
        'aria-selected': String(row.kind === 'variable' && row.key === state?.selectedVariable),
        onclick: () => {
          active = row.key;
          choose(row);
        },
      },
      row.kind === 'module' && icon('chevron'),
      h('span', { class: 'label-text' }, row.label),
      row.kind === 'module' &&
        !row.open &&
        h('span', { class: 'label-count' }, row.variables.length),
      severity &&
        h(
          'span',
          { class: 'label-flag', 'data-severity': severity },
          icon(severity),
          h('span', { class: 'visually-hidden' }, severity),
        ),
    );
  }

  function choose(row: Row): void {
    if (row.kind === 'module') actions.toggleModule(row.key);
    else actions.selectVariable(row.key);
  }

  // --- Pointer and keys -------------------------------------------------------------------

  interface Place {
    readonly row: Row;
    readonly step: number;
  }

  function placeAt(event: MouseEvent, which: number): Place | null {
    const pane = panes[which];
    if (!pane) return null;
    const box = pane.drawing.element.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const row = rows[Math.floor((y - AXIS + scroller.scrollTop) / ROW)];
    if (!row || y < AXIS || x < 0 || x >= pane.axis.width) return null;
    const step = pane.axis.steps[frameAtX(pane.axis, Math.floor(x))];
    return step === undefined ? null : { row, step };
  }

  /** All that a tooltip says is also in the panel of the variable. */
  function describe({ row, step }: Place): Child[] {
    if (!scale || !state) return [];
    const { column } = scale;
    const flags = sides
      .flatMap((_, which) => flagsOfRow(row, which))
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
      sides.map((side, which) => h('span', {}, describeSide(side, which, row, step))),
      flags.map((flag) =>
        h(
          'span',
          { 'data-severity': flag.severity },
          icon(flag.severity),
          `${ruleTitle(state?.rules ?? null, flag.rule)} · ${formatInterval(flag.firstStep, flag.lastStep, flag.open)}`,
        ),
      ),
    ];
  }

  /** One run's own value at a step, and how far it is from what it is compared with. */
  function describeSide({ matrix, name }: Side, which: number, row: Row, step: number): Child[] {
    const source = plain[which];
    if (!matrix || !source || !scale) return [];
    const prefix = sides.length > 1 ? `${name}: ` : '';
    if (!hasRow(source, row)) return [`${prefix}not in this run`];
    const reading = readRow(source, row, frameAtStep(matrix.run.steps, step));
    const { unit } = scale.column;
    const about = matrix.exact || Number.isNaN(reading.high) ? '' : '≈ ';
    const change = describeChange(which, row, step, reading);
    return [
      `${prefix}${about}${rangeText(reading, (value) => formatValue(value, unit))}`,
      change !== '' && ` (${change})`,
      reading.marked > 0 &&
        h('span', { class: 'tooltip-nonfinite' }, ` × ${markWords(reading.marked)} here`),
    ];
  }

  function describeChange(which: number, row: Row, step: number, reading: Reading): string {
    const [relation, shown] = [scale?.relation, scale?.sources[which]];
    const steps = sides[which]?.run?.steps;
    if (!relation || !shown || !steps) return '';
    const text = (value: number): string => formatRelation(value, relation);
    if (scale?.encoding === 'relative') {
      return `${rangeText(readRow(shown, row, frameAtStep(steps, step)), text)} against its median`;
    }
    const [first, before] = [sides[0]?.run, plain[0]];
    if (which === 0 || row.kind === 'module' || !first || !before) return '';
    const { high } = readRow(before, row, frameAtStep(first.steps, step));
    return text(against(reading.high, high, relation));
  }

  function listen(canvas: HTMLCanvasElement, which: number): void {
    canvas.addEventListener('pointermove', (event) => {
      const place = panes[which]?.dragging() ? null : placeAt(event, which);
      tooltip.hidden = place === null;
      if (!place) return;
      fill(tooltip, describe(place));
      const { offsetWidth: width, offsetHeight: height } = tooltip;
      const right = event.clientX + 14 + width > window.innerWidth;
      const low = event.clientY + 18 + height > window.innerHeight;
      tooltip.style.left = `${Math.max(4, right ? event.clientX - width - 10 : event.clientX + 14)}px`;
      tooltip.style.top = `${Math.max(4, low ? event.clientY - height - 10 : event.clientY + 18)}px`;
    });
    canvas.addEventListener('pointerleave', () => {
      tooltip.hidden = true;
    });
  }

  function press(event: PointerEvent): void {
    const which = panes.findIndex(({ drawing }) => drawing.element === event.currentTarget);
    const place = placeAt(event, which);
    if (!place) return;
    active = place.row.key;
    actions.selectStep(place.step);
    choose(place.row);
  }

  // A picture of all rows has all their names.
  element.addEventListener(UNROLLED, () => {
    const { from, to } = visibleRows(canvases.clientHeight);
    drawLabels(from, to);
  });
  scroller.addEventListener('scroll', () => {
    tooltip.hidden = true;
    request();
  });
  scroller.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (!handleKey(event.key)) return;
    event.preventDefault();
    request();
  });

  function handleKey(key: string): boolean {
    const index = active === null ? -1 : (indexOf.get(active) ?? -1);
    const row = rows[index];
    switch (key) {
      case 'ArrowDown':
        return moveTo(index + 1);
      case 'ArrowUp':
        return moveTo(index < 0 ? 0 : index - 1);
      case 'PageDown':
        return moveTo(index + 10);
      case 'PageUp':
        return moveTo(index - 10);
      case 'Home':
        return moveTo(0);
      case 'End':
        return moveTo(rows.length - 1);
      case 'ArrowLeft':
      case 'ArrowRight':
        return moveStep(key === 'ArrowLeft' ? -1 : 1);
      case '+':
      case '-':
      case '0':
        return zoom(key);
      case 'Enter':
      case ' ':
        if (row) choose(row);
        return row !== undefined;
      case 'Escape':
        actions.selectVariable(null);
        return true;
      default:
        return false;
    }
  }

  function moveTo(wanted: number): boolean {
    const index = Math.max(0, Math.min(rows.length - 1, wanted));
    const row = rows[index];
    if (!row) return false;
    active = row.key;
    reveal(index);
    // Once the panel is open it follows; before that, moving about opens nothing.
    if (row.kind === 'variable' && state?.selectedVariable !== null)
      actions.selectVariable(row.key);
    speak();
    return true;
  }

  /** One frame on; within a zoom never out of sight. */
  function moveStep(by: number): boolean {
    const run = sides[0]?.run;
    if (!run || !state) return false;
    const { from, to } = shownFrames(run.steps, state.stepRange);
    const frame = shownFrame(run, state.selectedStep) + by;
    actions.selectStep(run.steps[Math.max(from, Math.min(to - 1, frame))] ?? null);
    speak();
    return true;
  }

  /** Half as many frames around the chosen one, or twice as many. */
  function zoom(key: '+' | '-' | '0'): boolean {
    const run = sides[0]?.run;
    if (!run || !state) return false;
    const { from, to } = shownFrames(run.steps, state.stepRange);
    const size = Math.max(2, Math.round((to - from) * (key === '+' ? 0.5 : 2)));
    if (key === '0' || size >= run.steps.length) {
      actions.setStepRange(null);
      return true;
    }
    const middle = shownFrame(run, state.selectedStep);
    const first = Math.max(0, Math.min(run.steps.length - size, middle - (size >> 1)));
    actions.setStepRange([run.steps[first] ?? 0, run.steps[first + size - 1] ?? 0]);
    return true;
  }

  function speak(): void {
    const row = rows[active === null ? -1 : (indexOf.get(active) ?? -1)];
    const run = sides[0]?.run;
    if (!row || !run || !state) return;
    const step = run.steps[shownFrame(run, state.selectedStep)] ?? 0;
    fill(spoken, describe({ row, step }));
  }

  const observer = new ResizeObserver(() => {
    rowsBox.style.setProperty('--viewport', `${scroller.clientHeight}px`);
    request();
  });
  observer.observe(scroller);

  return {
    update(next) {
      state = next;
      element.hidden = next.view !== SHOWN_IN;
      sides = shownSides(next);
      const matrices = sides.map(({ matrix }) => matrix);
      const [first = null, ...others] = matrices;
      const joint = first ? join(first.run, ...sides.slice(1).map(({ run }) => run)) : NO_ROWS;
      // Until another run is there, the first one is shown as it is.
      const alone = others.every((matrix) => matrix === null);
      const encoding = next.encoding === 'difference' && alone ? 'absolute' : next.encoding;
      prepareRows(joint, next.collapsed, next.rowFilter);
      prepareScale(joint, encoding, next.valueScale === 'linear', ...matrices);
      prepareSteps(next.stepRange, ...sides.map(({ run }) => run?.steps ?? NO_STEPS));
      prepareFlags(...sides.map(({ run }) => run?.flags));
      drawHeads(
        next.theme,
        isDifference(),
        ...sides.flatMap(({ name, position }) => [name, position]),
      );
      panes.forEach(({ drawing }, which) => {
        drawing.element.hidden = which > 0 && sideOf(which) === undefined;
      });
      legend.update(scale?.domain ?? null, next.theme);
      revealVariable(first ? next.selectedVariable : null);
      revealFlag(first ? selectedFlag(next) : null);
      const failure = failureOf(next, 'matrix');
      message.textContent =
        failure ??
        (first
          ? rows.length === 0
            ? nothingMatches('variable', next.rowFilter)
            : ''
          : 'Reading …');
      message.hidden = message.textContent === '';
      request();
    },
    destroy() {
      observer.disconnect();
      legend.destroy();
      for (const { drawing } of panes) drawing.destroy();
      element.remove();
    },
  };
}

const rowId = (index: number): string => `gradient-health-row-${index}`;

function rangeText({ low, high }: Reading, format: (value: number) => string): string {
  const [a, b] = [format(low), format(high)];
  return a === b ? b : `${a} to ${b}`;
}

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
