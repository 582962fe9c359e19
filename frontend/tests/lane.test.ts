import { describe, expect, it } from 'vitest';

import { answer } from '../dev/fixtures';
import { createClient } from '../src/api/client';
import { decodeLane, LOSS_BIT, type Lane } from '../src/api/lane';
import { decodeRun } from '../src/api/decode';
import { denseLine } from '../src/views/charts/dense';
import { title } from '../src/scale/format';
import { namedLosses } from '../src/scale/losses';
import { NONFINITE } from '../src/scale/nonfinite';

const fetcher = ((address: string) => {
  const { status, type, body } = answer(address);
  return Promise.resolve(
    new Response(body as BodyInit, { status, headers: { 'content-type': type } }),
  );
}) as typeof fetch;
const client = createClient(fetcher);
const run = decodeRun(JSON.parse(answer('run?run=exploded').body as string));
const [variable] = run.variables;

describe('the dense lane', () => {
  it('has every step of a short range, and columns of neighbours of a long one', async () => {
    const path = variable?.path ?? '';
    const short = await client.lane(run, path, { columns: 2000, steps: [10, 59] });
    expect(short.first).toHaveLength(50);
    expect([...short.first]).toEqual([...short.last]);
    expect(short.norm.high.every((value) => value > 0)).toBe(true);

    const long = await client.lane(run, path, { columns: 100, steps: null });
    expect(long.first.length).toBeLessThanOrEqual(100);
    expect(long.first[0]).toBe(0);
    expect(long.last.at(-1)).toBe(4000);
  });

  it('draws the norm per root of the elements, and the loss as it is', () => {
    const lane: Lane = {
      first: Float64Array.of(0, 1),
      last: Float64Array.of(0, 1),
      norm: { low: Float32Array.of(8, 2), high: Float32Array.of(8, 4) },
      loss: { low: Float32Array.of(1, NaN), high: Float32Array.of(1, NaN) },
      moved: Float32Array.of(1, 0.5),
      marks: Uint8Array.of(0, LOSS_BIT),
      named: new Map([
        [
          'kl',
          {
            low: Float32Array.of(3, NaN),
            high: Float32Array.of(4, NaN),
            marks: Uint8Array.of(0, 1),
          },
        ],
      ]),
    };
    const data = { run, variable: variable?.path ?? null, lane };
    const root = Math.sqrt(variable?.elements ?? 0);
    const rms = denseLine(data, 'rms');
    expect(rms?.grid.high[1]).toBeCloseTo(4 / root, 6);
    expect(rms?.grid.low[1]).toBeCloseTo(2 / root, 6);
    expect([...(rms?.grid.marks ?? [])]).toEqual([0, 0]);
    const loss = denseLine(data, 'loss');
    expect([...(loss?.grid.marks ?? [])]).toEqual([0, NONFINITE]);
    expect(loss?.steps).toEqual([0, 1]);
    expect(denseLine(data, 'moved')?.grid.low[1]).toBe(0.5);
    const kl = denseLine(data, 'losses/kl');
    expect([kl?.grid.low[0], kl?.grid.high[0]]).toEqual([3, 4]);
    expect([...(kl?.grid.marks ?? [])]).toEqual([0, NONFINITE]);
    expect(denseLine(data, 'losses/mse')).toBeNull();
  });

  it('has the losses that have names, of any name', async () => {
    const lane = await client.lane(run, null, { columns: 2000, steps: [0, 9] });
    expect([...lane.named.keys()]).toEqual(['mse', '<b>kl</b>']);
    expect([...(lane.named.get('mse')?.low.slice(0, 2) ?? [])]).toEqual([1, 0.5]);
    expect(namedLosses(run.contextColumns)).toEqual(['losses/mse', 'losses/<b>kl</b>']);
    expect(title('losses/a_nan_b')).toBe('losses/a_nan_b');
    const other = decodeRun(JSON.parse(answer('run?run=healthy').body as string));
    const without = await client.lane(other, null, { columns: 2000, steps: null });
    expect(without.named.size).toBe(0);
  });

  it('is nothing to draw where a run has none', () => {
    const lane = decodeLane(new ArrayBuffer(8));
    expect(lane.first).toHaveLength(0);
    expect(denseLine({ run, variable: null, lane }, 'loss')).toBeNull();
    expect(denseLine(null, 'rms')).toBeNull();
  });
});
