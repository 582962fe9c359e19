import { describe, expect, it } from 'vitest';
import { decodeError, decodeFloats, decodeRules, decodeRun, decodeRuns } from '../src/api/decode';
import { answer } from '../dev/fixtures';

const json = (address: string): unknown => JSON.parse(String(answer(address).body));

describe('decoding the server’s answers', () => {
  it('reads a whole run', () => {
    const run = decodeRun(json('run?run=deep_sigmoid'));
    expect(run.variables).toHaveLength(16);
    expect(run.variables[0]).toMatchObject({ path: 'dense_0/kernel', layerClass: 'Dense' });
    expect(run.flags[0]).toMatchObject({ rule: 'vanishing_gradient', firstStep: 10, open: true });
    expect(run.context['optimizer_config.learning_rate']).toBe('0.001');
  });

  it('bears an answer without any keys', () => {
    const run = decodeRun({});
    expect(run.steps).toEqual([]);
    expect(run.flags).toEqual([]);
    expect(run.histogram.octaves).toBe(96);
    expect(decodeRun(null)).toEqual(run);
    expect(decodeRuns({ runs: [{}] })[0]).toMatchObject({ run: '', frames: 0, verdict: null });
  });

  it('keeps the numbers that JSON has no word for', () => {
    const evidence = [
      { name: 'a', value: 'NaN', threshold: null },
      { name: 'b', value: 'Infinity', threshold: '-Infinity' },
      { name: 'c', value: 'what?' },
    ];
    const [flag] = decodeRun({ flags: [{ evidence }] }).flags;
    expect(flag?.evidence.map(({ value }) => value)).toEqual([NaN, Infinity, NaN]);
    expect(flag?.evidence.map(({ threshold }) => threshold)).toEqual([null, -Infinity, null]);
  });

  it('reads where a finding comes from, and bears its absence', () => {
    const path = [{ layer: 'dense', log10_size: -2 }, { log10_size: '-Infinity' }];
    const origin = { operation: 'RealDiv', file: 'model.py', line: 42, only_xla: true, path };
    const [known, unknown] = decodeRun({ flags: [{ origin }, {}] }).flags;
    expect(known?.origin).toMatchObject({ file: 'model.py', line: 42, code: '', onlyXla: true });
    expect(known?.origin?.path.map(({ logSize }) => logSize)).toEqual([-2, -Infinity]);
    expect(unknown?.origin).toBeNull();
  });

  it('distinguishes a run that was not judged yet from a healthy one', () => {
    const runs = decodeRuns({
      runs: [
        { run: 'a', verdict: null },
        { run: 'b', verdict: 'healthy' },
      ],
    });
    expect(runs.map(({ verdict }) => verdict)).toEqual([null, 'healthy']);
  });

  it('takes errors of rules and sentences of readers alike', () => {
    const run = decodeRun({
      errors: [
        'unreadable',
        { rule: null, step: null, message: 'cut off' },
        { rule: 'r', step: 3, message: 'm' },
      ],
    });
    expect(run.errors).toEqual([
      { rule: '', step: null, message: 'unreadable' },
      { rule: '', step: null, message: 'cut off' },
      { rule: 'r', step: 3, message: 'm' },
    ]);
  });

  it('accepts a rule’s advice as text or as a list', () => {
    const { rules } = decodeRules({
      rules: [
        { id: 'a', fixes: 'one' },
        { id: 'b', fixes: ['x', 'y `f(1)`'], snippets: [[], ['f(1)']] },
      ],
    });
    expect(rules.get('a')?.fixes).toEqual([{ text: 'one', snippets: [] }]);
    expect(rules.get('b')?.fixes).toEqual([
      { text: 'x', snippets: [] },
      { text: 'y `f(1)`', snippets: ['f(1)'] },
    ]);
  });

  it('reads little-endian floats, NaN included', () => {
    const bytes = new Uint8Array([0, 0, 128, 63, 0, 0, 192, 127, 9]);
    expect([...decodeFloats(bytes.buffer)]).toEqual([1, NaN]);
  });

  it('finds the remedy in an error answer, and nothing in a foreign one', () => {
    expect(decodeError('{"error": "Reload."}')).toBe('Reload.');
    expect(decodeError('<html>')).toBeNull();
  });
});
