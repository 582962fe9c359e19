/**
 * One variable over steps: small charts under the heat-map, on the very same step axis.
 */

import type { Column, Run } from '../api/types';
import { fill, h, onChange } from '../dom';
import { createDrawing, type Drawing } from '../draw/canvas';
import { drawHistogramMap } from '../draw/histogram';
import { drawChart, type Chart, type Line } from '../draw/lines';
import { createStepAxis, frameAtX, stepX, type StepAxis } from '../scale/axis';
import { PALETTES, type Palette } from '../scale/colour';
import { fitChartDomain, isZero, position, ticks } from '../scale/domain';
import { formatNumber, formatShare, formatValue } from '../scale/format';
import { readHistogram, type Histogram } from '../scale/histogram';
import { reduceRow, seriesGrid } from '../scale/reduce';
import type { Actions } from '../store/actions';
import { selectedFlag, seriesColumn, shownFrame } from '../store/selectors';
import type { ContextData, State, VariableData } from '../store/state';
import { CHART_INSET, FONT } from './layout';
import type { View } from './view';

interface PanelSpec {
  readonly title: string;
  readonly of: 'variable' | 'run';
  /** Up to two columns; the second is dashed. */
  readonly columns: readonly { readonly name: string; readonly label: string }[];
  /** Columns that mark a step as non-finite, with the least value that does. */
  readonly marks: readonly { readonly name: string; readonly least: number }[];
  readonly guide: { readonly value: number; readonly label: string } | null;
}

const GRADIENT_MARKS = [
  { name: 'gradient_nonfinite_count', least: 1 },
  { name: 'nonfinite_age', least: 0 },
];

const PANELS: readonly PanelSpec[] = [
  {
    title: 'Gradient RMS',
    of: 'variable',
    columns: [{ name: 'gradient_rms', label: '' }],
    marks: GRADIENT_MARKS,
    guide: null,
  },
  {
    title: 'Update ratio',
    of: 'variable',
    columns: [{ name: 'update_ratio', label: '' }],
    marks: [{ name: 'weight_nonfinite_count', least: 1 }],
    guide: { value: 1e-3, label: 'healthy is around 1e-3' },
  },
  {
    title: 'Zero and dead',
    of: 'variable',
    columns: [
      { name: 'gradient_zero_share', label: 'zeros' },
      { name: 'dead_unit_share', label: 'dead units' },
    ],
    marks: [],
    guide: null,
  },
  {
    title: 'NaN and Inf',
    of: 'variable',
    columns: [
      { name: 'gradient_nonfinite_count', label: 'gradient' },
      { name: 'weight_nonfinite_count', label: 'weight' },
    ],
    marks: GRADIENT_MARKS,
    guide: null,
  },
  {
    title: 'Loss',
    of: 'run',
    columns: [{ name: 'loss', label: '' }],
    marks: [{ name: 'loss_nonfinite_age', least: 0 }],
    guide: null,
  },
  {
    title: 'Learning rate',
    of: 'run',
    columns: [{ name: 'learning_rate', label: '' }],
    marks: [],
    guide: null,
  },
];

export function createCharts(parent: HTMLElement, actions: Actions): View {
  const panels = PANELS.map((spec) => createPanel(spec, actions));
  const histogram = createHistogramPanel(actions);
  const message = h('p', { class: 'overlay-message' });
  const element = h(
    'section',
    {
      class: 'charts',
      'aria-label': 'The selected variable over steps',
      'data-picture': 'Variable over steps',
      'data-picture-of': 'variable',
      // It scrolls, and the keyboard has to be able to do that.
      tabindex: 0,
    },
    message,
  );
  // The distribution stands between the gradient it explains and what became of it.
  panels.forEach((panel, i) => {
    element.append(panel.element);
    if (i === 0) element.append(histogram.element);
  });
  parent.append(element);

  return {
    update(state) {
      const data = state.variable?.variable === state.selectedVariable ? state.variable : null;
      const failure = state.failures.variable ?? state.failures.context;
      message.textContent = failure ?? (data ? '' : 'Reading …');
      message.hidden = message.textContent === '';
      for (const panel of panels) panel.update(state, data, state.context);
      histogram.update(state, data);
    },
    destroy() {
      for (const panel of panels) panel.destroy();
      histogram.destroy();
      element.remove();
    },
  };
}

