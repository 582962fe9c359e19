import { describe, expect, it } from 'vitest';
import { sizeOf, stagesOf } from '../src/views/flags/path';

const row = (layer: string, operation: string, line = 0) => ({
  layer,
  operation,
  file: line > 0 ? 'model.py' : '',
  line,
  logSize: -1,
});

describe('the way of a gradient from the loss', () => {
  it('joins the operations of a layer that follow one another', () => {
    const path = [row('', 'Mean'), row('a', 'Mul', 3), row('a', 'MatMul'), row('', 'Exp', 9)];
    const stages = stagesOf([...path, row('a', 'Relu')]);
    expect(stages.map(({ name }) => name)).toEqual(['Mean', 'a', 'line 9', 'a']);
    expect(stages[1]?.rows.map(({ operation }) => operation)).toEqual(['Mul', 'MatMul']);
  });

  it('writes sizes that no float can hold', () => {
    expect(['exactly 0', '0.01', '1e−400']).toEqual([-Infinity, -2, -400].map(sizeOf));
  });
});
