/** Whether a run grows, and since when it does not. Pure. */

import { formatAge, formatCount } from '../scale/format';
import type { State } from './state';

/** A run whose newest frame is older than this has stopped; */
const LIVE_SECONDS = 180;
/** but frames of a long run are far apart. */
const MISSED_FRAMES = 3;
/** Nobody waits for a run any more that has stopped so many seconds ago. */
const FORGOTTEN_SECONDS = 7 * 24 * 3600;

export interface Pulse {
  readonly kind: 'live' | 'stopped' | 'lost';
  readonly text: string;
}

/** Of the selected run; null: there is nothing to say. `now`: of the browser, in milliseconds. */
export function pulseOf(state: State, now: number): Pulse | null {
  if (!state.connected) return { kind: 'lost', text: 'TensorBoard does not answer' };
  const summary = state.runs?.find(({ run }) => run === state.selectedRun);
  if (!summary || Number.isNaN(summary.newest)) return null;
  const { run } = state;
  // The run itself may be newer than the list of runs, which was read before.
  const read = run !== null && run.run === summary.run ? run : null;
  const newest = Math.max(summary.newest, read?.wallTimes.at(-1) ?? 0);
  const age = ageOf(newest, state, now);
  if (age <= patienceOf(state)) {
    const step = formatCount(Math.max(summary.lastStep, read?.steps.at(-1) ?? 0));
    return { kind: 'live', text: `live · step ${step} · ${formatAge(age)} ago` };
  }
  return age < FORGOTTEN_SECONDS
    ? { kind: 'stopped', text: `stopped ${formatAge(age)} ago` }
    : null;
}

/** Whether any run may have something new soon. */
export function isGrowing(state: State, now: number): boolean {
  const newest = (state.runs ?? []).map((run) => ageOf(run.newest, state, now));
  return newest.some((age) => age <= LIVE_SECONDS) || pulseOf(state, now)?.kind === 'live';
}

/** Seconds; never negative, as the clock of the training's machine may be ahead. */
const ageOf = (newest: number, { clockSkew }: State, now: number): number =>
  Math.max(0, (now + clockSkew) / 1000 - newest);

function patienceOf({ run, selectedRun }: State): number {
  const times = run !== null && run.run === selectedRun ? run.wallTimes : [];
  const spacing = (times.at(-1) ?? 0) - (times.at(-2) ?? times.at(-1) ?? 0);
  return Math.max(LIVE_SECONDS, MISSED_FRAMES * (Number.isNaN(spacing) ? 0 : spacing));
}
