import { describe, expect, it } from 'vitest';
import { answer } from '../dev/fixtures';
import { decodeRules, decodeRun } from '../src/api/decode';
import type { Flag, Run } from '../src/api/types';
import { healthyStart, judge, judgedNumbers, rangeOf, startFrames } from '../src/store/judgement';
import type { MatrixData } from '../src/store/state';
import { unitWords } from '../src/scale/units';

const book = decodeRules({
  ranges: [
    {
      statistic: 'update_ratio',
      against: '',
      above: 1e-6,
      below: 0.1,
      usual: [1e-4, 1e-2],
      kernels_only: true,
    },
    { statistic: 'dead_unit_share', against: '', above: null, below: 0.5 },
    { statistic: 'gradient_nonfinite_count', against: '', below: 0 },
    { statistic: 'gradient_rms', against: 'start', below: 100 },
    { statistic: 'gradient_rms', against: 'of a newer server', below: 7 },
  ],
});
const of = (statistic: string) => {
  const range = rangeOf(book, statistic);
  if (!range) throw new Error(statistic);
  return range;
};

describe('a number', () => {
  it('is called what the ranges of the rules say', () => {
    const words = [1e-7, 4e-5, 1e-3, 0.02, 0.1].map((value) =>
      judge(of('update_ratio'), value, false),
    );
    expect(words.map(({ word }) => word)).toEqual([
      'far too low',
      'low',
      'normal',
      'high',
      'far too high',
    ]);
    expect(words[1]?.range).toBe('healthy: 1e-4 to 0.01');
    expect(judge(of('dead_unit_share'), 0.97, true)).toEqual({
      standing: 'beyond',
      word: 'far too high',
      range: 'healthy: below 50\u00a0%',
    });
    expect(judge(of('gradient_nonfinite_count'), 0, false).word).toBe('normal');
    expect(judge(of('gradient_nonfinite_count'), 1, false)).toMatchObject({
      standing: 'beyond',
      range: 'healthy: none',
    });
  });

  it('of a variable stands among the five that decide, the finding’s own first', () => {
    const run = decodeRun(JSON.parse(String(answer('run?run=healthy').body)));
    const [kernel, bias] = run.variables;
    if (!kernel || !bias) throw new Error('fixture');
    const columns = run.statistics.length;
    const series = new Float32Array(columns * run.steps.length).fill(NaN);
    run.steps.forEach((_, frame) => {
      const set = (name: string, value: number) =>
        (series[frame * columns + run.statistics.findIndex((column) => column.name === name)] =
          value);
      set('gradient_rms', frame < 100 ? 1 : 200);
      set('update_ratio', 1e-3);
      set('gradient_zero_share', 0.5);
    });
    const last = run.steps.length - 1;
    const found = judgedNumbers(run, kernel, series, last, book, 'gradient_zero_share');
    expect(found.map(({ statistic }) => statistic)).toEqual([
      'gradient_zero_share',
      'gradient_rms',
      'update_ratio',
    ]);
    expect(found[1]).toMatchObject({ change: 200, judgement: { standing: 'beyond' } });
    // A gradient that has vanished has not changed: it is small beside that of the last layers.
    const fading = decodeRules({
      ranges: [
        { statistic: 'gradient_rms', against: 'start', below: 1000 },
        { statistic: 'gradient_rms', against: 'last_layers', above: 1e-3, kernels_only: true },
      ],
    });
    const values = new Float32Array(run.variables.length * run.steps.length).fill(1e6);
    const edges = Int32Array.from({ length: run.steps.length + 1 }, (_, i) => i);
    const matrix: MatrixData = {
      ...{ run, statistic: 'gradient_rms', edges, values, low: values, exact: true },
      marks: new Uint8Array(values.length),
    };
    const [rms] = judgedNumbers(run, kernel, series, last, fading, null, matrix);
    expect(rms).toMatchObject({ change: 200, judgement: { word: 'far too low' } });
    expect(rms?.towards).toBeCloseTo(2e-4, 8);
    expect(judgedNumbers(run, kernel, series, last, fading, null)[0]?.judgement?.word).toBe(
      'normal',
    );
    // Beside a NaN the size of what is finite says nothing.
    series[
      last * columns + run.statistics.findIndex(({ name }) => name === 'gradient_nonfinite_count')
    ] = 1;
    expect(judgedNumbers(run, kernel, series, last, fading, null, matrix)[0]?.judgement).toBeNull();
    expect(judgedNumbers(run, bias, series, last, book, 'update_ratio')[0]?.judgement).toBeNull();
  });

  it('is compared with the first tenth of its run', () => {
    expect(startFrames([0, 1, 2, 50, 100, 1000])).toBe(5);
    expect(startFrames([7])).toBe(1);
    const steps = Array.from({ length: 100 }, (_, i) => i);
    const flagged = (firstStep: number) =>
      healthyStart({ steps, flags: [{ firstStep }, { firstStep: 90 }] } as unknown as Run);
    expect([flagged(60), flagged(0), flagged(2)]).toEqual([60, 10, 10]);
    expect(healthyStart({ steps, flags: [] as Flag[] } as unknown as Run)).toBe(10);
  });

  it('has its unit in words', () => {
    expect(['loss/weight', '1/step', 'steps', 'share', 'ratio'].map(unitWords)).toEqual([
      'loss per unit of weight',
      'per step',
      'steps',
      '',
      '',
    ]);
  });
});
