/**
 * Variables x steps. Only the rows in view are drawn; names are elements, cells are canvas.
 *
 * One canvas sticks to the top of the scrolled box and is redrawn at every scroll, so its
 * size does not depend on the number of variables (a canvas that is too tall draws nothing).
 */

import type { Column, Flag, Run, Severity } from '../api/types';
import { SEVERITIES } from '../api/types';
import { fill, h, onChange, type Child } from '../dom';
import { createDrawing } from '../draw/canvas';
import { drawCells, type Cells } from '../draw/heatmap';
import { drawOnset } from '../draw/marks';
import { createStepAxis, frameAtX, stepX, type StepAxis } from '../scale/axis';
import { PALETTES, ramp } from '../scale/colour';
import { fitDomain, type Domain } from '../scale/domain';
import { formatCount, formatInterval, formatValue, plural, title } from '../scale/format';
import { matcher } from '../scale/pattern';
import { reduceRow, type Grid, type Strip } from '../scale/reduce';
import { buildRows, worstOf, type Row } from '../scale/rows';
import type { Actions } from '../store/actions';
import { columnOf, ruleTitle, selectedFlag, shownFrame } from '../store/selectors';
import type { MatrixData, State } from '../store/state';
import { icon } from './icons';
import { AXIS, FONT, ROW } from './layout';
import { createLegend } from './legend';
import type { View } from './view';

/** What a matrix says, prepared once for all of its drawings. */
interface Picture {
  readonly matrix: MatrixData;
  readonly column: Column;
  readonly domain: Domain;
  readonly grid: Grid;
}

