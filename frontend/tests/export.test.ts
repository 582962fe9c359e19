import { describe, expect, it } from 'vitest';
import { answer } from '../dev/fixtures';
import { createClient } from '../src/api/client';
import { decodeRun } from '../src/api/decode';
import { float32Text, toCsv } from '../src/export/csv';
import { fileName, report, statisticCsv, variableCsv } from '../src/export/exports';
import { broken, toSvg } from '../src/export/picture';
import { initialState, NO_DATA, type State } from '../src/store/state';

const asked: string[] = [];
const client = createClient(((address: string) => {
  asked.push(address);
  const { status, type, body } = answer(address);
  return Promise.resolve(
    new Response(body as BodyInit, { status, headers: { 'content-type': type } }),
  );
}) as typeof fetch);

const run = (name: string) => decodeRun(JSON.parse(String(answer(`run?run=${name}`).body)));

function shown(change: Partial<State> = {}): State {
  return {
    ...initialState('light'),
    selectedRun: 'healthy',
    run: run('healthy'),
    stepRange: [10, 12],
    rowFilter: 'kernel$',
    ...change,
  };
}

async function linesOf(file: Promise<{ content: Blob }>): Promise<string[][]> {
  const text = await (await file).content.text();
  return text
    .trimEnd()
    .split('\r\n')
    .map((line) => line.split(','));
}

describe('a CSV', () => {
  it('quotes what needs it, and leaves a gap for what was not measured', () => {
    expect(
      toCsv(
        ['a "b"', 'c,d'],
        [
          ['x', Number.NaN],
          ['y', -Infinity],
        ],
      ),
    ).toBe('"a ""b""","c,d"\r\nx,\r\ny,-Infinity\r\n');
  });

  it('writes float32 numbers in full and no longer', () => {
    for (const value of [0.1, 1e-30, 16777217.5, 3.4028234e38, -2.5e-10, 1 / 3]) {
      const stored = Math.fround(value);
      expect(Math.fround(Number(float32Text(stored)))).toBe(stored);
    }
    expect(float32Text(Math.fround(0.1))).toBe('0.1');
  });

  it('holds the statistic as it is shown: zoomed and filtered', async () => {
    const [header, ...rows] = await linesOf(statisticCsv(shown(), client));
    expect(header).toEqual(['run', 'step', ...[0, 1, 2, 3].map((i) => `dense_${i}/kernel`)]);
    expect(rows.map(([name, step]) => [name, step])).toEqual([
      ['healthy', '10'],
      ['healthy', '11'],
      ['healthy', '12'],
    ]);
    expect(Number(rows[0]?.[2])).toBeGreaterThan(1e-4);
  });

  it('holds two runs with the same columns', async () => {
    const others = new Map([['deep_relu', { ...NO_DATA, run: run('deep_relu') }]]);
    const state = shown({ compareRuns: ['deep_relu'], others });
    const [header, ...rows] = await linesOf(statisticCsv(state, client));
    expect(header).toHaveLength(2 + 8);
    expect(rows).toHaveLength(6);
    expect(rows[0]?.at(-1)).toBe(''); // a layer that only the second run has
    expect(rows[5]?.at(-1)).not.toBe('');
  });

  it('holds everything about a variable', async () => {
    const state = shown({ selectedVariable: 'dense_1/bias' });
    const [header, ...rows] = await linesOf(variableCsv(state, client));
    expect(header).toContain('update_ratio');
    expect(rows).toHaveLength(3);
    await expect(variableCsv(shown(), client)).rejects.toThrow('Select a variable first.');
  });
});

describe('the report', () => {
  it('is asked for the runs that are shown, or for all', async () => {
    asked.length = 0;
    const state = shown({ compareRuns: ['deep_relu'] });
    const file = await report(state, client, false);
    await report(state, client, true);
    expect(asked).toEqual(['./report?run=healthy&run=deep_relu', './report']);
    expect(file.name).toBe('gradient-health-healthy-deep_relu.json');
    expect(JSON.parse(await file.content.text())).toMatchObject({
      schema: 1,
      runs: [{ run: 'healthy' }, { run: 'deep_relu' }],
    });
  });
});

describe('a picture', () => {
  it('as SVG clips every shape and escapes every text', () => {
    const clip = { x: 0, y: 0, width: 50, height: 20 };
    const font = { family: '"Roboto", Arial', size: 12, weight: '400' };
    const svg = toSvg({
      width: 100,
      height: 50,
      shapes: [
        { kind: 'rectangle', box: clip, colour: 'rgb(1, 2, 3)', clip },
        { kind: 'text', x: 1, y: 2, text: 'a < b & c', font, colour: 'black', clip },
      ],
    });
    expect(svg).toContain('a &lt; b &amp; c');
    expect(svg).toContain('font-family="&quot;Roboto&quot;, Arial"');
    expect(svg.match(/viewBox="0 0 50 20"/g)).toHaveLength(2);
  });

  it('says what it is in as many lines as it needs', () => {
    const lines = broken('one of three words-and-more', 12, (text) => text.length);
    expect(lines).toEqual(['one of three', 'words-and-more']);
  });

  it('gets a file name that every system takes', () => {
    expect(fileName('Heat-map train/run 1: größe?')).toBe('Heat-map-train-run-1-größe');
    expect(fileName('../')).toBe('export');
  });
});
