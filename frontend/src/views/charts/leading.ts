/**
 * The lines that show the open finding best, above all other charts: those that its rule names,
 * and the limit that was crossed.
 */

import type { Column } from '../../api/types';
import { fill, h, onChange, remember } from '../../dom';
import { createDrawing } from '../../draw/canvas';
import { drawChart, type Chart, type Line, type ValueAxis } from '../../draw/lines';
import type { Pen } from '../../draw/pen';
import { frameAxis, type StepAxis } from '../../scale/axis';
import { PALETTES, type Palette } from '../../scale/colour';
import {
  fitChartDomain,
  fitLinear,
  isZero,
  position,
  ticks,
  type Domain,
} from '../../scale/domain';
import { formatTick, formatValue, title } from '../../scale/format';
import { markWords } from '../../scale/nonfinite';
import { reduceRow, seriesGrid, type Grid } from '../../scale/reduce';
import type { Actions } from '../../store/actions';
import { pictureOf, type FindingPicture } from '../../store/findingpicture';
import { selectedFlag, seriesColumn, shownFrame, type Side } from '../../store/selectors';
import type { State } from '../../store/state';
import { CHART_INSET, FONT } from '../layout';
import { chooseByPointer, drawBackdrop, drawSteps, type Axes, type Panel } from './axes';
import { denseLine, type DenseColumn } from './dense';
import { GRADIENT_MARKS, LOSS_MARKS, readMarks } from './marks';
import { withSmoothing } from './smoothing';

/** What the dense lane knows of every step. */
const DENSE: Readonly<Record<string, DenseColumn>> = { gradient_norm: 'norm', loss: 'loss' };
/** Values that hold until they are changed. */
const STEPPED = new Set(['learning_rate', 'loss_scale']);

interface Curve {
  readonly column: Column;
  /** Place among the columns of the picture: its dash, or its colour. */
  readonly which: number;
  readonly side: Side;
  readonly values: Float32Array;
  readonly grid: Grid;
  /** What was not finite, by frame. */
  readonly marks: Uint8Array;
  /** Null: those of the frames. */
  readonly steps: readonly number[] | null;
}

export function createLeading(actions: Actions, axes: Axes): Panel {
  const value = h('dl', { class: 'panel-values' });
  const note = h('span', { class: 'panel-guide' });
  const drawing = createDrawing('panel-canvas', draw);
  const element = h(
    'div',
    { class: 'panel panel-leading', 'data-of': 'finding' },
    h('div', { class: 'panel-label' }, h('h3', {}, 'The finding'), value, note),
    drawing.element,
  );
  let state: State | null = null;
  let sides: readonly Side[] = [];
  let picture: FindingPicture | null = null;
  let curves: readonly Curve[] = [];
  let axis: StepAxis | null = null;
  chooseByPointer(drawing.element, actions, () => axis);

  const pictureFor = remember(pictureOf);
  const readers = new Map<string, typeof readCurve>();

  function read(columns: readonly Column[]): Curve[] {
    return sides.flatMap((side, i) =>
      columns.flatMap((column, which) => {
        const key = `${i} ${which}`;
        const reader = readers.get(key) ?? remember(readCurve);
        readers.set(key, reader);
        const curve = reader(column, which, side.variable, side.context, side.lane);
        return curve ? [{ ...curve, side }] : [];
      }),
    );
  }

  const describe = onChange((...[, step, theme]: DescribeInputs) => {
    const palette = PALETTES[theme];
    fill(
      value,
      curves.map((curve) => {
        const { side, column } = curve;
        const at = side.run ? shownFrame(side.run, step) : 0;
        const dashed = isDashed(curve, sides);
        return h(
          'div',
          {},
          h(
            'dt',
            {
              style: `--line-colour: ${colourOf(curve, sides, palette)}`,
              title: title(column.name),
            },
            h('span', { class: 'stroke' }),
            dashed && h('span', { class: 'stroke' }),
            h(
              'span',
              { class: 'name-start' },
              sides.length > 1 ? `${side.name}, ${title(column.name)}` : title(column.name),
            ),
          ),
          h('dd', {}, valueText(curve, at)),
        );
      }),
    );
    const [first] = picture?.chart ?? [];
    const limit = picture?.limit ?? null;
    note.textContent =
      limit === null || !first
        ? ''
        : `limit ${formatValue(limit, first.unit === 'share' ? 'share' : '')}`;
  });

  function draw(context: Pen, width: number, height: number): void {
    const run = sides[0]?.run;
    if (!state || !run || !picture || curves.length === 0) return;
    const palette = PALETTES[state.theme];
    const all = axes(state, sides, width - CHART_INSET);
    axis = all[0] ?? null;
    if (!axis) return;
    const chart = layOut(curves, sides, all, picture.limit, state, palette, height);
    context.font = FONT;
    context.translate(CHART_INSET, 0);
    drawBackdrop(context, state, axis, height, palette);
    drawChart(context, chart, axis, 0, height, palette);
    drawSteps(context, state, run, axis, height, palette);
  }

  return {
    element,
    update(next, shown) {
      state = next;
      sides = shown;
      const flag = selectedFlag(next);
      picture = flag && next.run ? pictureFor(flag, next.run, next.rules) : null;
      curves = read(picture?.chart ?? []);
      element.hidden = curves.length === 0;
      describe(picture, next.selectedStep, next.theme, ...curves.map(({ values }) => values));
      drawing.request();
    },
    destroy() {
      drawing.destroy();
      element.remove();
    },
  };
}

