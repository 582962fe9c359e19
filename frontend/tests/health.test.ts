import { describe, expect, it } from 'vitest';
import type { HealthyRange } from '../src/api/types';
import { position } from '../src/scale/domain';
import { HEALTH, healthOfRow, limitsAt, distanceOf, type Healthy } from '../src/scale/health';
import type { Grid } from '../src/scale/reduce';

const range = (fields: Partial<HealthyRange>): HealthyRange => ({
  statistic: 'x',
  against: '',
  above: null,
  below: null,
  usual: null,
  kernelsOnly: false,
  ...fields,
});
const ratio = range({ above: 1e-6, below: 0.1, usual: [1e-4, 1e-2], kernelsOnly: true });

describe('the distance from what is healthy', () => {
  it('is nothing within what is usual, one at the limit, and grows beyond', () => {
    const of = (value: number) => Number(distanceOf(ratio, false, value).toFixed(3));
    expect([1e-4, 1e-3, 1e-2].map(of)).toEqual([0, 0, 0]);
    expect([1e-5, 1e-6, 1e-7].map(of)).toEqual([-0.5, -1, -1.5]);
    expect([0.1, 100].map(of)).toEqual([1, 2]);
    expect(distanceOf(ratio, false, NaN)).toBeNaN();
  });

  it('of shares and counts is about too much', () => {
    const share = range({ below: 0.5 });
    expect([0, 0.25, 0.5, 1].map((value) => distanceOf(share, true, value))).toEqual([0, 0, 1, 2]);
    expect([0, 1].map((value) => distanceOf(range({ below: 0 }), false, value))).toEqual([0, 2]);
  });

  it('is that of the range that is left furthest, and of biases little is said', () => {
    const healthy: Healthy = {
      share: false,
      own: null,
      since: range({ below: 100, against: 'start' }),
      starts: Float32Array.of(1, 1, 1, 1),
      towards: range({ above: 1e-3, against: 'last_layers', kernelsOnly: true }),
      last: [3],
      kernels: [true, false, true, true],
      ends: Float32Array.of(1, 1),
    };
    const high = Float32Array.of(1e-4, 1e-4, 100, 1, 0, 0, NaN, 1);
    const grid: Grid = { rows: 4, edges: Int32Array.of(0, 1, 2), high, low: high, marks: null };
    const found = (...members: number[]) => {
      const { low, high: most } = healthOfRow(grid, members, healthy);
      return [...low, ...most].map((value) => Number(value.toFixed(3)));
    };
    expect(found(0)).toEqual([-2, -2, -2, -2]);
    expect(found(1)).toEqual([0, -2, 0, -2]);
    expect(found(2)).toEqual([1, NaN, 1, NaN]);
    expect(found(3)).toEqual([0, 0, 0, 0]);
    // A closed module has both ends of what is in it.
    expect(found(0, 1, 2, 3)).toEqual([-2, -2, 1, 0]);
    expect(found()).toEqual([NaN, NaN, NaN, NaN]);
  });

  it('has its limits as values, also those that move with the last layers', () => {
    const ranges = {
      share: false,
      own: range({ below: 0.5 }),
      since: null,
      towards: range({ above: 1e-3, against: 'last_layers' }),
      last: [1, 2],
      kernels: [true, true, true],
    };
    const high = Float32Array.of(1, 2, 4, 1, NaN, NaN);
    const grid: Grid = { rows: 3, edges: Int32Array.of(0, 1, 2), high, low: high, marks: null };
    expect(limitsAt(grid, ranges, 0)).toEqual([0.5, 0.004]);
    expect(limitsAt(grid, ranges, 1)).toEqual([0.5]);
  });

  it('has its limits on the scale, and healthy in the middle', () => {
    expect([-2, -1, 0, 1, 2].map((value) => position(HEALTH, value))).toEqual([
      0, 0.25, 0.5, 0.75, 1,
    ]);
  });
});
