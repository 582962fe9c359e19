import { describe, expect, it } from 'vitest';
import type { Column } from '../src/api/types';
import {
  createStepAxis,
  epochsX,
  frameAtStep,
  frameAtX,
  frameAxis,
  jointSteps,
  stepX,
} from '../src/scale/axis';
import { PALETTES, ramp, RAMP_SIZE, runColour } from '../src/scale/colour';
import { fitDomain, isZero, position, ticks } from '../src/scale/domain';
import {
  formatEvidence,
  formatFact,
  formatNumber,
  formatShare,
  formatValue,
  title,
  sentence,
  splitName,
} from '../src/scale/format';
import { flagX } from '../src/draw/steps';
import { binScale, ridgeBase } from '../src/draw/histogram';
import {
  histogramAt,
  pickHistograms,
  readHistogram,
  readHistograms,
  signedShares,
} from '../src/scale/histogram';
import { INF, markShape, markWords, NAN, NONFINITE } from '../src/scale/nonfinite';
import { nothingMatches } from '../src/scale/pattern';
import { reduceRow, seriesGrid, stretches, type Grid } from '../src/scale/reduce';

const column = (fields: Partial<Column>): Column => ({
  name: 'x',
  unit: 'loss/weight',
  scope: 'step',
  scale: 'log',
  meaning: '',
  span: null,
  ...fields,
});

describe('a domain', () => {
  it('is that of the finite values alone', () => {
    const values = Float32Array.of(NaN, Infinity, 0, 1e-8, 1);
    const { kind, low, high } = fitDomain(column({}), values);
    expect(kind).toBe('log');
    expect(low).toBeCloseTo(1e-8, 12);
    expect(high).toBe(1);
  });

  it('does not paint harmless noise in all colours', () => {
    const { low, high } = fitDomain(column({}), Float32Array.of(0.9, 1.1));
    expect(Math.log10(high / low)).toBeGreaterThanOrEqual(3);
  });

  it('of a share is always all of it', () => {
    expect(fitDomain(column({ unit: 'share' }), Float32Array.of(0.1))).toEqual({
      kind: 'linear',
      low: 0,
      high: 1,
    });
  });

  it('exists even when nothing was measured', () => {
    const domain = fitDomain(column({}), Float32Array.of(NaN, NaN));
    expect(position(domain, 1)).toBeGreaterThanOrEqual(0);
    expect(position(domain, NaN)).toBeNaN();
  });

  it('docks zero below the scale, and only on a logarithmic one', () => {
    expect(isZero({ kind: 'log', low: 1, high: 10 }, 0)).toBe(true);
    expect(isZero({ kind: 'linear', low: 0, high: 1 }, 0)).toBe(false);
  });

  it('of a signed statistic has zero in the middle', () => {
    const domain = fitDomain(column({ scale: 'linear' }), Float32Array.of(-1, 1e-3));
    expect(domain.kind).toBe('signed');
    expect(position(domain, 0)).toBe(0.5);
    expect(position(domain, -0.5)).toBeCloseTo(1 - position(domain, 0.5));
    expect(position(domain, -0.5)).toBeLessThan(position(domain, -0.01));
  });

  it('has few, round labels within its bounds', () => {
    const values = ticks({ kind: 'log', low: 1e-14, high: 10 }, 4);
    expect(values.length).toBeLessThanOrEqual(4);
    expect(values.every((v) => Number.isInteger(Math.round(Math.log10(v) * 1e6) / 1e6))).toBe(true);
    expect(ticks({ kind: 'linear', low: 0, high: 1 }, 3)).toEqual([0, 0.5, 1]);
    expect(ticks({ kind: 'linear', low: 2.28, high: 2.49 }, 3)).toHaveLength(2);
    expect(Object.is(ticks({ kind: 'linear', low: 0, high: 1 }, 3)[0], 0)).toBe(true);
  });
});

