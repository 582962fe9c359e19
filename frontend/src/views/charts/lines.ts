/** Numbers as lines over steps, those of several runs on one scale. */

import type { Column, Run } from '../../api/types';
import { fill, h, onChange, remember } from '../../dom';
import { createDrawing } from '../../draw/canvas';
import { SHAPES } from '../../draw/marks';
import { drawChart, type Chart, type Line } from '../../draw/lines';
import type { Pen } from '../../draw/pen';
import { frameAtStep, frameAtX, frameAxis, type StepAxis } from '../../scale/axis';
import { PALETTES, type Palette } from '../../scale/colour';
import { fitChartDomain, fitLinear, isZero, position, ticks } from '../../scale/domain';
import { formatNumber, formatTick, formatValue, splitName } from '../../scale/format';
import { isNamedLoss } from '../../scale/losses';
import { markWords } from '../../scale/nonfinite';
import { reduceRow, seriesGrid } from '../../scale/reduce';
import type { Actions } from '../../store/actions';
import { unitWords } from '../../scale/units';
import { usualOf } from '../../store/judgement';
import { seriesColumn, shownFrame, type Side } from '../../store/selectors';
import { MOST_SIDES, type LaneData, type State } from '../../store/state';
import { CHART_INSET, FONT } from '../layout';
import { chooseByPointer, drawBackdrop, drawSteps, type Axes, type Panel } from './axes';
import { denseLine, type DenseColumn, type DenseLine } from './dense';
import { readMarks, type Marking } from './marks';
import { withSmoothing } from './smoothing';

export interface PanelSpec {
  readonly title: string;
  readonly of: 'variable' | 'run';
  /** It is among the charts that a small window shows of a run, too. */
  readonly isLoss?: boolean;
  /** Up to two columns; the second is dashed. */
  readonly columns: readonly { readonly name: string; readonly label: string }[];
  /** What the dense lane has of the first column: it is drawn of every step then. */
  readonly dense?: DenseColumn;
  /** The columns are counts; shown is their share of this one. */
  readonly shareOf?: string;
  /** Each value holds until the next one. */
  readonly stepped?: boolean;
  /** Where every value is this one, there is nothing to show. */
  readonly quiet?: number;
  readonly marks: readonly Marking[];
  /** The statistic whose usual range, as the rules have it, is drawn. */
  readonly guide?: string;
}

/** There is room for so many letters. */
const SHORT_NAME = 14;

interface PanelData {
  readonly run: Run;
  readonly columns: readonly { column: Column; values: Float32Array; label: string }[];
  readonly marks: Uint8Array;
  readonly dense: DenseLine | null;
}

