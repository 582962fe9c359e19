/**
 * One variable over steps, of one run or of several: small charts under the heat-map, all on one
 * step axis, and its histograms.
 */

import type { Column, Flag, Run } from '../../api/types';
import { fill, h, onChange, remember } from '../../dom';
import { createDrawing } from '../../draw/canvas';
import { drawHistogramMap, drawRidges, ridgeBase, type Ridge } from '../../draw/histogram';
import { SHAPES } from '../../draw/marks';
import { drawChart, type Chart, type Line } from '../../draw/lines';
import type { Pen } from '../../draw/pen';
import { drawStepLine, flagX } from '../../draw/steps';
import {
  createStepAxis,
  frameAtX,
  frameAxis,
  jointSteps,
  type Spacing,
  type StepAxis,
} from '../../scale/axis';
import { PALETTES, type Palette } from '../../scale/colour';
import { fitChartDomain, fitLinear, isZero, position, ticks } from '../../scale/domain';
import { formatCount, formatTick, formatValue, shortNames, splitName } from '../../scale/format';
import { histogramAt, pickHistograms, type Histogram } from '../../scale/histogram';
import { INF, NAN, NONFINITE, markWords } from '../../scale/nonfinite';
import { reduceRow, seriesGrid } from '../../scale/reduce';
import type { Actions } from '../../store/actions';
import {
  failureOf,
  readAll,
  selectedFlag,
  seriesColumn,
  shownFrame,
  shownFrames,
  shownSides,
  type Side,
} from '../../store/selectors';
import { MOST_SIDES, type HistogramForm, type State, type StepRange } from '../../store/state';
import { attachBrush } from '../brush';
import { CHART_INSET, FONT } from '../layout';
import type { View } from '../view';

interface PanelSpec {
  readonly title: string;
  readonly of: 'variable' | 'run';
  /** Up to two columns; the second is dashed. */
  readonly columns: readonly { readonly name: string; readonly label: string }[];
  readonly marks: readonly Marking[];
  readonly guide: { readonly value: number; readonly label: string } | null;
}

/** A column that marks a step as non-finite, and the least value that does. */
interface Marking {
  readonly name: string;
  readonly least: number;
  readonly mark: number;
}

