import { describe, expect, it } from 'vitest';
import { columnEdges, decodePicture } from '../src/api/picture';

/** As the server packs it: header, then smallest and largest values, [variables, columns] each. */
function packed(kind: number, low: number, high: number, columns: number, codes: number[]) {
  const body = new ArrayBuffer(24 + codes.length);
  const view = new DataView(body);
  [kind, 3, 10, columns].forEach((value, i) => {
    view.setUint32(4 * i, value, true);
  });
  view.setFloat32(16, low, true);
  view.setFloat32(20, high, true);
  new Uint8Array(body, 24).set(codes);
  return body;
}

describe('a picture of a matrix', () => {
  it('has columns of neighbouring frames', () => {
    expect([...columnEdges(3, 10, 4)]).toEqual([3, 5, 8, 10, 13]);
    expect([...columnEdges(0, 2, 9)]).toEqual([0, 1, 2]);
    expect([...columnEdges(0, 0, 9)]).toEqual([0]);
  });

  it('turns rows of variables into columns of frames', () => {
    const body = packed(0, 0, 1, 2, [2, 255, 0, 1, 2, 255, 0, 1]);
    const { edges, high } = decodePicture(body);
    expect([...edges]).toEqual([3, 8, 13]);
    expect([...high]).toEqual([0, NaN, 1, 0]);
  });

  it('rises by the logarithm, and keeps zero and missing apart', () => {
    const { low, high } = decodePicture(packed(1, 1e-8, 1, 3, [0, 1, 2, 0, 1, 255]));
    expect([...low.subarray(0, 2)]).toEqual([NaN, 0]);
    expect(low[2]).toBeCloseTo(1e-8, 12);
    expect(high[2]).toBeCloseTo(1, 5);
  });

  it('has both signs around zero', () => {
    const { low, high } = decodePicture(packed(2, 1e-4, 1, 2, [2, 128, 129, 255]));
    expect(low[0]).toBeCloseTo(-1, 5);
    expect(low[1]).toBeCloseTo(-1e-4, 8);
    expect(high[0]).toBeCloseTo(1e-4, 8);
    expect(high[1]).toBeCloseTo(1, 5);
  });

  it('may be empty', () => {
    expect(decodePicture(packed(1, 0.1, 1, 0, [])).high).toHaveLength(0);
  });
});