type DescribeInputs = [FindingPicture | null, number | null, State['theme'], ...unknown[]];
type CurveInputs = [Column, number, Side['variable'], Side['context'], Side['lane']];

/** Null: it was not measured. */
function readCurve(
  ...[column, which, variable, context, lane]: CurveInputs
): Omit<Curve, 'side'> | null {
  const own = context && seriesColumn(context.values, context.run.contextColumns, column.name);
  const values =
    own ?? (variable && seriesColumn(variable.series, variable.run.statistics, column.name));
  if (!values) return null;
  const kind = DENSE[column.name];
  const dense = kind === undefined ? null : denseLine(lane, kind);
  if (!dense && values.every((one) => Number.isNaN(one))) return null;
  const marks = marksOf(column, variable, context);
  const grid = dense?.grid ?? seriesGrid(values, marks);
  return { column, which, values, grid, marks, steps: dense?.steps ?? null };
}

function marksOf(
  { name }: Column,
  variable: Side['variable'],
  context: Side['context'],
): Uint8Array {
  const [source, markings] = name === 'loss' ? [context, LOSS_MARKS] : [variable, GRADIENT_MARKS];
  if (!source) return new Uint8Array(0);
  const values = 'series' in source ? source.series : source.values;
  const columns = 'series' in source ? source.run.statistics : source.run.contextColumns;
  return readMarks(source.run, values, columns, markings);
}

/** Alone, columns differ by colour; of several runs each has its own, and columns their dash. */
function colourOf(
  { which, side }: Omit<Curve, 'values'>,
  sides: readonly Side[],
  palette: Palette,
): string {
  const spare = [palette.first, palette.second, palette.healthy, palette.outline];
  return sides.length > 1 ? side.colour : (spare[which] ?? palette.text);
}

const isDashed = ({ which }: Curve, sides: readonly Side[]): boolean =>
  sides.length > 1 && which > 0;

function layOut(
  curves: readonly Curve[],
  sides: readonly Side[],
  axes: readonly StepAxis[],
  limit: number | null,
  { valueScale, smoothing }: State,
  palette: Palette,
  height: number,
): Chart {
  const unit = curves[0]?.column.unit;
  const lines = curves.flatMap((curve) => {
    const axis = axes[sides.indexOf(curve.side)];
    if (!axis) return [];
    const own = curve.steps ? frameAxis(axis, curve.steps) : axis;
    const { column } = curve;
    const line: Line & { readonly column: Column } = {
      column,
      strip: reduceRow(curve.grid, [0], own, 'both'),
      axis: own,
      colour: colourOf(curve, sides, palette),
      dashed: isDashed(curve, sides),
      stepped: STEPPED.has(column.name),
      shape: null,
      right: column.unit !== unit,
    };
    return withSmoothing(line, curve.grid, column, smoothing);
  });
  const scaleOf = (right: boolean): ValueAxis | null => {
    const own = lines.filter((line) => line.right === right);
    const [first] = own;
    if (!first) return null;
    const seen = own.flatMap(({ strip }) => [strip.low, strip.high]);
    // Room for the limit, and a little more.
    const room = Float32Array.from(right || limit === null ? [] : [limit, 1.2 * limit]);
    const fit = valueScale === 'linear' ? fitLinear : fitChartDomain;
    const domain = fit(first.column, ...seen, room);
    const share = first.column.unit === 'share';
    return {
      domain,
      ticks: labelsOf(domain, seen, share, height),
      colour: lines.length > own.length ? first.colour : null,
    };
  };
  const left = scaleOf(false) ?? { domain: { kind: 'linear', low: 0, high: 1 }, ticks: [] };
  // What has the scale on the left is what the finding is about: it lies above the rest.
  const ordered = [...lines].sort((a, b) => Number(b.right) - Number(a.right));
  return { ...left, lines: ordered, guide: [], right: scaleOf(true), limit };
}

function labelsOf(
  domain: Domain,
  seen: readonly Float32Array[],
  share: boolean,
  height: number,
): { value: number; label: string }[] {
  const docked = seen.some((values) => values.some((value) => isZero(domain, value)));
  const labels = ticks(domain, Math.max(2, Math.floor(height / 30)))
    .filter((value) => !docked || position(domain, value) > 0.2)
    .map((value) => ({ value, label: formatTick(domain.kind, value, share) }));
  if (docked) labels.push({ value: 0, label: '0' });
  return labels;
}

/** What is not finite is not "not measured". */
function valueText({ column, values, marks }: Curve, frame: number): string {
  const value = values[frame] ?? Number.NaN;
  const mark = marks[frame] ?? 0;
  return Number.isNaN(value) && mark > 0
    ? markWords(mark)
    : formatValue(value, column.unit === 'share' ? 'share' : '');
}
