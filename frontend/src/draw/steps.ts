/** The step axis above a picture, and what marks steps in it. */

import type { Flag } from '../api/types';
import type { StepAxis } from '../scale/axis';
import { epochsX, stepX } from '../scale/axis';
import type { Palette } from '../scale/colour';
import { formatCount } from '../scale/format';
import type { Pen } from './pen';

/** Tick labels at the top, ticks down to `height`; epochs are short marks at the bottom. */
export function drawStepAxis(
  context: Pen,
  axis: StepAxis,
  height: number,
  palette: Palette,
  stepsPerEpoch = 0,
): void {
  context.fillStyle = palette.accent;
  for (const x of epochsX(axis, stepsPerEpoch)) context.fillRect(Math.round(x), height - 7, 1, 4);
  context.textBaseline = 'middle';
  context.textAlign = 'center';
  context.fillStyle = palette.quiet;
  context.strokeStyle = palette.line;
  context.lineWidth = 1;
  context.beginPath();
  for (const { x, label } of axis.ticks) {
    const half = context.measureText(label).width / 2;
    context.fillText(label, Math.min(axis.width - half - 1, Math.max(half, x)), 11);
    context.moveTo(Math.round(x) + 0.5, height - 6);
    context.lineTo(Math.round(x) + 0.5, height - 1);
  }
  context.stroke();
}

/** Middle of a frame's pixels; null where it is not on the axis. */
export function frameX(axis: StepAxis, frame: number): number | null {
  const [from, to] = [axis.start[frame] ?? 0, axis.end[frame] ?? 0];
  return to > from ? (from + Math.min(to, axis.width)) / 2 : null;
}

/** A line through the chosen step; a second step is dashed. */
export function drawStepLine(
  context: Pen,
  axis: StepAxis,
  frame: number,
  top: number,
  bottom: number,
  palette: Palette,
  dashed = false,
): void {
  const x = frameX(axis, frame);
  if (x === null) return;
  context.strokeStyle = palette.text;
  context.lineWidth = 1;
  context.setLineDash(dashed ? [4, 3] : []);
  context.beginPath();
  context.moveTo(Math.floor(x) + 0.5, top);
  context.lineTo(Math.floor(x) + 0.5, bottom);
  context.stroke();
  context.setLineDash([]);
}

/** The number of the chosen step, on the axis. */
export function drawStepLabel(
  context: Pen,
  axis: StepAxis,
  frame: number,
  palette: Palette,
  hollow = false,
): void {
  const x = frameX(axis, frame);
  if (x === null) return;
  const label = formatCount(axis.steps[frame] ?? 0);
  const wide = context.measureText(label).width + 10;
  const left = Math.min(axis.width - wide, Math.max(0, x - wide / 2));
  context.fillStyle = palette.text;
  context.fillRect(left, 2, wide, 17);
  if (hollow) {
    context.fillStyle = palette.surface;
    context.fillRect(left + 1, 3, wide - 2, 15);
  }
  context.fillStyle = hollow ? palette.text : palette.surface;
  context.textAlign = 'center';
  context.textBaseline = 'middle';
  context.fillText(label, left + wide / 2, 11);
}

/** Pixels [from, to) of an interval of steps, at least three wide; null if none is seen. */
export function intervalX(
  axis: StepAxis,
  firstStep: number,
  lastStep: number,
): [number, number] | null {
  if (axis.steps.length === 0) return null;
  const from = stepX(axis, firstStep);
  const next = axis.steps.find((step) => step > lastStep);
  const to = next === undefined ? (axis.end.at(-1) ?? 0) : stepX(axis, next);
  if (from >= axis.width || to <= 0) return null;
  const left = Math.max(0, Math.round(from));
  return [left, Math.min(axis.width, Math.max(left + 3, Math.round(to)))];
}

/** Pixels of a flag: one that is open lasts as long as the run, whenever it was last seen. */
export const flagX = (
  axis: StepAxis,
  { firstStep, lastStep, open }: Pick<Flag, 'firstStep' | 'lastStep' | 'open'>,
): [number, number] | null => intervalX(axis, firstStep, open ? Infinity : lastStep);