export function createHeatmap(parent: HTMLElement, actions: Actions): View {
  const element = h('section', {
    class: 'heatmap',
    'aria-label': 'Variables over steps',
    'data-picture': 'Heat-map',
  });
  const legend = createLegend(element);
  const drawing = createDrawing('cells', draw);
  const labels = h('div', { class: 'labels', role: 'presentation' });
  const corner = h('div', { class: 'corner', 'aria-hidden': 'true' });
  const rowsBox = h(
    'div',
    { class: 'rows', role: 'presentation' },
    corner,
    drawing.element,
    labels,
  );
  const scroller = h(
    'div',
    { class: 'scroller', role: 'tree', tabindex: 0, 'aria-label': 'Variables in network order' },
    rowsBox,
  );
  const message = h('p', { class: 'overlay-message' });
  const spoken = h('p', { class: 'visually-hidden', 'aria-live': 'polite' });
  const tooltip = h('div', { class: 'tooltip', role: 'tooltip', hidden: true });
  element.append(h('div', { class: 'map-box' }, scroller, message), spoken, tooltip);
  parent.append(element);

  let state: State | null = null;
  let picture: Picture | null = null;
  let rows: readonly Row[] = [];
  let axis: StepAxis = createStepAxis([], 0, 'steps');
  let flagsOf: ReadonlyMap<string, readonly Flag[]> = new Map();
  let active: string | null = null;
  const strips = new Map<string, Strip>();

  // --- What is shown ----------------------------------------------------------------------

  const preparePicture = onChange((matrix: MatrixData | null) => {
    strips.clear();
    picture = matrix && prepare(matrix);
  });
  const prepareRows = onChange(
    (run: Run | null, collapsed: ReadonlySet<string>, filter: string) => {
      strips.clear();
      rows = run ? buildRows(run.variables, collapsed, matcher(filter)) : [];
      rowsBox.style.height = `${AXIS + rows.length * ROW + 8}px`;
    },
  );
  const prepareFlags = onChange((flags: readonly Flag[] | undefined) => {
    const found = new Map<string, Flag[]>();
    for (const flag of flags ?? []) {
      for (const path of flag.variables) found.set(path, [...(found.get(path) ?? []), flag]);
    }
    flagsOf = found;
  });
  const prepareAxis = onChange((run: Run | null, width: number, spacing: State['spacing']) => {
    strips.clear();
    axis = createStepAxis(run?.steps ?? [], width, spacing);
  });
  const revealFlag = onChange((flag: Flag | null) => {
    if (!flag) return;
    const sick = new Set(flag.variables);
    reveal(rows.findIndex(({ kind, key }) => kind === 'variable' && sick.has(key)));
  });
  const revealVariable = onChange((path: string | null) => {
    if (path === null) return;
    active = path;
    reveal(rows.findIndex(({ key }) => key === path));
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

  // --- Drawing ----------------------------------------------------------------------------

  function visibleRows(height: number): { from: number; to: number } {
    const from = Math.max(0, Math.floor(scroller.scrollTop / ROW) - 1);
    const to = Math.min(rows.length, Math.ceil((scroller.scrollTop + height) / ROW) + 1);
    return { from, to };
  }

  const yOf = (row: number): number => AXIS + row * ROW - scroller.scrollTop;

  function stripOf(row: Row, { grid, column }: Picture): Strip {
    const key = `${row.kind} ${row.key}`;
    let strip = strips.get(key);
    if (!strip) {
      strip = reduceRow(
        grid,
        row.variables,
        axis,
        row.kind === 'module' ? worstOf(column) : 'both',
      );
      strips.set(key, strip);
    }
    return strip;
  }

  function draw(context: CanvasRenderingContext2D, width: number, height: number): void {
    if (!state || !picture) return;
    prepareAxis(picture.matrix.run, Math.floor(width), state.spacing);
    const palette = PALETTES[state.theme];
    const { from, to } = visibleRows(height);
    const cells: Cells[] = [];
    for (let i = from; i < to; i++) {
      const row = rows[i];
      if (!row) continue;
      // An open module shows its summary as a thin band; its variables follow below.
      const thin = row.kind === 'module' && row.open;
      const [top, tall] = thin ? [7, 6] : [1, ROW - 2];
      cells.push({ strip: stripOf(row, picture), y: yOf(i) + top, height: tall });
    }
    drawCells(
      context,
      cells,
      0,
      axis.width,
      picture.domain,
      ramp(state.theme, picture.domain.kind),
      palette,
    );
    drawSelection(context, from, to, height);
    drawOnsets(context, from, to);
    drawAxis(context, width);
    drawLabels(from, to);
  }

  function drawOnsets(context: CanvasRenderingContext2D, from: number, to: number): void {
    if (!state) return;
    const palette = PALETTES[state.theme];
    for (let i = from; i < to; i++) {
      const row = rows[i];
      if (!row || (row.kind === 'module' && row.open)) continue;
      for (const flag of flagsOfRow(row)) {
        drawOnset(
          context,
          palette,
          palette[flag.severity],
          Math.round(stepX(axis, flag.firstStep)) + 1,
          yOf(i) + 1,
          ROW - 2,
        );
      }
    }
  }

  function drawSelection(
    context: CanvasRenderingContext2D,
    from: number,
    to: number,
    height: number,
  ): void {
    if (!state || !picture) return;
    const palette = PALETTES[state.theme];
    const chosen = rows.findIndex(
      ({ kind, key }) => kind === 'variable' && key === state?.selectedVariable,
    );
    if (chosen >= 0) {
      context.strokeStyle = palette.text;
      context.lineWidth = 1;
      context.strokeRect(-1, yOf(chosen) - 0.5, axis.width + 2, ROW + 1);
    }
    const frame = shownFrame(picture.matrix.run, state.selectedStep);
    const x = axis.start[frame] ?? 0;
    const middle = Math.round((x + Math.min(axis.end[frame] ?? x, axis.width)) / 2) + 0.5;
    context.strokeStyle = palette.text;
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(middle, AXIS);
    context.lineTo(middle, Math.min(height, yOf(rows.length)));
    context.stroke();
    const flag = selectedFlag(state);
    if (!flag) return;
    const sick = new Set(flag.variables);
    for (let i = from; i < to; i++) {
      const row = rows[i];
      if (row && isSick(row, sick)) {
        let last = i;
        while (last + 1 < to && isSick(rows[last + 1], sick)) last++;
        outline(context, flag, yOf(i), yOf(last + 1));
        i = last;
      }
    }
  }

  /** A closed module is outlined for its variables; an open one leaves that to them. */
  function isSick(row: Row | undefined, sick: ReadonlySet<string>): boolean {
    if (!row || !picture) return false;
    if (row.kind === 'variable') return sick.has(row.key);
    const { variables } = picture.matrix.run;
    return !row.open && row.variables.some((i) => sick.has(variables[i]?.path ?? ''));
  }

  function interval(flag: Flag): [number, number] {
    const from = Math.round(stepX(axis, flag.firstStep));
    const last = frameAtX(axis, Math.round(stepX(axis, flag.lastStep)));
    return [from, Math.max(from + 3, Math.min(axis.width, axis.end[last] ?? axis.width))];
  }

  function outline(
    context: CanvasRenderingContext2D,
    flag: Flag,
    top: number,
    bottom: number,
  ): void {
    if (!state) return;
    const palette = PALETTES[state.theme];
    const [from, to] = interval(flag);
    for (const [colour, thickness] of [
      [palette.surface, 5],
      [palette.outline, 2.5],
    ] as const) {
      context.strokeStyle = colour;
      context.lineWidth = thickness;
      context.strokeRect(from + 1, top, to - from - 2, bottom - top);
    }
  }

  function drawAxis(context: CanvasRenderingContext2D, width: number): void {
    if (!state || !picture) return;
    const palette = PALETTES[state.theme];
    context.fillStyle = palette.surface;
    context.fillRect(0, 0, width, AXIS - 1);
    context.font = FONT;
    context.textBaseline = 'middle';
    context.fillStyle = palette.quiet;
    context.strokeStyle = palette.line;
    context.lineWidth = 1;
    context.beginPath();
    for (const { x, label } of axis.ticks) {
      const half = context.measureText(label).width / 2;
      context.textAlign = 'center';
      context.fillText(label, Math.min(width - half - 1, Math.max(half, x)), 11);
      context.moveTo(Math.round(x) + 0.5, AXIS - 6);
      context.lineTo(Math.round(x) + 0.5, AXIS - 1);
    }
    context.stroke();
    for (const flag of state.run?.flags ?? []) {
      if (flag.variables.length > 0) continue;
      drawOnset(
        context,
        palette,
        palette[flag.severity],
        Math.round(stepX(axis, flag.firstStep)) + 1,
        AXIS - 12,
        11,
      );
    }
    const flag = selectedFlag(state);
    if (flag) {
      const [from, to] = interval(flag);
      context.fillStyle = palette.outline;
      context.fillRect(from, AXIS - 3, to - from, 3);
    }
    const frame = shownFrame(picture.matrix.run, state.selectedStep);
    const label = formatCount(picture.matrix.run.steps[frame] ?? 0);
    const x = ((axis.start[frame] ?? 0) + Math.min(axis.end[frame] ?? 0, axis.width)) / 2;
    const wide = context.measureText(label).width + 10;
    const left = Math.min(width - wide, Math.max(0, x - wide / 2));
    context.fillStyle = palette.text;
    context.fillRect(left, 2, wide, 17);
    context.fillStyle = palette.surface;
    context.textAlign = 'center';
    context.fillText(label, left + wide / 2, 11);
  }

  // --- Names ------------------------------------------------------------------------------

  const flagsOfRow = (row: Row): readonly Flag[] => {
    if (row.kind === 'variable') return flagsOf.get(row.key) ?? [];
    const variables = picture?.matrix.run.variables ?? [];
    return [...new Set(row.variables.flatMap((i) => flagsOf.get(variables[i]?.path ?? '') ?? []))];
  };

  const drawLabels = onChangeOf(
    () => [
      rows,
      flagsOf,
      active,
      state?.selectedVariable,
      ...Object.values(visibleRows(scroller.clientHeight)),
    ],
    (from: number, to: number) => {
      fill(
        labels,
        rows.slice(from, to).map((row, i) => label(row, from + i)),
      );
      const index = rows.findIndex(({ key }) => key === active);
      if (index >= from && index < to) scroller.setAttribute('aria-activedescendant', rowId(index));
      else scroller.removeAttribute('aria-activedescendant');
    },
  );

  function label(row: Row, index: number): HTMLElement {
    const severity = worstSeverity(flagsOfRow(row).filter(({ open }) => open));
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
    readonly frame: number;
  }

  function placeAt(event: MouseEvent): Place | null {
    const box = drawing.element.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const row = rows[Math.floor((y - AXIS + scroller.scrollTop) / ROW)];
    if (!row || y < AXIS || x < 0 || x >= axis.width) return null;
    return { row, frame: frameAtX(axis, Math.floor(x)) };
  }

  /** All that a tooltip says is also in the panel of the variable. */
  function describe({ row, frame }: Place): Child[] {
    if (!picture) return [];
    const { matrix, column, grid } = picture;
    const at =
      Math.max(
        0,
        matrix.edges.findLastIndex((edge) => edge <= frame),
      ) * grid.rows;
    const step = matrix.run.steps[frame] ?? 0;
    const values = row.variables.map((i) => grid.high[at + i] ?? Number.NaN);
    const known = values.filter((value) => !Number.isNaN(value));
    const value = formatValue(Math.max(...known), column.unit);
    const range =
      known.length === 0
        ? 'not measured'
        : known.length > 1
          ? `${formatValue(Math.min(...known), column.unit)} to ${value}`
          : value;
    const nonfinite = row.variables.some((i) => (matrix.marks[at + i] ?? 0) > 0);
    const flags = flagsOfRow(row).filter(
      (flag) => flag.firstStep <= step && (flag.open || step <= flag.lastStep),
    );
    return [
      h(
        'strong',
        {},
        row.kind === 'variable'
          ? row.key
          : `${row.label} (${plural(row.variables.length, 'variable')})`,
      ),
      h('span', {}, `step ${formatCount(step)} · ${title(column.name)}: ${range}`),
      nonfinite && h('span', { class: 'tooltip-nonfinite' }, '× NaN or Inf here'),
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

  drawing.element.addEventListener('pointermove', (event) => {
    const place = placeAt(event);
    tooltip.hidden = place === null;
    if (!place) return;
    fill(tooltip, describe(place));
    const { offsetWidth: width, offsetHeight: height } = tooltip;
    const right = event.clientX + 14 + width > window.innerWidth;
    const low = event.clientY + 18 + height > window.innerHeight;
    tooltip.style.left = `${Math.max(4, right ? event.clientX - width - 10 : event.clientX + 14)}px`;
    tooltip.style.top = `${Math.max(4, low ? event.clientY - height - 10 : event.clientY + 18)}px`;
  });
  drawing.element.addEventListener('pointerleave', () => {
    tooltip.hidden = true;
  });
  drawing.element.addEventListener('click', (event) => {
    const place = placeAt(event);
    if (!place || !picture) return;
    active = place.row.key;
    actions.selectStep(picture.matrix.run.steps[place.frame] ?? null);
    choose(place.row);
  });
  scroller.addEventListener('scroll', () => {
    tooltip.hidden = true;
    drawing.request();
  });
  scroller.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (!handleKey(event.key)) return;
    event.preventDefault();
    drawing.request();
  });

  function handleKey(key: string): boolean {
    const index = rows.findIndex((row) => row.key === active);
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

  function moveStep(by: number): boolean {
    if (!picture || !state) return false;
    const { steps } = picture.matrix.run;
    const frame = shownFrame(picture.matrix.run, state.selectedStep) + by;
    actions.selectStep(steps[Math.max(0, Math.min(steps.length - 1, frame))] ?? null);
    speak();
    return true;
  }

  function speak(): void {
    const row = rows.find(({ key }) => key === active);
    if (!row || !picture || !state) return;
    fill(spoken, describe({ row, frame: shownFrame(picture.matrix.run, state.selectedStep) }));
  }

  const observer = new ResizeObserver(() => {
    rowsBox.style.setProperty('--viewport', `${scroller.clientHeight}px`);
    drawing.request();
  });
  observer.observe(scroller);

  return {
    update(next) {
      state = next;
      const matrix = next.matrix?.run.run === next.selectedRun ? next.matrix : null;
      preparePicture(matrix);
      prepareRows(matrix?.run ?? null, next.collapsed, next.rowFilter);
      prepareFlags(next.run?.flags);
      legend.update(picture?.domain ?? null, next.theme);
      revealVariable(matrix ? next.selectedVariable : null);
      revealFlag(matrix ? selectedFlag(next) : null);
      const failure = next.failures.matrix;
      message.textContent =
        failure ??
        (matrix ? (rows.length === 0 ? 'No variable matches the filter.' : '') : 'Reading …');
      message.hidden = message.textContent === '';
      drawing.request();
    },
    destroy() {
      observer.disconnect();
      legend.destroy();
      drawing.destroy();
      element.remove();
    },
  };
}

const rowId = (index: number): string => `gradient-health-row-${index}`;

function prepare(matrix: MatrixData): Picture | null {
  const column = columnOf(matrix.run, matrix.statistic);
  if (!column) return null;
  const columns = matrix.run.variables.length;
  return {
    matrix,
    column,
    domain: fitDomain(column, matrix.low, matrix.values),
    grid: {
      rows: columns,
      edges: matrix.edges,
      high: matrix.values,
      low: matrix.low,
      marks: matrix.marks,
    },
  };
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
    const now = inputs();
    if (now.length === last.length && now.every((value, i) => Object.is(value, last[i]))) return;
    last = now;
    draw(...args);
  };
}
