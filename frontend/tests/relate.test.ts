import { describe, expect, it } from 'vitest';
import { isZero, position, ticks } from '../src/scale/domain';
import { formatRelation } from '../src/scale/format';
import { seriesGrid, type Grid } from '../src/scale/reduce';
import {
  fitRelation,
  medians,
  relateGrid,
  relateStrips,
  relationOf,
  starts,
} from '../src/scale/relate';

const floats = (...values: number[]) => Float32Array.from(values);
const column = (unit: string) =>
  ({ name: 'x', unit, scope: 'step', scale: 'log', meaning: '', span: null }) as const;

describe('a change', () => {
  it('of a size is a factor, of a share a difference', () => {
    expect(relationOf(column('loss/weight'))).toBe('ratio');
    expect(relationOf(column('share'))).toBe('change');
  });

  it('is held against the variable’s own median, whatever its size', () => {
    const high = floats(1, 1e-6, 1, 1e-6, 8, 8e-6);
    const grid: Grid = { rows: 2, edges: Int32Array.of(0, 1, 2, 3), high, low: high, marks: null };
    const related = relateGrid(grid, medians(grid), 'ratio');
    expect([...related.high].map((value) => Math.round(value))).toEqual([1, 1, 1, 1, 8, 8]);
    expect(related.low).toBe(related.high);
  });

  it('over time is measured from the start of the run, or from what was measured first', () => {
    const high = floats(1, NaN, 3, NaN, 2, NaN, 50, 7, 60, 8);
    const grid: Grid = {
      rows: 2,
      edges: Int32Array.of(0, 1, 2, 3, 4, 5),
      high,
      low: high,
      marks: null,
    };
    expect([...starts(grid, 3)]).toEqual([2, 7]);
    expect([...starts(grid, 0)]).toEqual([1, 7]);
    expect([...starts(grid, 99)]).toEqual([3, 8]);
  });

  it('ignores what was not measured', () => {
    const grid = seriesGrid(floats(NaN, 2, NaN, 4, 100));
    expect([...medians(grid)]).toEqual([4]);
    expect(relateGrid(grid, medians(grid), 'ratio').high[0]).toBeNaN();
    expect([...medians(seriesGrid(floats(NaN)))]).toEqual([NaN]);
  });

  it('keeps smallest below largest, also of negative values', () => {
    const grid: Grid = {
      rows: 1,
      edges: Int32Array.of(0, 2),
      low: floats(-8),
      high: floats(-2),
      marks: null,
    };
    const { low, high } = relateGrid(grid, floats(4), 'ratio');
    expect([low[0], high[0]]).toEqual([0.5, 2]);
  });

  it('to or from zero is distinguished from no change', () => {
    const grid = seriesGrid(floats(0, 3, 0));
    const related = relateGrid(grid, floats(0), 'ratio');
    expect([...related.high]).toEqual([1, Infinity, 1]);
    expect(relateGrid(grid, floats(3), 'ratio').high[0]).toBe(0);
  });

  it('between two runs is taken pixel by pixel', () => {
    const strip = (...values: number[]) => ({
      low: floats(...values),
      high: floats(...values),
      marked: new Uint8Array(values.length),
    });
    const { high } = relateStrips(strip(10, 1, NaN), strip(1, 1, 1), 'ratio');
    expect([...high]).toEqual([10, 1, NaN]);
  });

  it('is marked where either run was not finite', () => {
    const strip = (...marks: number[]) => ({
      low: floats(1, 1, 1),
      high: floats(1, 1, 1),
      marked: Uint8Array.from(marks),
    });
    const { marked } = relateStrips(strip(1, 0, 0), strip(0, 1, 0), 'ratio');
    expect([...marked]).toEqual([1, 1, 0]);
  });

  it('has "the same" in the middle of its scale', () => {
    const ratio = fitRelation('ratio', [floats(0.02, 1, 30, 0, Infinity, NaN)]);
    expect(ratio).toEqual({ kind: 'ratio', low: 0.01, high: 100 });
    expect(position(ratio, 1)).toBeCloseTo(0.5);
    expect(isZero(ratio, 0)).toBe(true);
    expect(ticks(ratio, 9)).toEqual([0.01, 1, 100]);
    const change = fitRelation('change', [floats(0, 0.35)]);
    expect(change).toEqual({ kind: 'change', low: -0.4, high: 0.4 });
    expect(position(change, 0)).toBeCloseTo(0.5);
  });

  it('does not blow harmless noise up', () => {
    expect(fitRelation('ratio', [floats(0.9, 1.1)]).high).toBe(10);
    expect(fitRelation('change', [floats(0.001)]).high).toBe(0.1);
  });

  it('is said in words', () => {
    expect(formatRelation(1.001, 'ratio')).toBe('the same');
    expect(formatRelation(0.01, 'ratio')).toBe('÷ 100');
    expect(formatRelation(3.21, 'ratio')).toBe('× 3.2');
    expect(formatRelation(0, 'ratio')).toBe('fell to 0');
    expect(formatRelation(-0.12, 'change')).toBe('−12 points');
    expect(formatRelation(NaN, 'change')).toBe('not measured');
  });
});
