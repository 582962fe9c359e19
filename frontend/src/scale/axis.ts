/**
 * Training steps -> pixel columns; shared by the heat-map and every chart below it.
 *
 * A frame covers the pixels from its own step to the next frame's, the last one only its own step:
 * nothing is drawn beyond the end of the run. Every frame owns at least one pixel column, so
 * nothing that was logged can fall between two pixels.
 */

import { formatCount } from './format';
import { linearTicks } from './domain';

/** By step is true to time; by frame, or by its logarithm, gives the dense start its room. */
export type Spacing = 'steps' | 'frames' | 'log';

export interface StepAxis {
  readonly width: number;
  readonly steps: readonly number[];
  /** Where the last frame ends: at the frame after it, which a zoom leaves out, or the run does. */
  readonly next: number;
  /** All frames are equally wide. */
  readonly even: boolean;
  /** First pixel column of each frame. */
  readonly start: Int32Array;
  /** One past the last pixel column of each frame, always greater than its start. */
  readonly end: Int32Array;
  readonly ticks: readonly { readonly x: number; readonly label: string }[];
}

/** `after`: the first step that is not shown although the run has it; null: it has none. */
export function createStepAxis(
  steps: readonly number[],
  width: number,
  spacing: Spacing,
  after: number | null = null,
): StepAxis {
  const count = steps.length;
  const start = new Int32Array(count);
  const end = new Int32Array(count);
  const edge = edges(steps, width, spacing, after);
  for (let i = 0; i < count; i++) {
    start[i] = Math.min(Math.floor(edge(i)), Math.max(0, width - 1));
    end[i] = Math.max(Math.floor(edge(i + 1)), (start[i] ?? 0) + 1);
  }
  const next = after ?? (steps.at(-1) ?? 0) + 1;
  const axis = { width, steps, next, even: spacing === 'frames', start, end };
  return { ...axis, ticks: stepTicks(axis, spacing) };
}

function edges(
  steps: readonly number[],
  width: number,
  spacing: Spacing,
  after: number | null,
): (frame: number) => number {
  const count = steps.length;
  if (spacing === 'frames' || count < 2) return (i) => (width * i) / Math.max(1, count);
  const first = steps[0] ?? 0;
  const last = (steps[count - 1] ?? first) - first;
  const place = spacing === 'log' ? Math.log1p : (step: number): number => step;
  // The last step has its own width, and is seen.
  const own = 1 - place(last) / place(after === null ? last + 1 : after - first);
  const room = width - Math.max(own * width, Math.min(LAST, width / 2));
  return (i) => (i >= count ? width : (place((steps[i] ?? 0) - first) / place(last)) * room);
}

/** Least width of the last frame, in pixels. */
const LAST = 3;

/**
 * The frames of one run on an axis that it shares with another run, or that shows a part of
 * them: a frame that is not seen ends where it starts.
 */
export function frameAxis(shared: StepAxis, steps: readonly number[]): StepAxis {
  if (steps === shared.steps) return shared;
  const { width } = shared;
  const count = steps.length;
  const start = new Int32Array(count);
  const end = new Int32Array(count);
  const final = steps[count - 1] ?? 0;
  const last = shared.even ? (shared.steps.find((step) => step > final) ?? shared.next) : final + 1;
  for (let i = 0; i < count; i++) {
    const from = Math.floor(stepX(shared, steps[i] ?? 0));
    const to = Math.floor(stepX(shared, i + 1 < count ? (steps[i + 1] ?? 0) : last));
    const before = to <= 0;
    const beyond = from >= width || (steps[i] ?? 0) > (shared.steps.at(-1) ?? 0);
    start[i] = before ? 0 : beyond ? width : Math.max(0, from);
    const least = i + 1 < count || shared.even ? 1 : LAST;
    end[i] = before ? 0 : beyond ? width : Math.min(width, Math.max(to, from + least));
  }
  return { ...shared, steps, start, end };
}

/** The steps of all, without doubles: one axis for several runs. */
export function jointSteps(...all: readonly (readonly number[])[]): readonly number[] {
  const [first = [], ...others] = [...new Set(all)].filter((steps) => steps.length > 0);
  if (others.length === 0) return first;
  return [...new Set([...first, ...others.flat()])].sort((a, b) => a - b);
}

function stepTicks(
  axis: Omit<StepAxis, 'ticks'>,
  spacing: Spacing,
): { x: number; label: string }[] {
  const { steps, width } = axis;
  if (steps.length === 0) return [];
  const most = Math.max(2, Math.floor(width / 90));
  let room = -Infinity;
  return tickSteps(steps, spacing, most).flatMap((step) => {
    const x = stepX(axis, step);
    if (x < room) return [];
    room = x + 60;
    return [{ x, label: formatCount(step) }];
  });
}

function tickSteps(steps: readonly number[], spacing: Spacing, most: number): number[] {
  const first = steps[0] ?? 0;
  const last = steps.at(-1) ?? first;
  switch (spacing) {
    case 'steps':
      return linearTicks(first, last, most).filter(Number.isInteger);
    case 'frames':
      return linearTicks(0, steps.length - 1, most)
        .filter(Number.isInteger)
        .map((i) => steps[i] ?? 0);
    case 'log': {
      const places = Array.from({ length: most }, (_, i) =>
        Math.expm1((Math.log1p(last - first) * i) / most),
      );
      return [...new Set(places.map((away) => first + Number(away.toPrecision(1))))].filter(
        Number.isInteger,
      );
    }
  }
}

/** Epochs closer than this are not marked one by one. */
const EPOCH_PIXELS = 8;

/** Where epochs begin, first one left out: of many every second, fifth, tenth, ... */
export function epochsX(axis: Omit<StepAxis, 'ticks'>, stepsPerEpoch: number): number[] {
  const [first, last] = [axis.steps[0] ?? 0, axis.steps.at(-1) ?? 0];
  if (!(stepsPerEpoch > 0) || last - first < stepsPerEpoch) return [];
  const most = axis.width / EPOCH_PIXELS;
  const epochs = (last - first) / stepsPerEpoch;
  const scale = 10 ** Math.max(0, Math.floor(Math.log10(epochs / most)));
  const every = [1, 2, 5, 10].map((one) => one * scale).find((one) => epochs / one <= most) ?? 1;
  const stride = Math.max(1, every) * stepsPerEpoch;
  const places: number[] = [];
  for (let step = Math.ceil((first + 1) / stride) * stride; step <= last; step += stride) {
    const x = stepX(axis, step);
    if (x > 0 && x < axis.width) places.push(x);
  }
  return places;
}

/** Where a step lies, also between two frames; -1 before the axis, its width beyond it. */
export function stepX(axis: Omit<StepAxis, 'ticks'>, step: number): number {
  if (step < (axis.steps[0] ?? 0)) return -1;
  const frame = frameAtStep(axis.steps, step);
  const [x, end] = [axis.start[frame] ?? 0, axis.end[frame] ?? 0];
  const here = axis.steps[frame] ?? 0;
  const next = axis.steps[frame + 1] ?? Math.max(axis.next, here + 1);
  if (step <= here) return x;
  return x + (end - x) * Math.min(1, (step - here) / (next - here));
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
