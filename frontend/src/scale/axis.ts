/**
 * Training steps -> pixel columns; shared by the heat-map and every chart below it.
 *
 * A frame covers the pixels from its own step to the next frame's. Every frame owns at
 * least one pixel column, so nothing that was logged can fall between two pixels.
 */

import { formatCount } from './format';
import { linearTicks } from './domain';

/** By step is true to time; by frame, or by its logarithm, gives the dense start its room. */
export type Spacing = 'steps' | 'frames' | 'log';

export interface StepAxis {
  readonly width: number;
  readonly steps: readonly number[];
  /** First pixel column of each frame. */
  readonly start: Int32Array;
  /** One past the last pixel column of each frame, always greater than its start. */
  readonly end: Int32Array;
  readonly ticks: readonly { readonly x: number; readonly label: string }[];
}

export function createStepAxis(
  steps: readonly number[],
  width: number,
  spacing: Spacing,
): StepAxis {
  const count = steps.length;
  const start = new Int32Array(count);
  const end = new Int32Array(count);
  const edge = edges(steps, width, spacing);
  for (let i = 0; i < count; i++) {
    start[i] = Math.min(Math.floor(edge(i)), Math.max(0, width - 1));
    end[i] = Math.max(Math.floor(edge(i + 1)), (start[i] ?? 0) + 1);
  }
  const axis = { width, steps, start, end };
  return { ...axis, ticks: stepTicks(axis, spacing) };
}

function edges(
  steps: readonly number[],
  width: number,
  spacing: Spacing,
): (frame: number) => number {
  const count = steps.length;
  if (spacing === 'frames' || count < 2) return (i) => (width * i) / Math.max(1, count);
  const first = steps[0] ?? 0;
  const last = steps[count - 1] ?? first;
  // The last frame has no successor; it gets the width of the one before it.
  const tail = Math.max(1, last - (steps[count - 2] ?? last));
  const scale = width / (last + tail - first);
  return (i) => (i >= count ? width : ((steps[i] ?? 0) - first) * scale);
}

function stepTicks(
  axis: Omit<StepAxis, 'ticks'>,
  spacing: Spacing,
): { x: number; label: string }[] {
  const { steps, start, width } = axis;
  if (steps.length === 0) return [];
  const most = Math.max(2, Math.floor(width / 90));
  const wanted =
    spacing === 'steps'
      ? linearTicks(steps[0] ?? 0, steps.at(-1) ?? 0, most).filter(Number.isInteger)
      : linearTicks(0, steps.length - 1, most)
          .filter(Number.isInteger)
          .map((i) => steps[i] ?? 0);
  return wanted.map((step) => ({
    x: spacing === 'steps' ? stepX(axis, step) : (start[frameAtStep(steps, step)] ?? 0),
    label: formatCount(step),
  }));
}

/** Where a step lies, also between two frames. */
export function stepX(axis: Omit<StepAxis, 'ticks'>, step: number): number {
  const frame = frameAtStep(axis.steps, step);
  const [x, end] = [axis.start[frame] ?? 0, axis.end[frame] ?? 0];
  const here = axis.steps[frame] ?? 0;
  const next = axis.steps[frame + 1];
  if (next === undefined || step <= here) return x;
  return x + ((end - x) * (step - here)) / (next - here);
}

/** Index of the last frame at or before a step; the first frame for earlier steps. */
export function frameAtStep(steps: readonly number[], step: number): number {
  let low = 0;
  let high = steps.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((steps[middle] ?? 0) <= step) low = middle + 1;
    else high = middle;
  }
  return Math.max(0, low - 1);
}

/** Index of the frame drawn at a pixel column; of several, the last one that starts there. */
export function frameAtX(axis: Omit<StepAxis, 'ticks'>, x: number): number {
  let low = 0;
  let high = axis.start.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((axis.start[middle] ?? 0) <= x) low = middle + 1;
    else high = middle;
  }
  return Math.max(0, low - 1);
}
