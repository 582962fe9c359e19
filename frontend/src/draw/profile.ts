/** Magnitude by depth: a dot per variable on the band of its values over time. */

import type { Palette } from '../scale/colour';
import { isZero, position, ticks, type Domain } from '../scale/domain';
import { formatTick } from '../scale/format';
import type { DepthAxis, Profile } from '../scale/profile';
import { drawNonfinite, traceShape, type Shape } from './marks';
import type { Pen } from './pen';

export interface Layer {
  readonly profile: Profile;
  /** Position of each joint variable in the profile; -1: not in this run. */
  readonly columns: Int32Array;
  readonly colour: string;
  /** Shape distinguishes runs and steps where colour does not. */
  readonly shape: Shape | 'ring';
  readonly band: boolean;
  /** Sideways, in pixels, so that layers do not hide each other. */
  readonly shift: number;
}

/** Values that are the same for all variables: what most trainings have, and the limits of the rules. */
export interface Levels {
  readonly usual: readonly number[];
  readonly limits: readonly number[];
}

const TOP = 14;
const SHORTEST_NAME = 16;
/** Below this radius a shape is not seen, and thousands of squares are drawn faster. */
const SPECK = 2;
const DOCK = 20;
/** Module names below the axis. */
export const DEPTH_LABELS = 34;

export function profileHeights(domain: Domain, height: number): (value: number) => number {
  const floor = height - DEPTH_LABELS;
  const docked = domain.kind === 'log' ? DOCK : 0;
  return (value) =>
    isZero(domain, value)
      ? floor - 4
      : floor - docked - position(domain, value) * (floor - docked - TOP);
}

export function drawProfile(
  context: Pen,
  axis: DepthAxis,
  layers: readonly Layer[],
  domain: Domain,
  { usual, limits }: Levels,
  width: number,
  height: number,
  palette: Palette,
): void {
  const y = profileHeights(domain, height);
  const floor = height - DEPTH_LABELS;
  drawModules(context, axis, floor, palette);
  drawValues(context, domain, y, floor, width, palette);
  drawLevels(context, usual, y, width, palette.healthy, [2, 3]);
  drawLevels(context, limits, y, width, palette.critical, [6, 3]);
  for (const layer of layers) if (layer.band) drawBands(context, axis, layer, y);
  for (const layer of layers) drawDots(context, axis, layer, y, palette);
}

function drawModules(context: Pen, { modules }: DepthAxis, floor: number, palette: Palette): void {
  context.textBaseline = 'top';
  context.textAlign = 'center';
  let taken = -Infinity;
  modules.forEach(({ label, from, to }, i) => {
    if (i % 2 === 0) {
      context.fillStyle = palette.sunken;
      context.fillRect(from, 0, to - from, floor);
    }
    const middle = (from + to) / 2;
    // Of a thousand modules few are named: those without room are not even measured.
    if (middle < taken + 8 + SHORTEST_NAME / 2) return;
    const measure = (text: string): number => context.measureText(text).width;
    const room = Math.min(to - from + 24, 2 * (middle - taken - 8));
    const text = shortName(label, measure, room);
    const half = measure(text) / 2;
    const x = Math.max(middle, half);
    if (x - half < taken + 8) return;
    taken = x + half;
    context.fillStyle = palette.quiet;
    context.fillText(text, x, floor + 5);
  });
}

/** As many of the last parts of a path as there is room for, at least the last one. */
export function shortName(path: string, measure: (text: string) => number, room: number): string {
  const parts = path.split('/');
  let text = parts.at(-1) ?? '';
  for (let i = parts.length - 2; i >= 0; i--) {
    const longer = `${parts[i] ?? ''}/${text}`;
    if (measure(longer) > room) break;
    text = longer;
  }
  return text;
}

function drawValues(
  context: Pen,
  domain: Domain,
  y: (value: number) => number,
  floor: number,
  width: number,
  palette: Palette,
): void {
  const share = domain.kind === 'linear' && domain.low === 0 && domain.high === 1;
  context.textAlign = 'right';
  context.textBaseline = 'middle';
  context.lineWidth = 1;
  context.strokeStyle = palette.line;
  context.fillStyle = palette.quiet;
  context.beginPath();
  for (const value of ticks(domain, Math.max(3, Math.floor(floor / 40)))) {
    const at = Math.round(y(value)) + 0.5;
    context.moveTo(0, at);
    context.lineTo(width, at);
    context.fillText(formatTick(domain.kind, value, share), -8, at);
  }
  context.moveTo(0, floor + 0.5);
  context.lineTo(width, floor + 0.5);
  context.stroke();
  if (domain.kind === 'log') context.fillText('0', -8, y(0));
}