describe('the step axis', () => {
  it('gives every frame a pixel, however many there are', () => {
    const steps = Array.from({ length: 5000 }, (_, i) => i);
    const axis = createStepAxis(steps, 300, 'steps');
    steps.forEach((i) => {
      expect(axis.end[i]).toBeGreaterThan(axis.start[i] ?? 0);
      expect(axis.start[i]).toBeLessThan(300);
    });
  });

  it('is true to time by step, and even by frame', () => {
    const steps = [0, 1, 2, 3, 103];
    const byStep = createStepAxis(steps, 500, 'steps');
    const byFrame = createStepAxis(steps, 500, 'frames');
    expect(byStep.start[4]).toBeGreaterThan(200);
    expect([...byFrame.start]).toEqual([0, 100, 200, 300, 400]);
  });

  it('finds frames by step and by pixel', () => {
    const axis = createStepAxis([0, 10, 20], 300, 'steps');
    expect(frameAtStep(axis.steps, 19)).toBe(1);
    expect(frameAtStep(axis.steps, -5)).toBe(0);
    expect(frameAtX(axis, 299)).toBe(2);
    // The last cell ends at the last step: 21 steps share the width.
    expect(stepX(axis, 15)).toBeCloseTo((15 / 21) * 300, -1);
    expect(axis.end[2]).toBe(300);
    expect(axis.start[2]).toBeGreaterThan(280);
  });

  it('is shared by two runs, step by step', () => {
    const steps = jointSteps([0, 10, 20], [0, 15, 30]);
    expect(steps).toEqual([0, 10, 15, 20, 30]);
    const shared = createStepAxis(steps, 400, 'steps', 40);
    const first = frameAxis(shared, [0, 10, 20]);
    const second = frameAxis(shared, [0, 15, 30]);
    expect([...first.start]).toEqual([0, 100, 200]);
    expect([...first.end]).toEqual([100, 200, 210]);
    expect([...second.start]).toEqual([0, 150, 300]);
    expect([...second.end]).toEqual([150, 300, 310]);
    expect(frameAxis(shared, shared.steps)).toBe(shared);
  });

  it('gives frames beyond a zoom no pixel', () => {
    const steps = [0, 10, 20, 30, 40, 50];
    const zoomed = createStepAxis(steps.slice(2, 4), 200, 'steps', 40);
    const axis = frameAxis(zoomed, steps);
    expect([...axis.start]).toEqual([0, 0, 0, 100, 200, 200]);
    expect([...axis.end]).toEqual([0, 0, 100, 200, 200, 200]);
    expect(frameAtX(axis, 0)).toBe(2);
    expect(frameAtX(axis, 199)).toBe(3);
    const strip = reduceRow(seriesGrid(Float32Array.of(9, 9, 1, 2, 9, 9)), [0], axis, 'both');
    expect([strip.high[0], strip.high[99], strip.high[100], strip.high[199]]).toEqual([1, 1, 2, 2]);
  });

  it('marks epochs, fewer where they are many', () => {
    const axis = createStepAxis([0, 100, 200, 300], 301, 'steps');
    expect(epochsX(axis, 100).map(Math.round)).toEqual([99, 198, 298]);
    expect(epochsX(axis, 2).length).toBeLessThan(40);
    expect(epochsX(axis, 0)).toEqual([]);
    expect(epochsX(axis, 1000)).toEqual([]);
  });

  it('gives an early start room on a logarithmic scale', () => {
    const axis = createStepAxis([0, 1, 10, 100, 1000], 300, 'log');
    expect(axis.start[2]).toBeGreaterThan(80);
    expect(axis.start[4]).toBeLessThan(300);
    expect(axis.ticks.length).toBeGreaterThan(2);
    expect(axis.ticks.every(({ x }, i) => i === 0 || x >= (axis.ticks[i - 1]?.x ?? 0) + 60)).toBe(
      true,
    );
  });

  it('has a place for steps outside of it', () => {
    const axis = createStepAxis([10, 20], 100, 'steps');
    expect(stepX(axis, 5)).toBe(-1);
    expect(stepX(axis, 500)).toBe(100);
  });

  it('shows an open flag until the end of the run, whenever it was last seen', () => {
    const axis = createStepAxis([0, 10, 20, 30], 40, 'frames');
    const flag = { firstStep: 10, lastStep: 20 };
    expect(flagX(axis, { ...flag, open: false })).toEqual([10, 30]);
    expect(flagX(axis, { ...flag, open: true })).toEqual([10, 40]);
    const shorter = frameAxis(axis, [0, 10]);
    expect(flagX(shorter, { ...flag, open: true })).toEqual([10, 20]);
  });

  it('bears no frames and one frame', () => {
    expect(createStepAxis([], 100, 'steps').ticks).toEqual([]);
    expect(createStepAxis([7], 100, 'steps').ticks[0]).toMatchObject({ x: 0, label: '7' });
  });
});

