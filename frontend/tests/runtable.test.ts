import { describe, expect, it } from 'vitest';
import { decodeRuns } from '../src/api/decode';
import { differingSettings, flaggedRules } from '../src/store/runtable';
import { orderRuns, sortRuns } from '../src/store/selectors';

const runs = decodeRuns({
  runs: [
    {
      run: 'a',
      verdict: 'warning',
      counts: { warning: 1 },
      loss: 0.4,
      settings: { optimizer: 'Adam', learning_rate: '0.001', layers: '4', beta_1: '0.9' },
      leading: { rule: 'dead_units', severity: 'warning', first_step: 40, open: true },
      flagged: { dead_units: 'warning' },
    },
    {
      run: 'b',
      verdict: 'critical',
      counts: { critical: 1 },
      loss: 'NaN',
      settings: { optimizer: 'SGD', learning_rate: '0.001', layers: '9', momentum: '0.9' },
      flagged: { nonfinite_loss: 'critical', dead_units: 'info' },
    },
    { run: 'c', verdict: 'healthy', loss: 0.1 },
  ],
});

describe('the table of runs', () => {
  it('shows the settings that differ, and no others', () => {
    expect(differingSettings(runs)).toEqual(['optimizer', 'layers', 'beta_1', 'momentum']);
    expect(differingSettings(runs.slice(0, 1))).toEqual([]);
    expect(differingSettings(runs.slice(2))).toEqual([]);
  });

  it('has a column for each rule that found something, the worst first', () => {
    expect(flaggedRules(runs)).toEqual(['nonfinite_loss', 'dead_units']);
  });

  it('knows the finding a run is known by', () => {
    expect(runs.map(({ leading }) => leading?.rule ?? null)).toEqual(['dead_units', null, null]);
  });

  it('is sorted by verdict, or by loss with those without one last', () => {
    const order = (by: 'verdict' | 'loss') =>
      sortRuns(orderRuns(runs, ['a', 'b', 'c']), by).map(({ summary }) => summary.run);
    expect(order('verdict')).toEqual(['b', 'a', 'c']);
    expect(order('loss')).toEqual(['c', 'a', 'b']);
  });
});
