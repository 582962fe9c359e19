/** Findings that a person has put away, per run: kept by the browser, in no file. Pure. */

import {
  SEVERITIES,
  type Flag,
  type LeadingFinding,
  type Run,
  type RunSummary,
  type Severity,
} from '../api/types';
import { worstVerdict } from './verdict';

type Muted = ReadonlySet<string>;

/** One name for a finding of a run; a run cannot have a line break in its name. */
const keyOf = (run: string, rule: string, variable: string): string =>
  `${run}\n${rule}\n${variable}`;

const flagKey = (run: string, { rule, variables }: Flag): string =>
  keyOf(run, rule, variables[0] ?? '');

/** The oldest give way. */
const MOST = 200;

export const isMuted = (muted: Muted, run: string, flag: Flag): boolean =>
  muted.has(flagKey(run, flag));

export function withMuted(muted: Muted, run: string, flag: Flag, quiet: boolean): Muted {
  const next = new Set(muted);
  next.delete(flagKey(run, flag));
  if (quiet) next.add(flagKey(run, flag));
  return new Set([...next].slice(-MOST));
}

const heardOf = new WeakMap<Run, { muted: Muted; run: Run }>();

/**
 * A run with the findings that are not put away: they alone count. The same object for the same
 * choice, and the run itself where none of its findings is muted.
 */
export function heardRun(run: Run, muted: Muted): Run {
  const kept = heardOf.get(run);
  if (kept?.muted === muted) return kept.run;
  const quiet = run.flags.filter((flag) => isMuted(muted, run.run, flag));
  const flags = run.flags.filter((flag) => !quiet.includes(flag));
  const heard = quiet.length === 0 ? run : { ...run, flags, muted: quiet };
  heardOf.set(run, { muted, run: heard });
  return heard;
}

const heardIn = new WeakMap<readonly RunSummary[], { muted: Muted; runs: readonly RunSummary[] }>();

/** The same for what is listed of every run. */
export function heardRuns(runs: readonly RunSummary[], muted: Muted): readonly RunSummary[] {
  let kept = heardIn.get(runs);
  if (kept?.muted !== muted) {
    kept = { muted, runs: runs.map((summary) => heardSummary(summary, muted)) };
    heardIn.set(runs, kept);
  }
  return kept.runs;
}

function heardSummary(summary: RunSummary, muted: Muted): RunSummary {
  const { run, findings, undecided, verdict } = summary;
  const left = findings.filter(({ rule, variable }) => !muted.has(keyOf(run, rule, variable)));
  if (left.length === findings.length) return summary;
  // The worst first, and of these one that goes on.
  const rank = ({ severity, open }: LeadingFinding): number =>
    2 * SEVERITIES.indexOf(severity) + (open ? 0 : 1);
  const sorted = [...left].sort((a, b) => rank(a) - rank(b));
  const count = (severity: Severity): number =>
    left.filter((finding) => finding.severity === severity).length;
  const flagged: Record<string, Severity> = {};
  for (const { rule, severity } of sorted) flagged[rule] ??= severity;
  return {
    ...summary,
    verdict: verdict && worstVerdict(sorted[0]?.severity ?? null, undecided),
    counts: { critical: count('critical'), warning: count('warning'), info: count('info') },
    leading: sorted[0] ?? null,
    flagged,
    findings: left,
    muted: findings.length - left.length,
  };
}

/** The same for `tb-gradients check --rules FILE`: there a rule is switched off as a whole. */
export function rulesSetting(flags: readonly Flag[]): string {
  const rules = [...new Set(flags.map(({ rule }) => rule))].sort();
  return JSON.stringify(Object.fromEntries(rules.map((rule) => [rule, false])));
}
