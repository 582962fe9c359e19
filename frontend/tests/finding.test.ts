import { describe, expect, it } from 'vitest';
import { answer } from '../dev/fixtures';
import { decodeRun } from '../src/api/decode';
import type { Flag } from '../src/api/types';
import { findingMarkdown } from '../src/export/markdown';
import { findingLink } from '../src/store/findingpicture';
import { initialState } from '../src/store/state';
import { preferencesOf, startOf } from '../src/store/link';
import { heard, isMuted, rulesSetting, withMuted } from '../src/store/muted';

const run = decodeRun(JSON.parse(String(answer('run?run=deep_sigmoid').body)));
const [flag] = run.flags as [Flag, ...Flag[]];

describe('a finding', () => {
  it('is Markdown for an issue', () => {
    const text = findingMarkdown(flag, run, null, 'http://x/#y');
    expect(text).toContain(
      '### Vanishing gradient\n\n**critical**, since step 10, run `deep_sigmoid`',
    );
    expect(text).toContain('**Variables:** `dense_0/kernel`, `dense_1/kernel`');
    expect(text).toContain('- Saturating activation (90\u00a0%): All layers use `sigmoid`.');
    expect(text).toContain('- Start wider:\n  ```python\n  Dense(');
    expect(text).toContain('| Update ratio | 3e-8 | 1e-6 |');
    expect(text).toMatch(/\[Show it in TensorBoard\]\(http:\/\/x\/#y\)\n$/);
  });

  it('has an address that brings its picture', () => {
    expect(findingLink(flag, run, null)).toEqual({
      run: 'deep_sigmoid',
      flag: 'vanishing',
      step: '10',
      variable: 'dense_0/kernel',
      statistic: 'gradient_rms',
    });
  });

  it('is put away for its run, and only there, until it is brought back', () => {
    const muted = withMuted(new Set(), run.run, flag, true);
    expect(heard(run, muted)).toEqual(run.flags.slice(1));
    expect(isMuted(muted, 'another run', flag)).toBe(false);
    expect(heard(run, withMuted(muted, run.run, flag, false))).toEqual(run.flags);
    expect(rulesSetting([flag, flag])).toBe('{"vanishing_gradient":false}');
    const kept = preferencesOf({ ...initialState('light'), muted });
    expect(startOf({}, kept).muted).toEqual(muted);
    expect(startOf({}, { muted: 'no JSON' }).muted).toEqual(new Set());
  });
});
