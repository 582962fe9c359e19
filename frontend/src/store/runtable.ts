/** All runs beside each other: what distinguishes them, and which rules found something. Pure. */

import { SEVERITIES, type RunSummary, type Severity } from '../api/types';

/** More settings than this would leave no room for the rest. */
const MOST_SETTINGS = 6;

/** Names of the settings that are not the same in all of these runs, the most telling first. */
export function differingSettings(runs: readonly RunSummary[]): readonly string[] {
  const known = runs.filter(({ settings }) => Object.keys(settings).length > 0);
  const names = [...new Set(known.flatMap(({ settings }) => Object.keys(settings)))];
  const differ = names.filter(
    (name) => new Set(known.map(({ settings }) => settings[name] ?? '')).size > 1,
  );
  return differ.slice(0, MOST_SETTINGS);
}

/** The rules that found something in any of these runs: worst first, then the most frequent. */
export function flaggedRules(runs: readonly RunSummary[]): readonly string[] {
  const found = new Map<string, { worst: number; count: number }>();
  for (const { flagged } of runs) {
    for (const [rule, severity] of Object.entries(flagged)) {
      const before = found.get(rule) ?? { worst: SEVERITIES.length, count: 0 };
      found.set(rule, {
        worst: Math.min(before.worst, rankOf(severity)),
        count: before.count + 1,
      });
    }
  }
  return [...found]
    .sort(([, a], [, b]) => a.worst - b.worst || b.count - a.count)
    .map(([rule]) => rule);
}

const rankOf = (severity: Severity): number => SEVERITIES.indexOf(severity);
