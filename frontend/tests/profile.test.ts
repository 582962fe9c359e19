import { describe, expect, it } from 'vitest';
import { shortName } from '../src/draw/profile';
import { createDepthAxis, growthPerLayer, profileOf, slotAtX } from '../src/scale/profile';
import type { Grid } from '../src/scale/reduce';
import type { Row } from '../src/scale/rows';

const grid = (frames: number[][], marks: number[] | null = null): Grid => {
  const high = Float32Array.from(frames.flat());
  return {
    rows: frames[0]?.length ?? 0,
    edges: Int32Array.from({ length: frames.length + 1 }, (_, i) => i),
    high,
    low: high,
    marks: marks && Uint8Array.from(marks),
  };
};
const row = (fields: Partial<Row>): Row => ({
  kind: 'variable',
  key: 'a/kernel',
  label: 'kernel',
  module: 'a',
  within: [],
  variables: [0],
  open: true,
  ...fields,
});

describe('the layer profile', () => {
  it('has the value at a step and the range over the steps shown', () => {
    const { value, low, high, lowerQuartile, upperQuartile } = profileOf(
      grid([[100], [1], [5], [3], [4], [2]]),
      2,
      1,
      6,
    );
    expect([value[0], low[0], high[0]]).toEqual([5, 1, 5]);
    expect([lowerQuartile[0], upperQuartile[0]]).toEqual([2, 4]);
  });

  it('ignores what was not measured, and keeps a mark of the step', () => {
    const profile = profileOf(
      grid(
        [
          [NaN, 2],
          [1, NaN],
        ],
        [0, 0, 1, 0],
      ),
      1,
      0,
      2,
    );
    expect([...profile.value]).toEqual([1, NaN]);
    expect([...profile.high]).toEqual([1, 2]);
    expect([...profile.marked]).toEqual([1, 0]);
    expect(profileOf(grid([[NaN]]), 0, 0, 1).low[0]).toBeNaN();
  });

  it('reads a picture of several frames a column', () => {
    const picture: Grid = {
      rows: 1,
      edges: Int32Array.of(0, 5, 10),
      low: Float32Array.of(1, 3),
      high: Float32Array.of(2, 4),
      marks: null,
    };
    const { value, low, high } = profileOf(picture, 7, 0, 10);
    expect([value[0], low[0], high[0]]).toEqual([4, 1, 4]);
    expect(profileOf(picture, 7, 5, 10).low[0]).toBe(3);
  });

  it('places variables by depth, and a closed module once', () => {
    const rows = [
      row({ kind: 'module', key: 'a', variables: [0, 1] }),
      row({}),
      row({ key: 'a/bias', variables: [1] }),
      row({ kind: 'module', key: 'b', label: 'b', module: 'b', variables: [2, 3], open: false }),
    ];
    const axis = createDepthAxis(rows, 360);
    expect(axis.slots.map(({ from, to }) => [from, to].map(Math.round))).toEqual([
      [0, 100],
      [100, 200],
      [260, 360],
    ]);
    expect(axis.modules.map(({ label, to }) => [label, Math.round(to)])).toEqual([
      ['a', 200],
      ['b', 360],
    ]);
    expect([slotAtX(axis, 150), slotAtX(axis, 230), slotAtX(axis, 300)]).toEqual([1, -1, 2]);
    expect(createDepthAxis([], 100).slots).toEqual([]);
  });

  it('shows the slope per layer', () => {
    expect(growthPerLayer([1e-8, 1e-6, 1e-4, 1e-2])).toBeCloseTo(100);
    expect(growthPerLayer([1, 1, NaN, 1, 1])).toBeCloseTo(1);
    expect(growthPerLayer([1, 0, 1, 1])).toBeNull();
    expect(growthPerLayer([1, 2])).toBeNull();
  });

  it('names modules as long as there is room', () => {
    const measure = (text: string) => text.length;
    expect(shortName('net/block/conv', measure, 10)).toBe('block/conv');
    expect(shortName('net/block/conv', measure, 3)).toBe('conv');
    expect(shortName('net/block/conv', measure, 99)).toBe('net/block/conv');
  });
});