const GRADIENT_MARKS: readonly Marking[] = [
  { name: 'gradient_nan_count', least: 1, mark: NONFINITE | NAN },
  { name: 'gradient_inf_count', least: 1, mark: NONFINITE | INF },
  { name: 'nonfinite_age', least: 0, mark: NONFINITE },
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
    marks: [{ name: 'weight_nonfinite_count', least: 1, mark: NONFINITE }],
    guide: { value: 1e-3, label: 'healthy is around 1e-3' },
  },
  {
    title: 'Zero and dead',
    of: 'variable',
    columns: [
      { name: 'gradient_zero_share', label: 'zeros' },
      { name: 'dead_unit_share', label: 'dead' },
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
    marks: [{ name: 'loss_nonfinite_age', least: 0, mark: NONFINITE }],
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
  const axes = createAxes();
  const panels = PANELS.map((spec) => createPanel(spec, actions, axes));
  const histogram = createHistogramPanel(actions, axes);
  const message = h('p', { class: 'overlay-message' });
  const element = h(
    'section',
    {
      class: 'charts',
      'aria-label': 'The selected variable over steps',
      'data-picture': 'Variable over steps',
      'data-picture-of': 'variable',
      'data-picture-axis': 'elsewhere',
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
      const sides = shownSides(state).map((side) => ({
        ...side,
        variable: side.variable?.variable === state.selectedVariable ? side.variable : null,
      }));
      const failure = failureOf(state, 'variable') ?? failureOf(state, 'context');
      const open = state.selectedVariable !== null;
      element.ariaLabel = open ? 'The selected variable over steps' : 'The run over steps';
      // A link, or another run, may name a variable that a run does not have.
      const owner = sides.find(
        ({ run }) => run?.variables.some(({ path }) => path === state.selectedVariable) ?? open,
      );
      message.textContent = failure ?? (owner && !owner.variable ? 'Reading …' : '');
      message.hidden = message.textContent === '';
      element.dataset.sides = String(sides.length);
      for (const panel of panels) panel.update(state, sides);
      histogram.update(state, sides);
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
  update(state: State, sides: readonly Side[]): void;
  destroy(): void;
}

/** The frames of each run on one axis, the same for all panels. */
type Axes = (state: State, sides: readonly Side[], width: number) => readonly StepAxis[];

function createAxes(): Axes {
  const shown = remember((range: StepRange | null, ...runs: readonly (readonly number[])[]) => {
    const steps = jointSteps(...runs);
    const { from, to } = shownFrames(steps, range);
    return from === 0 && to === steps.length ? steps : steps.slice(from, to);
  });
  const place = remember(
    (
      steps: readonly number[],
      width: number,
      spacing: Spacing,
      ...runs: readonly (readonly number[])[]
    ) => {
      const axis = createStepAxis(steps, width, spacing);
      return runs.map((own) => frameAxis(axis, own));
    },
  );
  return (state, sides, width) => {
    const runs = sides.map(({ run }) => run?.steps ?? NO_STEPS);
    const steps = shown(state.stepRange, ...runs);
    return place(steps, Math.max(0, Math.floor(width)), state.spacing, ...runs);
  };
}

const NO_STEPS: readonly number[] = [];

// --- Lines --------------------------------------------------------------------------------

interface PanelData {
  readonly run: Run;
  readonly columns: readonly { column: Column; values: Float32Array; label: string }[];
  readonly marks: Uint8Array;
}

function createPanel(spec: PanelSpec, actions: Actions, axes: Axes): Panel {
  const value = h('dl', { class: 'panel-values' });
  const drawing = createDrawing('panel-canvas', draw);
  const unit = h('span', { class: 'panel-unit' });
  const element = h(
    'div',
    { class: 'panel', 'data-of': spec.of, 'data-title': spec.title },
    h(
      'div',
      { class: 'panel-label' },
      h('h3', {}, spec.title, ' ', unit),
      value,
      spec.guide && h('span', { class: 'panel-guide' }, spec.guide.label),
    ),
    drawing.element,
  );
  let state: State | null = null;
  let sides: readonly Side[] = [];
  let data: readonly (PanelData | null)[] = [];
  let axis: StepAxis | null = null;
  chooseByPointer(drawing.element, actions, () => axis);

  const readers = Array.from({ length: MOST_SIDES }, () =>
    remember((run: Run | null, values: Float32Array | null) =>
      run && values ? readPanel(spec, run, values) : null,
    ),
  );

  const describe = onChange(
    (step: number | null, theme: State['theme'], ...parts: readonly (PanelData | null)[]) => {
      const known = parts.flatMap((part, which) => (part ? [{ ...part, which }] : []));
      const alone = sides.length < 2;
      const short = shortNames(sides.map(({ name }) => name));
      // Beside the names of runs there is no room for units.
      const own = known[0]?.columns[0] ? unitOf(known[0].columns[0].column) : '';
      unit.textContent = alone || own === 'share' || own === 'ratio' ? '' : own;
      if (known.length === 0) {
        fill(value, h('dt', { class: 'visually-hidden' }, spec.title), h('dd', {}, 'not recorded'));
        return;
      }
      fill(
        value,
        known.flatMap(({ run, columns, marks, which }) =>
          columns.map(({ column, values, label }, i) => {
            const frame = shownFrame(run, step);
            const value = values[frame] ?? Number.NaN;
            const name = alone ? label : `${short[which] ?? ''} ${label}`.trim();
            const [start, end] = alone
              ? [name, '']
              : splitName(short[which] ?? '', Math.max(3, 7 - label.length));
            const colour = lineColour(which, i, sides, PALETTES[theme]);
            return [
              name === ''
                ? h('dt', { class: 'visually-hidden' }, spec.title)
                : h(
                    'dt',
                    {
                      title: alone ? name : run.run,
                      style: `--line-colour: ${colour}`,
                    },
                    !alone && h('span', { class: `mark mark-${SHAPES[which] ?? 'dot'}` }),
                    (alone || i > 0) && h('span', { class: 'stroke' }),
                    i > 0 && h('span', { class: 'stroke' }),
                    h('span', { class: 'name-start' }, start),
                    !alone && h('span', {}, label === '' ? end : `${end} ${label}`),
                  ),
              // What is not finite is not "not measured".
              h(
                'dd',
                {},
                Number.isNaN(value) && (marks[frame] ?? 0) > 0
                  ? markWords(marks[frame] ?? 0)
                  : formatValue(value, alone || column.unit === 'share' ? unitOf(column) : ''),
              ),
            ];
          }),
        ),
      );
    },
  );

  function draw(context: Pen, width: number, height: number): void {
    const first = data.find((part) => part !== null);
    if (!state || !first) return;
    const palette = PALETTES[state.theme];
    const all = axes(state, sides, width - CHART_INSET);
    axis = all[0] ?? null;
    if (!axis) return;
    const linear = state.valueScale === 'linear';
    const chart = layOut(
      data,
      all,
      sides,
      palette,
      height,
      spec.guide?.value ?? null,
      linear,
      state.selectedStep,
    );
    context.font = FONT;
    // From here on x = 0 is where the cells of the heat-map begin.
    context.translate(CHART_INSET, 0);
    drawBackdrop(context, state, axis, height, palette);
    drawChart(context, chart, axis, 0, height, palette);
    drawSteps(context, state, first.run, axis, height, palette);
  }

  return {
    element,
    update(next, shown) {
      state = next;
      sides = shown;
      data = shown.map((side, which) => {
        const source = spec.of === 'variable' ? side.variable : side.context;
        const values = source && ('series' in source ? source.series : source.values);
        return readers[which]?.(source?.run ?? null, values) ?? null;
      });
      const empty = data.every((part) => part === null);
      drawing.element.hidden = empty;
      element.dataset.empty = String(empty);
      describe(next.selectedStep, next.theme, ...data);
      drawing.request();
    },
    destroy() {
      drawing.destroy();
      element.remove();
    },
  };
}

/** The loss is in units of itself: no need to say it twice. */
const unitOf = ({ name, unit }: Column): string => (name === unit ? '' : unit);

function readPanel(spec: PanelSpec, run: Run, values: Float32Array): PanelData | null {
  const all = spec.of === 'variable' ? run.statistics : run.contextColumns;
  const columns = spec.columns.flatMap(({ name, label }) => {
    const column = all.find((candidate) => candidate.name === name);
    const series = seriesColumn(values, all, name);
    return column && series ? [{ column, values: series, label }] : [];
  });
  if (columns.length === 0) return null;
  const marks = new Uint8Array(run.steps.length);
  for (const { name, least, mark } of spec.marks) {
    seriesColumn(values, all, name)?.forEach((value, i) => {
      if (value >= least) marks[i] = (marks[i] ?? 0) | mark;
    });
  }
  const measured = columns.some(({ values }) => values.some((value) => !Number.isNaN(value)));
  return measured || marks.some((mark) => mark > 0) ? { run, columns, marks } : null;
}

/** A run's own; of two columns of a run that is alone each has one. */
const lineColour = (
  which: number,
  column: number,
  sides: readonly Side[],
  palette: Palette,
): string => (sides.length < 2 && column > 0 ? palette.second : (sides[which]?.colour ?? ''));

/** The chosen frame, and some others: a line is told from its neighbours all along. */
function shapeFrames(axis: StepAxis, chosen: number): number[] {
  const others = SHAPE_PLACES.map((share) => frameAtX(axis, Math.floor(share * axis.width)));
  return [...new Set([chosen, ...others])];
}
const SHAPE_PLACES = [0.2, 0.5, 0.8];

/** One scale for all lines, of the frames that are seen. */
function layOut(
  data: readonly (PanelData | null)[],
  axes: readonly StepAxis[],
  sides: readonly Side[],
  palette: Palette,
  height: number,
  guide: number | null,
  linear: boolean,
  step: number | null,
): Chart {
  const first = data.find((part) => part !== null)?.columns[0];
  if (!first) return { domain: { kind: 'linear', low: 0, high: 1 }, lines: [], ticks: [], guide };
  const lines = data.flatMap((part, which): Line[] => {
    const axis = axes[which];
    if (!part || !axis) return [];
    return part.columns.map(({ values }, i) => ({
      strip: reduceRow(seriesGrid(values, part.marks), [0], axis, 'both'),
      axis,
      colour: lineColour(which, i, sides, palette),
      dashed: i > 0,
      shape:
        sides.length > 1
          ? { kind: SHAPES[which] ?? 'dot', frames: shapeFrames(axis, shownFrame(part.run, step)) }
          : null,
    }));
  });
  const seen = lines.flatMap(({ strip }) => [strip.low, strip.high]);
  // Some room above, or the guide would lie on the frame.
  const room = Float32Array.from(guide === null ? [] : [2 * guide]);
  const domain = (linear ? fitLinear : fitChartDomain)(first.column, ...seen, room);
  const share = first.column.unit === 'share';
  const docked = seen.some((values) => values.some((value) => isZero(domain, value)));
  const labels = ticks(domain, Math.max(2, Math.floor(height / 24)))
    // The dock of zero lies just below the scale and needs the room of a label.
    .filter((value) => !docked || position(domain, value) > 0.2)
    .map((value) => ({ value, label: formatTick(domain.kind, value, share) }));
  if (docked) labels.push({ value: 0, label: '0' });
  return { domain, lines, ticks: labels, guide };
}

// --- Histograms ---------------------------------------------------------------------------

function createHistogramPanel(actions: Actions, axes: Axes): Panel {
  const note = h('span', { class: 'panel-guide' });
  const drawing = createDrawing('panel-canvas', draw);
  let form: HistogramForm = 'map';
  const forms = (
    [
      ['map', 'Heat', 'Colour over steps'],
      ['ridges', 'Ridges', 'One line for each of some steps'],
    ] as const
  ).map(([name, label, meaning]) =>
    h(
      'button',
      {
        type: 'button',
        title: meaning,
        'aria-pressed': String(name === form),
        onclick: () => {
          actions.setHistogramForm(name);
        },
      },
      label,
    ),
  );
  const element = h(
    'div',
    { class: 'panel panel-histogram', 'data-of': 'variable' },
    h(
      'div',
      { class: 'panel-label' },
      h('h3', {}, 'Gradient values'),
      h('div', { class: 'choice', role: 'group', 'aria-label': 'Form of the histograms' }, forms),
      note,
    ),
    drawing.element,
  );
  let state: State | null = null;
  let sides: readonly Side[] = [];
  let histograms: readonly (Histogram | null)[] = [];
  let axis: StepAxis | null = null;
  /** Histograms that the ridge-line form shows. */
  let picked: readonly number[] = [];
  // The step axis of the heat form; the ridge-line form has another axis and its own press.
  chooseByPointer(drawing.element, actions, () => (form === 'map' ? axis : null));
  drawing.element.addEventListener('click', (event) => {
    const taken = sides[0]?.variable?.run.histogramSteps;
    if (form === 'map' || !taken) return;
    const y = event.clientY - drawing.element.getBoundingClientRect().top;
    const height = drawing.element.clientHeight;
    const index = picked.findIndex((_, i) => y <= ridgeBase(i, picked.length, height));
    actions.selectStep(taken[picked[index] ?? picked.at(-1) ?? 0] ?? null);
  });

  const read = remember(readAll);

  function showForm(): void {
    forms.forEach((button, i) => {
      button.setAttribute('aria-pressed', String((i === 0) === (form === 'map')));
    });
    element.dataset.form = form;
    const others = sides.slice(1).map(({ name }) => name);
    note.textContent =
      form === 'map'
        ? `${others.length > 0 ? `of ${sides[0]?.name ?? ''}, ` : ''}by sign and power of two; strength: share of the elements`
        : `height: share of the elements${others.length > 0 ? `; dashed: ${others.join(', ')}` : ''}`;
    drawing.request();
  }

  function ridges(now: State): Ridge[] {
    const one = sides[0]?.variable;
    const [first] = histograms;
    if (!one || !first) return [];
    const { steps, histogramSteps: taken } = one.run;
    const { from, to } = shownFrames(steps, now.stepRange);
    picked = pickHistograms(taken, steps[from] ?? 0, steps[to - 1] ?? 0, 18);
    const chosen = (step: number | null): number =>
      histogramAt(taken, steps[shownFrame(one.run, step)] ?? 0);
    const marked = chosen(now.selectedStep);
    const compared = now.compareStep === null ? -1 : chosen(now.compareStep);
    picked = [...new Set([...picked, marked, compared])]
      .filter((i) => i >= 0)
      .sort((a, b) => a - b);
    return picked.map((i) => {
      const step = taken[i] ?? 0;
      const others = sides.slice(1).flatMap(({ variable, colour }, beside) => {
        const at = variable ? histogramAt(variable.run.histogramSteps, step) : -1;
        const frame = histograms[beside + 1]?.frames[at];
        return frame ? [{ frame, colour }] : [];
      });
      return {
        frame: first.frames[i] ?? null,
        others,
        label: formatCount(step),
        chosen: i === marked ? 'first' : i === compared ? 'second' : null,
      };
    });
  }

  function draw(context: Pen, width: number, height: number): void {
    const data = sides[0]?.variable;
    const [histogram] = histograms;
    if (!state || !data || !histogram) return;
    const palette = { ...PALETTES[state.theme], first: sides[0]?.colour ?? '' };
    const room = width - CHART_INSET;
    axis = axes(state, sides, room)[0] ?? null;
    if (!axis) return;
    context.font = FONT;
    // From here on x = 0 is where the cells of the heat-map begin.
    context.translate(CHART_INSET, 0);
    if (form === 'ridges') {
      drawRidges(context, histogram, ridges(state), axis.width, height, palette);
      return;
    }
    drawBackdrop(context, state, axis, height, palette);
    drawHistogramMap(context, histogram, data.run.histogramSteps, axis, 0, height, palette);
    drawSteps(context, state, data.run, axis, height, palette);
  }

  return {
    element,
    update(next, shown) {
      state = next;
      sides = shown;
      form = next.histogramForm;
      const data = shown[0]?.variable ?? null;
      histograms = read(...shown.map(({ variable }) => variable));
      element.hidden = data !== null && (histograms[0]?.frames.length ?? 0) === 0;
      showForm();
    },
    destroy() {
      drawing.destroy();
      element.remove();
    },
  };
}

// --- What all charts share ----------------------------------------------------------------

/** When the variable was flagged: a bar above, and a shade behind everything. */
function drawBackdrop(
  context: Pen,
  state: State,
  axis: StepAxis,
  height: number,
  palette: Palette,
): void {
  context.fillStyle = palette.sunken;
  context.fillRect(0, 0, axis.width, height);
  const chosen = selectedFlag(state);
  const path = state.selectedVariable ?? '';
  const own = (state.run?.flags ?? []).filter(
    (flag) => flag !== chosen && flag.variables.includes(path),
  );
  const shade = (flag: Flag, colour: string, thick: number): void => {
    const interval = flagX(axis, flag);
    if (!interval) return;
    const [from, to] = interval;
    context.fillStyle = colour;
    context.globalAlpha = 0.08;
    context.fillRect(from, 0, to - from, height);
    context.globalAlpha = 1;
    context.fillRect(from, 0, to - from, thick);
    context.fillRect(from, 0, 1.5, height);
  };
  for (const flag of own) shade(flag, palette[flag.severity], 1);
  if (chosen) shade(chosen, palette.outline, 2.5);
}

function drawSteps(
  context: Pen,
  state: State,
  run: Run,
  axis: StepAxis,
  height: number,
  palette: Palette,
): void {
  drawStepLine(context, axis, shownFrame(run, state.selectedStep), 0, height, palette);
  if (state.compareStep === null) return;
  drawStepLine(context, axis, shownFrame(run, state.compareStep), 0, height, palette, true);
}

/** Press to choose the step, drag to zoom. */
function chooseByPointer(
  element: HTMLElement,
  actions: Actions,
  axis: () => StepAxis | null,
): void {
  attachBrush(element, actions, {
    axis,
    left: CHART_INSET,
    press: (event) => {
      const scale = axis();
      if (!scale) return;
      const x = event.clientX - element.getBoundingClientRect().left - CHART_INSET;
      const frame = frameAtX(scale, Math.max(0, Math.min(scale.width - 1, Math.floor(x))));
      actions.selectStep(scale.steps[frame] ?? null);
    },
  });
}
