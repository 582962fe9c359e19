/**
 * Training steps -> pixel columns; shared by the heat-map and every chart below it.
 *
 * A frame covers the pixels from its own step to the next frame's, the last one only its own step:
 * nothing is drawn beyond the end of the run. Every frame owns at least one pixel column, so
 * nothing that was logged can fall between two pixels.
 */

import { formatCount } from './format';
import { linearTicks } from './domain';
import { timeTicks } from './time';

/** By step is true to the training; by frame, or by its logarithm, gives the dense start its room. */
type StepSpacing = 'steps' | 'frames' | 'log';
/** By the time since a run's first frame, or by the clock: what a pause or a slow step has cost. */
type TimeSpacing = 'relative' | 'wall';
export type Spacing = StepSpacing | TimeSpacing;

/** When each frame of a run was taken, in seconds since the epoch. */
export interface Track {
  readonly steps: readonly number[];
  readonly wallTimes: readonly number[];
}

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
  spacing: StepSpacing,
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
  spacing: StepSpacing,
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

/**
 * The axes of runs side by side: one for all by step; by time each run has its own, on one clock.
 *
 * `steps` are those of all runs that are shown, `after` is the first one beyond them.
 */
export function runAxes(
  tracks: readonly Track[],
  steps: readonly number[],
  after: number | null,
  width: number,
  spacing: Spacing,
): readonly StepAxis[] {
  if (spacing === 'relative' || spacing === 'wall') {
    return timeAxes(tracks, steps, after, width, spacing);
  }
  const axis = createStepAxis(steps, width, spacing, after);
  return tracks.map((track) => frameAxis(axis, track.steps));
}

function timeAxes(
  tracks: readonly Track[],
  shown: readonly number[],
  after: number | null,
  width: number,
  spacing: TimeSpacing,
): readonly StepAxis[] {
  const [first = 0, last = 0] = [shown[0], shown.at(-1)];
  const own = tracks.map(({ steps, wallTimes }) => ({
    steps,
    times: clockOf(wallTimes, spacing),
    from: steps.findIndex((step) => step >= first),
    to: steps.findLastIndex((step) => step <= last),
  }));
  const seen = own.filter(({ from, to }) => from >= 0 && to >= from);
  const low = Math.min(...seen.map(({ times, from }) => times[from] ?? Infinity));
  const high = Math.max(...seen.map(({ times, to }) => times[to] ?? -Infinity));
  const room = Math.max(1, width - LAST);
  const place = (time: number): number =>
    high > low ? Math.floor((room * (time - low)) / (high - low)) : 0;
  const most = Math.max(2, Math.floor(width / 90));
  const ticks = timeTicks(low, high, most, spacing === 'wall').map(({ time, label }) => ({
    x: place(time),
    label,
  }));
  return own.map(({ steps, times, from, to }): StepAxis => {
    const start = new Int32Array(steps.length);
    const end = new Int32Array(steps.length);
    for (let i = Math.max(0, from); i < steps.length; i++) {
      if (i > to) {
        [start[i], end[i]] = [width, width];
        continue;
      }
      const x = place(times[i] ?? low);
      start[i] = Math.min(x, Math.max(0, width - 1));
      const until = i < to ? place(times[i + 1] ?? high) : x + LAST;
      end[i] = Math.max(Math.min(until, width), x + 1);
    }
    const next = after ?? (steps.at(-1) ?? 0) + 1;
    return { width, steps, next, even: false, start, end, ticks };
  });
}

/** Times that never go back, as those of a run that was resumed on another machine may. */
function clockOf(wallTimes: readonly number[], spacing: TimeSpacing): readonly number[] {
  const zero = spacing === 'relative' ? (wallTimes[0] ?? 0) : 0;
  let latest = -Infinity;
  return wallTimes.map((time) => (latest = Math.max(latest, time - zero)));
}

/** The steps of all, without doubles: one axis for several runs. */
export function jointSteps(...all: readonly (readonly number[])[]): readonly number[] {
  const [first = [], ...others] = [...new Set(all)].filter((steps) => steps.length > 0);
  if (others.length === 0) return first;
  return [...new Set([...first, ...others.flat()])].sort((a, b) => a - b);
}

function stepTicks(
  axis: Omit<StepAxis, 'ticks'>,
  spacing: StepSpacing,
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

function tickSteps(steps: readonly number[], spacing: StepSpacing, most: number): number[] {
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
