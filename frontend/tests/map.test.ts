import { describe, expect, it } from 'vitest';
import type { Column } from '../src/api/types';
import { createStepAxis } from '../src/scale/axis';
import { hasRow, readRow, scaleMap, stripOf, type Source } from '../src/scale/map';
import type { Row } from '../src/scale/rows';

const RMS: Column = {
  name: 'rms',
  unit: 'loss/weight',
  scope: 'step',
  scale: 'log',
  meaning: '',
  span: null,
};
const ZEROS: Column = { ...RMS, name: 'zero_share', unit: 'share', scale: 'linear' };

/** Values by frame and variable; `columns` places them among the joint rows. */
function source(frames: readonly (readonly number[])[], columns: readonly number[]): Source {
  const values = Float32Array.from(frames.flat());
  const edges = Int32Array.from({ length: frames.length + 1 }, (_, i) => i);
  return {
    grid: { rows: frames[0]?.length ?? 0, edges, high: values, low: values, marks: null },
    columns: Int32Array.from(columns),
    start: 1,
    healthy: null,
  };
}

const variable = (index: number): Row => ({
  kind: 'variable',
  key: String(index),
  label: '',
  module: 'm',
  within: ['m'],
  variables: [index],
  open: true,
});
const module: Row = { ...variable(0), kind: 'module', variables: [0, 1], open: false };
const axis = createStepAxis([0, 1], 2, 'frames');
const before = source(
  [
    [1, 10],
    [2, 20],
  ],
  [0, 1],
);
const after = source([[1000], [2000]], [-1, 0]);

describe('the heat-map of two runs', () => {
  it('has one scale that holds both', () => {
    const { domain } = scaleMap(RMS, [before, after], 'absolute', 'run');
    expect(domain).toEqual({ kind: 'log', low: 1, high: 10_000 });
    expect(scaleMap(RMS, [before, after], 'absolute', 'run linear').domain).toEqual({
      kind: 'linear',
      low: 0,
      high: 2000,
    });
  });

  it('has the same colours as every other run, unless they are fitted to it', () => {
    const column: Column = { ...RMS, span: [1e-10, 100] };
    const fixed = (one: Column) => scaleMap(one, [before, after], 'absolute', 'fixed').domain;
    expect(fixed(column)).toEqual({ kind: 'log', low: 1e-10, high: 100 });
    expect(fixed({ ...column, scale: 'linear' }).kind).toBe('signed');
    expect(fixed(ZEROS)).toEqual({ kind: 'linear', low: 0, high: 1 });
    expect(scaleMap(column, [before, after], 'absolute', 'run').domain.high).toBe(10_000);
    // An older server names no range.
    expect(fixed(RMS).high).toBe(10_000);
    for (const encoding of ['relative', 'difference'] as const) {
      const { low, high } = scaleMap(column, [before, after], encoding, 'fixed').domain;
      expect([low, high]).toEqual([1e-3, 1e3]);
    }
  });

  it('finds the same row in each of them, or says that it is missing', () => {
    const scale = scaleMap(RMS, [before, after], 'absolute', 'run');
    const pixels = (pane: number, row: Row) => [
      ...stripOf(scale, pane, row, [axis, axis], axis.width).high,
    ];
    expect(pixels(0, variable(1))).toEqual([10, 20]);
    expect(pixels(1, variable(1))).toEqual([1000, 2000]);
    expect(pixels(1, variable(0))).toEqual([NaN, NaN]);
    expect([hasRow(after, variable(0)), hasRow(after, module)]).toEqual([false, true]);
  });

  it('shows by what factor the second differs from the first', () => {
    const scale = scaleMap(RMS, [before, after], 'difference', 'run');
    expect(scale.domain).toEqual({ kind: 'ratio', low: 0.01, high: 100 });
    const { low, high } = stripOf(scale, 0, module, [axis, axis], axis.width);
    expect([...low]).toEqual([100, 100]);
    expect([...high]).toEqual([100, 100]);
  });

  it('shows the difference of shares in points', () => {
    const few = source([[0.25], [0.25]], [0]);
    const many = source([[0.5], [1]], [0]);
    const scale = scaleMap(ZEROS, [few, many], 'difference', 'run');
    expect([...stripOf(scale, 0, variable(0), [axis, axis], 2).high]).toEqual([0.25, 0.75]);
  });
});

describe('the heat-map of changes', () => {
  it('shows a closed module by both extremes, whatever the statistic', () => {
    const one = source(
      [
        [0.5, 0.5],
        [0.5, 0.5],
        [0, 1],
      ],
      [0, 1],
    );
    const wide = createStepAxis([0, 1, 2], 3, 'frames');
    const scale = scaleMap(ZEROS, [one], 'relative', 'run');
    const { low, high } = stripOf(scale, 0, module, [wide], wide.width);
    expect([...low]).toEqual([0, 0, -0.5]);
    expect([...high]).toEqual([0, 0, 0.5]);
  });
});

describe('reading a cell', () => {
  it('gives the range of a closed module, and nothing outside of what is loaded', () => {
    expect(readRow(before, module, 1)).toEqual({ low: 2, high: 20, marked: 0 });
    expect(readRow(before, module, 2).high).toBeNaN();
    expect(readRow(after, variable(0), 0).low).toBeNaN();
  });
});