interface Panel {
  readonly element: HTMLElement;
  update(state: State, data: VariableData | null, context: ContextData | null): void;
  destroy(): void;
}

interface PanelData {
  readonly run: Run;
  readonly columns: readonly { column: Column; values: Float32Array; label: string }[];
  readonly marks: Uint8Array;
}

function createPanel(spec: PanelSpec, actions: Actions): Panel {
  const value = h('dl', { class: 'panel-values' });
  const drawing = createDrawing('panel-canvas', draw);
  const element = h(
    'div',
    { class: 'panel' },
    h(
      'div',
      { class: 'panel-label' },
      h('h3', {}, spec.title),
      value,
      spec.guide && h('span', { class: 'panel-guide' }, spec.guide.label),
    ),
    drawing.element,
  );
  let state: State | null = null;
  let data: PanelData | null = null;
  let prepared: { axis: StepAxis; chart: Chart } | null = null;
  followPointer(drawing, () => prepared?.axis ?? null, actions);

  const read = onChange((run: Run | null, values: Float32Array | null) => {
    prepared = null;
    data = run && values && readPanel(spec, run, values);
    drawing.element.hidden = data === null;
  });

  const describe = onChange((...[now, step]: [PanelData | null, number | null]) => {
    if (!now) {
      fill(value, h('dt', { class: 'visually-hidden' }, spec.title), h('dd', {}, 'not recorded'));
      return;
    }
    const frame = shownFrame(now.run, step);
    const items = now.columns.map(({ column, values, label }, i) => [
      label === ''
        ? h('dt', { class: 'visually-hidden' }, spec.title)
        : h('dt', { 'data-line': i }, label),
      h('dd', {}, formatValue(values[frame] ?? Number.NaN, column.unit)),
    ]);
    fill(value, items);
  });

  function draw(context: CanvasRenderingContext2D, width: number, height: number): void {
    if (!state || !data) return;
    const palette = PALETTES[state.theme];
    const axis = createStepAxis(data.run.steps, Math.floor(width) - CHART_INSET, state.spacing);
    prepared = { axis, chart: layOut(data, axis, palette, height, spec.guide?.value ?? null) };
    context.font = FONT;
    // From here on x = 0 is where the cells of the heat-map begin.
    context.translate(CHART_INSET, 0);
    drawBackdrop(context, state, axis, height, palette);
    drawChart(context, prepared.chart, axis, 0, height, palette);
    drawCursor(context, state, data.run, axis, height, palette);
  }

  return {
    element,
    update(next, variable, context) {
      state = next;
      const source = spec.of === 'variable' ? variable : context;
      const values = source && ('series' in source ? source.series : source.values);
      read(source?.run ?? null, values);
      describe(data, next.selectedStep);
      drawing.request();
    },
    destroy() {
      drawing.destroy();
      element.remove();
    },
  };
}

function readPanel(spec: PanelSpec, run: Run, values: Float32Array): PanelData | null {
  const all = spec.of === 'variable' ? run.statistics : run.contextColumns;
  const columns = spec.columns.flatMap(({ name, label }) => {
    const column = all.find((candidate) => candidate.name === name);
    const series = seriesColumn(values, all, name);
    return column && series ? [{ column, values: series, label }] : [];
  });
  if (columns.length === 0) return null;
  const marks = new Uint8Array(run.steps.length);
  for (const { name, least } of spec.marks) {
    seriesColumn(values, all, name)?.forEach((value, i) => {
      if (value >= least) marks[i] = 1;
    });
  }
  return { run, columns, marks };
}

function layOut(
  data: PanelData,
  axis: StepAxis,
  palette: Palette,
  height: number,
  guide: number | null,
): Chart {
  const first = data.columns[0];
  if (!first) return { domain: { kind: 'linear', low: 0, high: 1 }, lines: [], ticks: [], guide };
  const joined = Float32Array.from([
    ...data.columns.flatMap(({ values }) => [...values]),
    // Some room above, or the guide would lie on the frame.
    ...(guide === null ? [] : [2 * guide]),
  ]);
  const domain = fitChartDomain(first.column, joined);
  const share = first.column.unit === 'share';
  const lines = data.columns.map(({ values }, i): Line => ({
    strip: reduceRow(seriesGrid(values, data.marks), [0], axis, 'both'),
    colour: i === 0 ? palette.first : palette.second,
    dashed: i > 0,
  }));
  const docked = joined.some((value) => isZero(domain, value));
  const labels = ticks(domain, Math.max(2, Math.floor(height / 24)))
    // The dock of zero lies just below the scale and needs the room of a label.
    .filter((value) => !docked || position(domain, value) > 0.2)
    .map((value) => ({ value, label: share ? formatShare(value) : formatNumber(value) }));
  if (docked) labels.push({ value: 0, label: '0' });
  return { domain, lines, ticks: labels, guide };
}

