import { describe, expect, it } from 'vitest';
import { answer } from '../dev/fixtures';
import { decodeRun, decodeRuns } from '../src/api/decode';
import type { Flag } from '../src/api/types';
import { findingMarkdown } from '../src/export/markdown';
import { findingLink } from '../src/store/findingpicture';
import { initialState } from '../src/store/state';
import { preferencesOf, startOf } from '../src/store/link';
import { verdictOf, verdictSentence } from '../src/store/selectors';
import { heardRun, heardRuns, isMuted, rulesSetting, withMuted } from '../src/store/muted';

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
    expect(heardRun(run, muted).flags).toEqual(run.flags.slice(1));
    expect(heardRun(run, muted).muted).toEqual([flag]);
    expect(heardRun(run, muted)).toBe(heardRun(run, muted));
    expect(isMuted(muted, 'another run', flag)).toBe(false);
    expect(heardRun(run, withMuted(muted, run.run, flag, false))).toBe(run);
    expect(verdictSentence(heardRun(run, muted), true)).toMatch(/ · 1 muted$/);
    expect(rulesSetting([flag, flag])).toBe('{"vanishing_gradient":false}');
    const kept = preferencesOf({ ...initialState('light'), muted });
    expect(startOf({}, kept).muted).toEqual(muted);
    expect(startOf({}, { muted: 'no JSON' }).muted).toEqual(new Set());
  });

  it('that is muted counts nowhere, and what is left makes the verdict', () => {
    const all = run.flags.reduce<ReadonlySet<string>>(
      (muted, one) => withMuted(muted, run.run, one, true),
      new Set(),
    );
    const heard = heardRun(run, all);
    expect(verdictOf(heard)).toBe(run.undecided === '' ? 'healthy' : 'undecided');
    expect(verdictSentence(heard)).toContain('nothing else found');

    const finding = (rule: string, severity: string, variable: string, open = true) => ({
      ...{ rule, severity, variable, open },
      first_step: 7,
    });
    const runs = decodeRuns({
      runs: [
        {
          run: 'a',
          verdict: 'critical',
          counts: { critical: 1, warning: 1, info: 1 },
          undecided: true,
          findings: [
            finding('dead_units', 'info', 'k'),
            finding('not_learning', 'warning', '', false),
            finding('nonfinite_loss', 'critical', 'k'),
          ],
        },
        { run: 'b', verdict: 'healthy' },
      ],
    });
    const without = heardRuns(runs, new Set(['a\nnonfinite_loss\nk']));
    expect(without[1]).toBe(runs[1]);
    expect(without[0]).toMatchObject({
      verdict: 'warning',
      counts: { critical: 0, warning: 1, info: 1 },
      leading: { rule: 'not_learning' },
      flagged: { dead_units: 'info', not_learning: 'warning' },
      muted: 1,
    });
    const quiet = heardRuns(runs, new Set(['a\nnonfinite_loss\nk', 'a\nnot_learning\n']));
    expect(quiet[0]?.verdict).toBe('undecided');
  });
});
