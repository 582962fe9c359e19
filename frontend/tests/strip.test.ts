import { describe, expect, it } from 'vitest';
import { stripMarks, worstRow, type RowState } from '../src/scale/strip';

const critical: RowState = { severity: 'critical', ended: false };
const warning: RowState = { severity: 'warning', ended: false };
const ended: RowState = { severity: 'critical', ended: true };

describe('the strip beside the rows', () => {
  it('marks neighbours together, beside their rows where all fit', () => {
    const marks = stripMarks([null, warning, critical, null, null, warning], 400, 20);
    expect(marks).toMatchObject([
      { from: 1, to: 3, rows: 2, top: 20, height: 40, severity: 'critical' },
      { from: 5, to: 6, rows: 1, top: 100, height: 20, severity: 'warning' },
    ]);
  });

  it('squeezes all rows into its height, and no mark vanishes', () => {
    const states = Array.from({ length: 5000 }, (_, i) => (i === 4998 ? critical : null));
    const [mark] = stripMarks(states, 300, 20);
    expect(mark).toMatchObject({ top: 296, height: 4 });
  });

  it('has few marks, however many findings there are', () => {
    const states = Array.from({ length: 5000 }, (_, i) => (i % 2 === 0 ? warning : null));
    expect(stripMarks(states, 300, 20).length).toBeLessThan(60);
  });

  it('leads to the first row with the worst finding that goes on', () => {
    expect(worstRow([null, warning, ended, critical, critical])).toBe(3);
    expect(worstRow([null, ended])).toBe(1);
    expect(worstRow([null])).toBe(-1);
  });
});