describe('reducing steps to pixels', () => {
  const axis = createStepAxis([0, 1, 2, 3], 2, 'frames');
  const grid = (values: number[], rows = 1, marks: number[] | null = null): Grid => {
    const high = Float32Array.from(values);
    const edges = Int32Array.from({ length: values.length / rows + 1 }, (_, i) => i);
    return { rows, edges, high, low: high, marks: marks && Uint8Array.from(marks) };
  };

  it('keeps the smallest and the largest value, never a mean', () => {
    const { low, high } = reduceRow(grid([1, 100, 5, 7]), [0], axis, 'both');
    expect([...low]).toEqual([1, 5]);
    expect([...high]).toEqual([100, 7]);
  });

  it('keeps a single non-finite step', () => {
    const marked = grid([1, 1, 1, 1], 1, [0, 1, 0, 0]);
    expect([...reduceRow(marked, [0], axis, 'both').marked]).toEqual([1, 0]);
  });

  it('keeps apart what was not finite, and joins it where a pixel stands for several', () => {
    const axis = createStepAxis([0, 1, 2, 3], 2, 'frames');
    const marks = [NONFINITE | NAN, NONFINITE | INF, 0, NONFINITE];
    const { marked } = reduceRow(grid([1, 1, 1, 1], 1, marks), [0], axis, 'both');
    expect([...marked]).toEqual([NONFINITE | NAN | INF, NONFINITE]);
    expect([...marked].map(markShape)).toEqual(['both', 'nan']);
    expect([...marked].map(markWords)).toEqual(['NaN and Inf', 'NaN or Inf']);
    expect([markShape(NONFINITE | INF), markWords(NONFINITE | INF)]).toEqual(['inf', 'Inf']);
  });

  it('ignores what was not measured, unless nothing was', () => {
    const { low, high } = reduceRow(grid([NaN, 3, NaN, NaN]), [0], axis, 'both');
    expect([...low]).toEqual([3, NaN]);
    expect([...high]).toEqual([3, NaN]);
  });

  it('shows a closed module by its worst variable', () => {
    const one = createStepAxis([0, 1], 2, 'frames');
    const strip = (worst: 'high' | 'low' | 'both') => {
      const { low, high } = reduceRow(grid([0.1, 0.9, 0.2, 0.8], 2), [0, 1], one, worst);
      return [low[0], high[0]].map((value) => Number((value ?? NaN).toFixed(3)));
    };
    expect(strip('high')).toEqual([0.9, 0.9]);
    expect(strip('low')).toEqual([0.1, 0.1]);
    expect(strip('both')).toEqual([0.1, 0.9]);
  });

  it('draws a column of several frames over all of their pixels', () => {
    const picture: Grid = {
      rows: 1,
      edges: Int32Array.of(0, 2, 4),
      low: Float32Array.of(1, 2),
      high: Float32Array.of(10, 20),
      marks: null,
    };
    const wide = createStepAxis([0, 1, 2, 3], 8, 'frames');
    const { low, high } = reduceRow(picture, [0], wide, 'both');
    expect([...low]).toEqual([1, 1, 1, 1, 2, 2, 2, 2]);
    expect([...high]).toEqual([10, 10, 10, 10, 20, 20, 20, 20]);
  });

  it('shows a variable that the run does not have as not measured', () => {
    expect([...reduceRow(grid([1, 1, 1, 1]), [], axis, 'both').high]).toEqual([NaN, NaN]);
  });

  it('finds stretches', () => {
    expect(stretches(5, (x) => x !== 2)).toEqual([
      [0, 2],
      [3, 5],
    ]);
  });
});

