/**
 * One small chart over steps: lines with their extremes, zero docked, marks on top.
 */

import type { Domain } from '../scale/domain';
import { isZero, position } from '../scale/domain';
import type { StepAxis } from '../scale/axis';
import type { Palette } from '../scale/colour';
import { stretches, type Strip } from '../scale/reduce';
import { drawMissing, drawNonfiniteStretches, traceShape, type Shape } from './marks';
import type { Pen } from './pen';
import { frameX } from './steps';

export interface Line {
  readonly strip: Strip;
  /** Frames of the line's own run. */
  readonly axis: StepAxis;
  readonly colour: string;
  readonly dashed: boolean;
  /** A value holds until the next one, instead of being on its way there. */
  readonly stepped: boolean;
  /** What a smoothed line was made of. */
  readonly faint?: boolean;
  /** Its values are those of the scale on the right. */
  readonly right?: boolean;
  /** At these frames the line carries its run's shape; null: it needs none. */
  readonly shape: { readonly kind: Shape; readonly frames: readonly number[] } | null;
}

/** A scale of values with its labels. */
export interface ValueAxis {
  readonly domain: Domain;
  readonly ticks: readonly { readonly value: number; readonly label: string }[];
  /** Of the line that it belongs to, where there is a second one; null: as text. */
  readonly colour?: string | null;
}

export interface Chart extends ValueAxis {
  readonly lines: readonly Line[];
  /** Of the lines that have another unit; null: all have the same. */
  readonly right?: ValueAxis | null;
  /** The threshold that a finding crossed, on the scale on the left; null: none. */
  readonly limit?: number | null;
  /** Horizontal guides, for example what is usual. */
  readonly guide: readonly number[];
}

const PADDING = 5;
const DOCK = 7;
const FAINT = 0.3;

/** Height of a value; zero sits on its dock below the lowest decade. */
function heightOf(domain: Domain, height: number): (value: number) => number {
  const bottom = height - PADDING - (domain.kind === 'log' ? DOCK : 0);
  return (value) =>
    isZero(domain, value)
      ? height - PADDING
      : bottom - position(domain, value) * (bottom - PADDING);
}

export function drawChart(
  context: Pen,
  chart: Chart,
  axis: StepAxis,
  x: number,
  height: number,
  palette: Palette,
): void {
  const y = heightOf(chart.domain, height);
  const { width } = axis;
  context.strokeStyle = palette.line;
  context.lineWidth = 1;
  context.beginPath();
  for (const { value } of chart.ticks) {
    const at = Math.round(y(value)) + 0.5;
    context.moveTo(x, at);
    context.lineTo(x + width, at);
  }
  context.stroke();
  context.fillStyle = chart.colour ?? palette.quiet;
  context.textAlign = 'right';
  context.textBaseline = 'middle';
  for (const { value, label } of chart.ticks) context.fillText(label, x - 6, y(value));
  const { right = null, limit = null } = chart;
  const yRight = right ? heightOf(right.domain, height) : y;
  for (const guide of chart.guide) drawGuide(context, guide, x, width, y, palette);
  const first = chart.lines[0];
  if (first) {
    for (const [from, to] of stretches(width, (i) => missing(chart.lines, i))) {
      drawMissing(context, palette, x + from, PADDING, to - from, height - 2 * PADDING);
    }
  }
  if (limit !== null) drawLimit(context, x, width, y(limit), palette);
  for (const line of chart.lines) drawLine(context, line, x, line.right ? yRight : y);
  for (const line of chart.lines) drawShape(context, line, x, line.right ? yRight : y, palette);
  if (right) drawRightLabels(context, right, x + width, yRight, palette);
  if (first) {
    // Of all runs: the break in its line shows which one it was.
    const marked = first.strip.marked.map((_, i) =>
      chart.lines.reduce((mark, { strip }) => mark | (strip.marked[i] ?? 0), 0),
    );
    drawNonfiniteStretches(context, palette, marked, x, 0, 11);
  }
}

const missing = (lines: readonly Line[], x: number): boolean =>
  lines.every(
    ({ strip }) => Number.isNaN(strip.high[x] ?? Number.NaN) && (strip.marked[x] ?? 0) === 0,
  );

