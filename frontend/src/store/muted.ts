/** Findings that a person has put away, per run: kept by the browser, in no file. Pure. */

import type { Flag, Run } from '../api/types';

/** One name for a finding of a run; a run cannot have a line break in its name. */
const keyOf = (run: string, flag: Flag): string =>
  `${run}\n${flag.rule}\n${flag.variables[0] ?? ''}`;

/** The oldest give way. */
const MOST = 200;

export const isMuted = (muted: ReadonlySet<string>, run: string, flag: Flag): boolean =>
  muted.has(keyOf(run, flag));

export function withMuted(
  muted: ReadonlySet<string>,
  run: string,
  flag: Flag,
  quiet: boolean,
): ReadonlySet<string> {
  const next = new Set(muted);
  next.delete(keyOf(run, flag));
  if (quiet) next.add(keyOf(run, flag));
  return new Set([...next].slice(-MOST));
}

/** The findings of a run that are not put away. */
export function heard(run: Run, muted: ReadonlySet<string>): readonly Flag[] {
  if (muted.size === 0) return run.flags;
  return run.flags.filter((flag) => !isMuted(muted, run.run, flag));
}

/** The same for `tb-gradients check --rules FILE`: there a rule is switched off as a whole. */
export function rulesSetting(flags: readonly Flag[]): string {
  const rules = [...new Set(flags.map(({ rule }) => rule))].sort();
  return JSON.stringify(Object.fromEntries(rules.map((rule) => [rule, false])));
}