describe('a histogram', () => {
  const bins = { lowestExponent: -72, octaves: 96 };
  const counts = new Float32Array(196);
  counts[0] = 50;
  counts[1] = 10;
  counts[4 + 62] = 30; // magnitudes from 2**-10
  counts[4 + 96 + 70] = 10; // negative, from 2**-2

  it('is cropped to what occurs, from the most negative to the most positive', () => {
    const { first, last, frames } = readHistogram(counts, bins);
    expect([first, last]).toEqual([-10, -2]);
    const frame = frames[0];
    if (!frame) throw new Error('a frame was expected');
    const shares = signedShares(frame);
    expect(shares).toHaveLength(19);
    expect(shares[0]).toBeCloseTo(0.1);
    expect(shares[9]).toBeCloseTo(0.5);
    expect(shares[10]).toBeCloseTo(0.3);
    expect(frame.nan).toBeCloseTo(0.1);
  });

  it('is absent where the variable had none', () => {
    expect(readHistogram(new Float32Array(196).fill(NaN), bins).frames).toEqual([null]);
  });
});

describe('histograms over each other', () => {
  const bins = { lowestExponent: -10, octaves: 20 };
  const counts = (octave: number) => {
    const found = new Float32Array(44);
    found[4 + octave] = 1;
    return found;
  };

  it('are cropped alike', () => {
    const [one, other] = readHistograms([counts(2), counts(15)], bins);
    expect([one?.first, one?.last]).toEqual([-8, 5]);
    expect([other?.first, other?.last]).toEqual([-8, 5]);
    expect(one?.frames[0]?.positive[0]).toBe(1);
    expect(other?.frames[0]?.positive.at(-1)).toBe(1);
  });

  it('are found by step, and thinned evenly with both ends kept', () => {
    const taken = Array.from({ length: 101 }, (_, i) => 10 * i);
    expect([histogramAt(taken, 19), histogramAt([5], 4)]).toEqual([1, -1]);
    expect(pickHistograms(taken, 0, 1000, 5)).toEqual([0, 25, 50, 75, 100]);
    expect(pickHistograms(taken, 95, 130, 18)).toEqual([10, 11, 12, 13]);
    expect(pickHistograms(taken, 2000, 3000, 18)).toEqual([]);
  });

  it('leave zero a place of its own between the signs', () => {
    const [histogram] = readHistograms([counts(2)], bins);
    if (!histogram) throw new Error('one is expected');
    const { octaves, left, width } = binScale(histogram, 300);
    const edges = Array.from({ length: 2 * octaves + 1 }, (_, i) => [left(i), left(i) + width(i)]);
    edges.forEach(([from = 0], i) => {
      expect(from).toBeGreaterThanOrEqual((edges[i - 1]?.[1] ?? 0) - 1e-9);
    });
    expect(edges.at(-1)?.[1]).toBeCloseTo(300);
  });

  it('stand in rows, the last one above the labels', () => {
    const rows = [0, 1, 2].map((i) => ridgeBase(i, 3, 280));
    expect(rows[0]).toBeLessThan(rows[1] ?? 0);
    expect(rows[2]).toBe(260);
  });
});