function createHistogramPanel(actions: Actions): {
  element: HTMLElement;
  update(state: State, data: VariableData | null): void;
  destroy(): void;
} {
  const note = h('span', { class: 'panel-guide' });
  const drawing = createDrawing('panel-canvas', draw);
  const element = h(
    'div',
    { class: 'panel panel-histogram' },
    h('div', { class: 'panel-label' }, h('h3', {}, 'Gradient values'), note),
    drawing.element,
  );
  let state: State | null = null;
  let data: VariableData | null = null;
  let histogram: Histogram | null = null;
  let axis: StepAxis | null = null;
  followPointer(drawing, () => axis, actions);

  const read = onChange((variable: VariableData | null) => {
    data = variable;
    histogram = variable && readHistogram(variable.histogram, variable.run.histogram);
    const count = histogram?.frames.length ?? 0;
    element.hidden = variable !== null && count === 0;
    note.textContent = 'log2 bins by sign; colour: share of elements';
  });

  function draw(context: CanvasRenderingContext2D, width: number, height: number): void {
    if (!state || !data || !histogram) return;
    const palette = PALETTES[state.theme];
    axis = createStepAxis(data.run.steps, Math.floor(width) - CHART_INSET, state.spacing);
    context.font = FONT;
    // From here on x = 0 is where the cells of the heat-map begin.
    context.translate(CHART_INSET, 0);
    drawBackdrop(context, state, axis, height, palette);
    drawHistogramMap(context, histogram, data.run.histogramSteps, axis, 0, height, palette);
    drawCursor(context, state, data.run, axis, height, palette);
  }

  return {
    element,
    update(next, variable) {
      state = next;
      read(variable);
      drawing.request();
    },
    destroy() {
      drawing.destroy();
      element.remove();
    },
  };
}

/** The interval of the selected flag, behind everything. */
function drawBackdrop(
  context: CanvasRenderingContext2D,
  state: State,
  axis: StepAxis,
  height: number,
  palette: Palette,
): void {
  context.fillStyle = palette.sunken;
  context.fillRect(0, 0, axis.width, height);
  const flag = selectedFlag(state);
  if (!flag) return;
  const from = stepX(axis, flag.firstStep);
  const last = axis.end[frameAtX(axis, Math.round(stepX(axis, flag.lastStep)))] ?? axis.width;
  context.fillStyle = palette.outline;
  context.fillRect(from, 0, Math.max(3, last - from), 2.5);
  context.fillRect(Math.round(from), 0, 1.5, height);
}

function drawCursor(
  context: CanvasRenderingContext2D,
  state: State,
  run: Run,
  axis: StepAxis,
  height: number,
  palette: Palette,
): void {
  const frame = shownFrame(run, state.selectedStep);
  const x = ((axis.start[frame] ?? 0) + Math.min(axis.end[frame] ?? 0, axis.width)) / 2;
  context.strokeStyle = palette.text;
  context.lineWidth = 1;
  context.beginPath();
  context.moveTo(Math.round(x) + 0.5, 0);
  context.lineTo(Math.round(x) + 0.5, height);
  context.stroke();
}

/** Press or drag anywhere on a chart to choose the step. */
function followPointer(drawing: Drawing, axis: () => StepAxis | null, actions: Actions): void {
  const { element } = drawing;
  const choose = (event: PointerEvent): void => {
    const scale = axis();
    if (!scale) return;
    const x = event.clientX - element.getBoundingClientRect().left - CHART_INSET;
    const frame = frameAtX(scale, Math.max(0, Math.min(scale.width - 1, Math.floor(x))));
    actions.selectStep(scale.steps[frame] ?? null);
  };
  element.addEventListener('pointerdown', (event) => {
    element.setPointerCapture(event.pointerId);
    choose(event);
  });
  element.addEventListener('pointermove', (event) => {
    if (event.buttons === 1) choose(event);
  });
}
