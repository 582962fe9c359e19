import { describe, expect, it } from 'vitest';
import { answer } from '../dev/fixtures';
import { decodeRules, decodeRun } from '../src/api/decode';
import type { Flag, RuleBook } from '../src/api/types';
import { columnEdges } from '../src/api/picture';
import { measuredStep, pictureOf } from '../src/store/findingpicture';
import type { MatrixData } from '../src/store/state';

const run = decodeRun(JSON.parse(String(answer('run?run=deep_sigmoid').body)));
const [flag] = run.flags as [Flag, ...Flag[]];
const book = (picture: object): RuleBook =>
  decodeRules({ rules: [{ id: 'vanishing_gradient', picture }] });
const names = (columns: readonly { name: string }[]) => columns.map(({ name }) => name);

describe('the picture of a finding', () => {
  it('is the one that its rule names', () => {
    const rules = book({
      view: 'by_depth',
      statistic: 'gradient_rms',
      chart: ['update_ratio', 'loss'],
    });
    const { view, statistic, chart, limit } = pictureOf(flag, run, rules);
    expect([view, statistic, names(chart)]).toEqual([
      'profile',
      'gradient_rms',
      ['update_ratio', 'loss'],
    ]);
    // Its evidence says: 3e-8, with a limit of 1e-6.
    expect(limit).toBe(1e-6);
  });

  it('is its evidence where the rule names none, or there are no rules', () => {
    for (const rules of [null, book({})]) {
      const { view, statistic, chart } = pictureOf(flag, run, rules);
      expect([view, statistic, names(chart)]).toEqual([
        'heatmap',
        'gradient_rms',
        ['update_ratio'],
      ]);
    }
  });

  it('has no lines where the rule wants none, or only a variable would have them', () => {
    expect(pictureOf(flag, run, book({ chart: [] })).chart).toEqual([]);
    const whole = { ...flag, variables: [] };
    expect(names(pictureOf(whole, run, book({ chart: ['update_ratio', 'loss'] })).chart)).toEqual([
      'loss',
    ]);
  });

  it('is read off where its number was measured', () => {
    const short = { ...run, steps: [0, 10, 20, 30], variables: run.variables.slice(0, 2) };
    const values = Float32Array.of(NaN, 1, NaN, 1, 0.5, 1, 0.5, 1);
    const matrix: MatrixData = {
      run: short,
      statistic: 'dead_unit_share',
      edges: columnEdges(0, 4, 4),
      values,
      low: values,
      exact: true,
      marks: new Uint8Array(8),
    };
    expect(measuredStep(matrix, 'dense_0/kernel', 3)).toBe(20);
    expect(measuredStep(matrix, 'dense_0/bias', 10)).toBe(10);
    expect(measuredStep(matrix, 'gone', 3)).toBe(3);
  });
});