describe('text', () => {
  it('is short, and right at the ends', () => {
    expect(formatNumber(1.2345e-9)).toBe('1.23e-9');
    expect(formatNumber(1e-14)).toBe('1e-14');
    expect(formatNumber(1e20)).toBe('1e20');
    expect(formatNumber(-0.00123456)).toBe('−0.00123');
    expect(formatNumber(0)).toBe('0');
    expect(formatNumber(12345)).toBe('12,345');
    expect(formatShare(0.99996)).toBe('99.99\u00a0%');
    expect(formatShare(1)).toBe('100\u00a0%');
    expect(formatShare(0.00012)).toBe('0.012\u00a0%');
  });

  it('distinguishes NaN that was seen from a value that is missing', () => {
    expect(formatEvidence('loss', NaN)).toBe('NaN');
    expect(formatValue(NaN, 'loss')).toBe('not measured');
  });

  it('rounds the noise of float32 off a setting', () => {
    expect(formatFact('0.0010000000474974513')).toBe('0.001');
    expect(formatFact('1e-07')).toBe('1e-07');
    expect(formatFact('3.15.1')).toBe('3.15.1');
  });

  it('makes titles of names', () => {
    expect(title('gradient_rms')).toBe('Gradient RMS');
    expect(title('gradient_nan_count')).toBe('Gradient NaN count');
  });
});

describe('colours', () => {
  const luminance = (r: number, g: number, b: number): number =>
    [r, g, b]
      .map((c) => c / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
      .reduce((sum, c, i) => sum + c * ([0.2126, 0.7152, 0.0722][i] ?? 0), 0);
  const ofHex = (hex: string): number =>
    luminance(
      ...([1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)) as [number, number, number]),
    );
  const contrast = (a: string, b: string): number => {
    const [low, high] = [ofHex(a), ofHex(b)].sort((x, y) => x - y);
    return ((high ?? 0) + 0.05) / ((low ?? 0) + 0.05);
  };

  it.each(['light', 'dark'] as const)('rise steadily in lightness (%s)', (theme) => {
    const colours = ramp(theme, 'log');
    let last = -1;
    for (let i = 0; i < RAMP_SIZE; i++) {
      const [r, g, b] = colours.subarray(3 * i, 3 * i + 3);
      const now = luminance(r ?? 0, g ?? 0, b ?? 0);
      expect(now).toBeGreaterThanOrEqual(last - 0.002);
      last = now;
    }
  });

  it.each(['light', 'dark'] as const)('are readable as text (%s)', (theme) => {
    const palette = PALETTES[theme];
    for (const ground of [palette.surface, palette.raised, palette.sunken]) {
      for (const name of [
        'text',
        'quiet',
        'accent',
        'critical',
        'warning',
        'info',
        'healthy',
      ] as const) {
        expect(contrast(palette[name], ground), `${name} on ${ground}`).toBeGreaterThanOrEqual(4.5);
      }
    }
  });

  it('of runs are TensorBoard’s own', () => {
    expect(runColour(0, 'light')).toBe('#425066');
    expect(runColour(8, 'dark')).toBe('#12b5cb');
  });
});

describe('names and sentences', () => {
  it('are cut off in the middle: what differs at the end is kept', () => {
    const names = ['resnet-adam-warmup-seed-1', 'resnet-adam-warmup-seed-2'];
    expect(names.map((name) => splitName(name))).toEqual([
      ['resnet-adam-warmup', '-seed-1'],
      ['resnet-adam-warmup', '-seed-2'],
    ]);
    expect(splitName('seed-10', 3)).toEqual(['seed', '-10']);
    expect(splitName('faulty')).toEqual(['', 'faulty']);
    expect(splitName('in größe 📈📉', 3)).toEqual(['in größe', ' 📈📉']);
    expect(splitName('')).toEqual(['', '']);
  });

  it('distinguish a pattern that nothing matches from one that is none', () => {
    expect(nothingMatches('run', 'seed_[12]')).toBe('No run matches the filter.');
    expect(nothingMatches('run', 'seed_[12')).toBe(
      'No run has “seed_[12” in its name, and it is no regular expression.',
    );
  });

  it('begin with a capital unless they begin with code', () => {
    expect(sentence('one step is enough.')).toBe('One step is enough.');
    expect(sentence('he_normal before relu.')).toBe('he_normal before relu.');
  });
});