export function createPanel(spec: PanelSpec, actions: Actions, axes: Axes): Panel {
  const value = h('dl', { class: 'panel-values' });
  const drawing = createDrawing('panel-canvas', draw);
  const unit = h('span', { class: 'panel-unit' });
  const guideNote = h('span', { class: 'panel-guide' });
  let guide: readonly number[] = [];
  const element = h(
    'div',
    {
      class: 'panel',
      'data-of': spec.of,
      'data-title': spec.title,
      'data-loss': String(spec.isLoss ?? false),
    },
    h(
      'div',
      { class: 'panel-label' },
      h('h3', { title: spec.title }, spec.title),
      value,
      unit,
      guideNote,
    ),
    drawing.element,
  );
  let state: State | null = null;
  let sides: readonly Side[] = [];
  let data: readonly (PanelData | null)[] = [];
  let axis: StepAxis | null = null;
  chooseByPointer(drawing.element, actions, () => axis);

  const readers = Array.from({ length: MOST_SIDES }, () =>
    remember((run: Run | null, values: Float32Array | null, lane: LaneData | null) =>
      run && values ? readPanel(spec, run, values, lane) : null,
    ),
  );

  const describe = onChange(
    (step: number | null, theme: State['theme'], ...parts: readonly (PanelData | null)[]) => {
      const known = parts.flatMap((part, which) => (part ? [{ ...part, which }] : []));
      const alone = sides.length < 2;
      const own = known[0]?.columns[0] ? unitOf(known[0].columns[0].column) : '';
      unit.textContent = unitWords(own);
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
            const name = alone ? label : `${run.run} ${label}`.trim();
            const [start, end] = alone
              ? [name, '']
              : run.run.length <= SHORT_NAME
                ? ['', run.run]
                : splitName(run.run, 4);
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
                  : formatValue(value, column.unit === 'share' ? 'share' : ''),
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
    const chart = layOut(data, all, sides, palette, height, guide, spec.stepped ?? false, state);
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
      guide = (spec.guide === undefined ? null : usualOf(next.rules, spec.guide)) ?? [];
      guideNote.textContent =
        guide.length > 0
          ? `healthy: ${guide.map((value) => formatNumber(value)).join(' to ')}`
          : '';
      data = shown.map((side, which) => {
        const source = spec.of === 'variable' ? side.variable : side.context;
        const values = source && ('series' in source ? source.series : source.values);
        return readers[which]?.(source?.run ?? null, values, side.lane) ?? null;
      });
      const empty = data.every((part) => part === null);
      drawing.element.hidden = empty;
      element.hidden = spec.quiet !== undefined && empty;
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

function readPanel(
  spec: PanelSpec,
  run: Run,
  values: Float32Array,
  lane: LaneData | null,
): PanelData | null {
  const all = spec.of === 'variable' ? run.statistics : run.contextColumns;
  const columns = spec.columns.flatMap(({ name, label }) => {
    const column = all.find((candidate) => candidate.name === name);
    const series = seriesColumn(values, all, name);
    if (!column || !series) return [];
    const whole = spec.shareOf === undefined ? null : seriesColumn(values, all, spec.shareOf);
    if (!whole) return [{ column, values: series, label }];
    const shares = series.map((value, i) => value / (whole[i] ?? Number.NaN));
    const share: Column = { ...column, unit: 'share', scale: 'linear' };
    return [{ column: share, values: shares, label }];
  });
  if (columns.length === 0) return null;
  const marks = readMarks(run, values, all, spec.marks);
  const measured = columns.some(({ values }) => values.some((value) => !Number.isNaN(value)));
  const dense = spec.dense === undefined ? null : denseLine(lane, spec.dense);
  // No column says of a named loss that it was not finite.
  if (dense && lane && spec.dense !== undefined && isNamedLoss(spec.dense))
    addMarks(marks, run.steps, dense, lane.lane.last);
  if (!measured && !dense && !marks.some((mark) => mark > 0)) return null;
  const data = { run, columns, marks, dense };
  return spec.quiet !== undefined && isQuiet(data, spec.quiet) ? null : data;
}

/** Mark the frames that lie in a column of the dense lane that is marked. */
function addMarks(
  marks: Uint8Array,
  steps: readonly number[],
  dense: DenseLine,
  last: Float64Array,
): void {
  steps.forEach((step, frame) => {
    const column = frameAtStep(dense.steps, step);
    const inside = (dense.steps[column] ?? Infinity) <= step && step <= (last[column] ?? -1);
    if (inside) marks[frame] = dense.grid.marks?.[column] ?? 0;
  });
}

/** Whether a value was never another one. */
function isQuiet({ columns, dense }: PanelData, quiet: number): boolean {
  const all = [...columns.map(({ values }) => values), ...(dense ? [dense.grid.low] : [])];
  return all.every((values) => values.every((value) => Number.isNaN(value) || value === quiet));
}

/** A run's own; of two columns of a run that is alone each has one. */
const lineColour = (
  which: number,
  column: number,
  sides: readonly Side[],
  palette: Palette,
): string => (sides.length < 2 && column > 0 ? palette.second : (sides[which]?.colour ?? ''));

/** The chosen frame, and some others: a line is distinguished from its neighbours all along. */
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
  guide: readonly number[],
  stepped: boolean,
  { valueScale, smoothing, selectedStep }: State,
): Chart {
  const first = data.find((part) => part !== null)?.columns[0];
  if (!first) return { domain: { kind: 'linear', low: 0, high: 1 }, lines: [], ticks: [], guide };
  const lines = data.flatMap((part, which): Line[] => {
    const axis = axes[which];
    if (!part || !axis) return [];
    return part.columns.flatMap(({ column, values }, i) => {
      const dense = i === 0 ? part.dense : null;
      const own = dense ? frameAxis(axis, dense.steps) : axis;
      const grid = dense?.grid ?? seriesGrid(values, part.marks);
      const frame = shownFrame(part.run, selectedStep);
      const chosen = dense ? frameAtStep(dense.steps, part.run.steps[frame] ?? 0) : frame;
      const line: Line = {
        strip: reduceRow(grid, [0], own, 'both'),
        axis: own,
        colour: lineColour(which, i, sides, palette),
        dashed: i > 0,
        stepped,
        shape:
          sides.length > 1
            ? { kind: SHAPES[which] ?? 'dot', frames: shapeFrames(own, chosen) }
            : null,
      };
      return withSmoothing(line, grid, column, smoothing);
    });
  });
  const seen = lines.flatMap(({ strip }) => [strip.low, strip.high]);
  const room = Float32Array.from(guide);
  const domain = (valueScale === 'linear' ? fitLinear : fitChartDomain)(
    first.column,
    ...seen,
    room,
  );
  const share = first.column.unit === 'share';
  const docked = seen.some((values) => values.some((value) => isZero(domain, value)));
  const labels = ticks(domain, Math.max(2, Math.floor(height / 24)))
    // The dock of zero lies just below the scale and needs the room of a label.
    .filter((value) => !docked || position(domain, value) > 0.2)
    .map((value) => ({ value, label: formatTick(domain.kind, value, share) }));
  if (docked) labels.push({ value: 0, label: '0' });
  return { domain, lines, ticks: labels, guide };
}