function drawLevels(
  context: Pen,
  levels: readonly number[],
  y: (value: number) => number,
  width: number,
  colour: string,
  dash: number[],
): void {
  context.strokeStyle = colour;
  context.lineWidth = 1;
  context.setLineDash(dash);
  context.beginPath();
  for (const value of levels) {
    const at = Math.round(y(value)) + 0.5;
    context.moveTo(0, at);
    context.lineTo(width, at);
  }
  context.stroke();
  context.setLineDash([]);
}

/** Every dot's place: the middle of its slot, all variables of a closed module in one. */
function places(
  axis: DepthAxis,
  { columns, shift }: Layer,
): { x: number; wide: number; at: number }[] {
  return axis.slots.flatMap(({ row, from, to }) =>
    row.variables.flatMap((variable) => {
      const at = columns[variable] ?? -1;
      return at < 0 ? [] : [{ x: (from + to) / 2 + shift, wide: to - from, at }];
    }),
  );
}

/** The whole range as a thin line, the middle half of the values as a thick one. */
function drawBands(
  context: Pen,
  axis: DepthAxis,
  layer: Layer,
  y: (value: number) => number,
): void {
  const { profile, colour } = layer;
  context.fillStyle = colour;
  const all = places(axis, layer);
  if ((all[0]?.wide ?? 1) < 1) {
    drawEnvelope(context, all, profile, y);
    return;
  }
  for (const { x, wide, at } of all) {
    const half = Math.max(0.5, Math.min(4, wide / 4));
    const bar = (low: number, high: number, thin: number): void => {
      if (Number.isNaN(low)) return;
      const top = y(high);
      context.fillRect(x - thin, top, 2 * thin, Math.max(1, y(low) - top));
    };
    context.globalAlpha = 0.3;
    bar(profile.low[at] ?? Number.NaN, profile.high[at] ?? Number.NaN, Math.min(1, half));
    context.globalAlpha = 0.35;
    bar(profile.lowerQuartile[at] ?? Number.NaN, profile.upperQuartile[at] ?? Number.NaN, half);
  }
  context.globalAlpha = 1;
}

/** Of thousands of variables several share a pixel: one line for all of them. */
function drawEnvelope(
  context: Pen,
  all: readonly { readonly x: number; readonly at: number }[],
  profile: Profile,
  y: (value: number) => number,
): void {
  const ranges = new Map<number, readonly [low: number, high: number]>();
  for (const { x, at } of all) {
    const [low, high] = [profile.low[at] ?? Number.NaN, profile.high[at] ?? Number.NaN];
    if (Number.isNaN(low)) continue;
    const column = Math.floor(x);
    const [least, most] = ranges.get(column) ?? [Infinity, -Infinity];
    ranges.set(column, [Math.min(least, low), Math.max(most, high)]);
  }
  context.globalAlpha = 0.3;
  for (const [column, [low, high]] of ranges) {
    const top = y(high);
    context.fillRect(column, top, 1, Math.max(1, y(low) - top));
  }
  context.globalAlpha = 1;
}

function drawDots(
  context: Pen,
  axis: DepthAxis,
  layer: Layer,
  y: (value: number) => number,
  palette: Palette,
): void {
  const { profile, colour, shape } = layer;
  context.lineWidth = 1.5;
  for (const { x, wide, at } of places(axis, layer)) {
    const mark = profile.marked[at] ?? 0;
    if (mark > 0) drawNonfinite(context, palette, x - 4, 0, 8, 11, mark);
    const value = profile.value[at] ?? Number.NaN;
    if (Number.isNaN(value)) continue;
    const size = Math.max(1.5, Math.min(4.5, wide / 2.5));
    const middle = y(value);
    if (size <= SPECK) {
      context.fillStyle = colour;
      context.fillRect(x - size, middle - size, 2 * size, 2 * size);
      continue;
    }
    traceShape(context, shape, x, middle, size);
    context.fillStyle = shape === 'ring' ? palette.surface : colour;
    context.strokeStyle = shape === 'ring' ? colour : palette.surface;
    context.fill();
    context.stroke();
  }
}