function drawGuide(
  context: Pen,
  guide: number,
  x: number,
  width: number,
  y: (value: number) => number,
  palette: Palette,
): void {
  context.strokeStyle = palette.healthy;
  context.setLineDash([2, 3]);
  context.beginPath();
  context.moveTo(x, Math.round(y(guide)) + 0.5);
  context.lineTo(x + width, Math.round(y(guide)) + 0.5);
  context.stroke();
  context.setLineDash([]);
}

/** The threshold: what lies beyond it made the finding. */
function drawLimit(context: Pen, x: number, width: number, at: number, palette: Palette): void {
  context.strokeStyle = palette.critical;
  context.lineWidth = 1;
  context.setLineDash([6, 3]);
  context.beginPath();
  context.moveTo(x, Math.round(at) + 0.5);
  context.lineTo(x + width, Math.round(at) + 0.5);
  context.stroke();
  context.setLineDash([]);
}

/** Within the picture, as all charts end at the same place; on a ground of their own. */
function drawRightLabels(
  context: Pen,
  { ticks, colour }: ValueAxis,
  end: number,
  y: (value: number) => number,
  palette: Palette,
): void {
  for (const { value, label } of ticks) {
    const wide = context.measureText(label).width + 6;
    context.fillStyle = palette.sunken;
    context.fillRect(end - wide, y(value) - 7, wide, 14);
    context.fillStyle = colour ?? palette.quiet;
    context.fillText(label, end - 3, y(value));
  }
}

/** Through the middle of every frame; a pixel of many steps shows their whole range. */
function drawLine(
  context: Pen,
  { strip, axis, colour, dashed, stepped, faint }: Line,
  x: number,
  y: (value: number) => number,
): void {
  context.strokeStyle = colour;
  context.globalAlpha = faint ? FAINT : 1;
  context.lineWidth = 1.5;
  context.lineJoin = 'round';
  context.setLineDash(dashed ? [4, 3] : []);
  context.beginPath();
  /** Frame of a value after a gap, until a second one makes it a line. */
  let lone = -1;
  let pen = false;
  let drawn = -1;
  let before = 0;
  const endStretch = (): void => {
    // A lone value between gaps must still leave a trace: as wide as its frame.
    const high = strip.high[axis.start[lone] ?? -1];
    if (high !== undefined) {
      const [from, to] = [axis.start[lone] ?? 0, Math.min(axis.end[lone] ?? 0, axis.width)];
      context.moveTo(x + from, y(high));
      context.lineTo(x + Math.max(to, from + 2), y(high));
    }
    [lone, pen] = [-1, false];
  };
  for (let frame = 0; frame < axis.start.length; frame++) {
    const column = axis.start[frame] ?? 0;
    if (column === drawn || (axis.end[frame] ?? 0) <= column) continue;
    drawn = column;
    const high = strip.high[column] ?? Number.NaN;
    const low = strip.low[column] ?? Number.NaN;
    if (Number.isNaN(high)) {
      endStretch();
      continue;
    }
    const end = Math.min(axis.end[frame] ?? 0, axis.width);
    const at = x + (stepped ? column : (column + end) / 2);
    if (pen && stepped) context.lineTo(at, before);
    before = y(high);
    if (pen) context.lineTo(at, before);
    else context.moveTo(at, before);
    if (stepped) context.lineTo(x + end, before);
    if (low !== high) {
      context.lineTo(at, y(low));
      context.lineTo(at, y(high));
    }
    lone = pen ? -1 : frame;
    pen = true;
  }
  endStretch();
  context.stroke();
  context.setLineDash([]);
  context.globalAlpha = 1;
}

/** Where the numbers beside the chart are read off. */
function drawShape(
  context: Pen,
  { strip, axis, colour, shape }: Line,
  x: number,
  y: (value: number) => number,
  palette: Palette,
): void {
  for (const frame of shape?.frames ?? []) {
    const at = frameX(axis, frame);
    const value = strip.high[Math.floor(at ?? -1)] ?? Number.NaN;
    if (at === null || Number.isNaN(value)) continue;
    traceShape(context, shape?.kind ?? 'dot', x + at, y(value), 4);
    context.fillStyle = colour;
    context.strokeStyle = palette.surface;
    context.lineWidth = 1.5;
    context.fill();
    context.stroke();
  }
}
