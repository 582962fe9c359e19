import { describe, expect, it } from 'vitest';
import { frameAtX, frameAxis, runAxes, stepX, type Track } from '../src/scale/axis';
import { seriesGrid } from '../src/scale/reduce';
import { MOST_SMOOTHING, smoothed } from '../src/scale/smooth';
import { timeTicks } from '../src/scale/time';

/** A pause of eight seconds between the third frame and the fourth. */
const paused: Track = { steps: [0, 10, 20, 30, 40], wallTimes: [100, 101, 102, 110, 111] };
const later: Track = { steps: [0, 20], wallTimes: [500, 505] };
const WIDTH = 1103;

describe('an axis of time', () => {
  const places = (track: Track, all: readonly Track[], spacing: 'relative' | 'wall') => {
    const steps = [0, 10, 20, 30, 40];
    const axis = runAxes(all, steps, null, WIDTH, spacing)[all.indexOf(track)];
    return axis ? track.steps.map((step) => Math.round(stepX(axis, step))) : [];
  };

  it('shows what a pause has cost', () => {
    expect(places(paused, [paused], 'relative')).toEqual([0, 100, 200, 1000, 1100]);
    expect(places(paused, [paused], 'wall')).toEqual([0, 100, 200, 1000, 1100]);
  });

  it('begins with each run, or has all of them on one clock', () => {
    expect(places(later, [paused, later], 'relative')).toEqual([0, 500]);
    const [first = 0, second = 0] = places(later, [paused, later], 'wall');
    expect(first).toBeCloseTo((400 / 405) * 1100, -1);
    expect(second).toBe(1100);
  });

  it('finds frames by their pixels, and steps between frames', () => {
    const [axis] = runAxes([paused], paused.steps, null, WIDTH, 'relative');
    if (!axis) throw new Error('no axis');
    expect([0, 99, 150, 999, 1000, 1102].map((x) => frameAtX(axis, x))).toEqual([0, 0, 1, 2, 3, 4]);
    expect(stepX(axis, 25)).toBeCloseTo(600, 0);
    const dense = frameAxis(axis, [0, 5, 25]);
    expect([...dense.start]).toEqual([0, 50, 600]);
  });

  it('shows a part of the steps over its whole width', () => {
    const [axis] = runAxes([paused], [20, 30], 40, WIDTH, 'relative');
    expect([...(axis?.start ?? [])]).toEqual([0, 0, 0, 1100, WIDTH]);
    expect(axis?.end[2]).toBe(1100);
  });

  it('never goes back, and gives every frame a pixel', () => {
    const resumed: Track = { steps: [0, 1, 2, 3], wallTimes: [10, 20, 5, 30] };
    const [axis] = runAxes([resumed], resumed.steps, null, 200, 'relative');
    expect([...(axis?.start ?? [])]).toEqual([0, 98, 98, 197]);
    axis?.end.forEach((end, i) => {
      expect(end).toBeGreaterThan(axis.start[i] ?? 0);
    });
  });
});

describe('labels of time', () => {
  const labels = (low: number, high: number, clock = false) =>
    timeTicks(low, high, 5, clock).map(({ label }) => label);

  it('have one unit and round distances', () => {
    expect(labels(0, 60)).toEqual(['0 s', '15 s', '30 s', '45 s', '60 s']);
    expect(labels(0, 3600)).toEqual(['0 min', '15 min', '30 min', '45 min', '60 min']);
    expect(labels(0, 0.4)).toEqual(['0 s', '0.1 s', '0.2 s', '0.3 s', '0.4 s']);
    expect(labels(0, 40 * 86_400)).toEqual(['0 d', '10 d', '20 d', '30 d', '40 d']);
    expect(labels(NaN, NaN)).toEqual([]);
  });

  it('of the clock name the day where it begins', () => {
    const evening = new Date(2026, 10, 30, 22, 0).getTime() / 1000;
    expect(labels(evening, evening + 4 * 3600, true)).toEqual([
      'Nov 30, 22:00',
      '23:00',
      'Dec 1, 00:00',
      '01:00',
      '02:00',
    ]);
  });
});

describe('smoothing', () => {
  const of = (values: readonly number[], weight: number) => [
    ...smoothed(seriesGrid(Float32Array.from(values)), weight).high,
  ];

  it('is the average of TensorBoard, without the bias of its start', () => {
    const found = of([1, 0, 1], 0.5);
    expect(found[0]).toBe(1);
    expect(found[1]).toBeCloseTo(1 / 3, 6);
    expect(found[2]).toBeCloseTo(0.625 / 0.875, 6);
    of([2, 2, 2], MOST_SMOOTHING).forEach((value) => {
      expect(value).toBeCloseTo(2, 5);
    });
  });

  it('leaves gaps open and goes on behind them', () => {
    const found = of([1, NaN, Infinity, 1], 0.9);
    expect(found.map(Number.isNaN)).toEqual([false, true, true, false]);
    expect(found[3]).toBeCloseTo(1, 6);
  });
});
