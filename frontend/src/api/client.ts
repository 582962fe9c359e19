/**
 * The one module that talks to the server.
 *
 * Addresses are relative: the page's base is the plugin's own folder, so path prefixes
 * and proxies need no care here. A failure is an Error whose message is a sentence for
 * the reader, the server's own one where it sent one.
 */

import {
  decodeError,
  decodeFloats,
  decodeRules,
  decodeRun,
  decodeRuns,
  decodeVerdict,
} from './decode';
import { decodeLane, type Lane } from './lane';
import { decodePicture, type Picture } from './picture';
import type { RuleBook, Run, RunSummary, RunVerdict } from './types';

/** A run and the state of it that numbers are wanted for. */
type RunState = Pick<Run, 'run' | 'revision'>;

/** As pairs where a name occurs more than once. */
type Parameters = Record<string, string> | string[][];

/** Part of a run, in so many columns at most. */
export interface Cut {
  readonly columns: number;
  /** First and last step; null: all. */
  readonly steps: readonly [number, number] | null;
}

/** The run has grown since it was asked for: its steps have to be read again. */
export class StaleRunError extends Error {}

/** What the server says of runs that have changed. */
export interface News {
  readonly runs: readonly RunSummary[];
  /** The server's clock, in milliseconds since the epoch; null: it does not say. */
  readonly now: number | null;
}

export interface Client {
  /** `patience`: seconds that the server may judge runs whose writer stored no verdict. */
  runs(patience?: number): Promise<RunSummary[]>;
  /**
   * The same of some runs, or of all, if anything was written since they were last asked for;
   * otherwise none, in a few bytes.
   */
  news(among: readonly string[] | null, patience: number): Promise<News>;
  /** `glance`: of a large run some frames will do. */
  run(run: string, patience?: number, glance?: boolean): Promise<Run>;
  /** The verdict that `run` did not wait for. */
  verdict(run: RunState): Promise<RunVerdict>;
  /** [steps, variables], row-major. */
  matrix(run: RunState, statistic: string): Promise<Float32Array>;
  /** The same as a picture, for a run that is too large to send. */
  picture(run: RunState, statistic: string, cut: Cut): Promise<Picture>;
  /** [columns, variables]: what was not finite, in the bits of `nonfinite.ts`. */
  marks(run: RunState, cut: Cut): Promise<Uint8Array>;
  /** [steps, statistics] of one variable. */
  series(run: RunState, variable: string): Promise<Float32Array>;
  /** The dense lane of one variable; null: the loss and whether weights moved. */
  lane(run: RunState, variable: string | null, cut: Cut): Promise<Lane>;
  /** [steps, context columns]. */
  context(run: RunState): Promise<Float32Array>;
  /** [histogram steps, bins] of one variable. */
  histogram(run: RunState, variable: string): Promise<Float32Array>;
  rules(): Promise<RuleBook>;
  /** The report of these runs as the server words it; of all runs if none is named. */
  report(runs: readonly string[]): Promise<unknown>;
}

const NOT_MODIFIED = 304;
const keyOf = (among: readonly string[] | null): string => (among ?? []).join('\n');

const stateOf = ({ run, revision }: RunState): Record<string, string> =>
  revision === '' ? { run } : { run, revision };
const waiting = (patience: number | undefined): Record<string, string> =>
  patience === undefined ? {} : { patience: String(patience) };

export function createClient(fetcher: typeof fetch = (...args) => fetch(...args)): Client {
  /** What the server calls the state of the runs that were answered, by which they are. */
  const states = new Map<string, string>();

  async function get(
    route: string,
    parameters: Parameters = {},
    known: string | null = null,
  ): Promise<Response> {
    const query = new URLSearchParams(parameters).toString();
    let response: Response;
    try {
      response = await fetcher(
        query === '' ? `./${route}` : `./${route}?${query}`,
        known === null ? {} : { headers: { 'If-None-Match': known } },
      );
    } catch {
      throw new Error('TensorBoard does not answer. Is it still running?');
    }
    if (!response.ok && response.status !== NOT_MODIFIED) {
      const sentence = decodeError(await response.text());
      if (response.status === 409) throw new StaleRunError(sentence ?? 'The run has changed.');
      throw new Error(sentence ?? `TensorBoard answered ${response.status} for “${route}”.`);
    }
    return response;
  }
  async function runs(
    among: readonly string[] | null,
    patience: number | undefined,
    known: string | null = null,
  ): Promise<News> {
    const parameters = [
      ...Object.entries(waiting(patience)),
      ...(among ?? []).map((run) => ['run', run]),
    ];
    const response = await get('runs', parameters, known);
    const now = Date.parse(response.headers.get('date') ?? '');
    const reported = { runs: [], now: Number.isNaN(now) ? null : now };
    if (response.status === NOT_MODIFIED) return reported;
    const state = response.headers.get('etag');
    if (state === null) states.delete(keyOf(among));
    else states.set(keyOf(among), state);
    return { ...reported, runs: decodeRuns(await response.json()) };
  }
  const json = async (route: string, parameters?: Parameters): Promise<unknown> =>
    (await get(route, parameters)).json();
  const bytes = async (
    route: string,
    run: RunState,
    parameters: Record<string, string> = {},
  ): Promise<ArrayBuffer> => (await get(route, { ...stateOf(run), ...parameters })).arrayBuffer();
  const floats = async (
    route: string,
    run: RunState,
    parameters: Record<string, string> = {},
  ): Promise<Float32Array> => decodeFloats(await bytes(route, run, parameters));
  const part = ({ columns, steps }: Cut): Record<string, string> => ({
    columns: String(columns),
    ...(steps ? { from: String(steps[0]), to: String(steps[1]) } : {}),
  });

  return {
    runs: async (patience) => [...(await runs(null, patience)).runs],
    news: (among, patience) => runs(among, patience, states.get(keyOf(among)) ?? null),
    run: async (run, patience, glance = false) =>
      decodeRun(
        await json('run', { run, ...waiting(patience), ...(glance ? { glance: '' } : {}) }),
      ),
    verdict: async (run) => decodeVerdict(await json('verdict', stateOf(run))),
    matrix: (run, statistic) => floats('matrix', run, { statistic }),
    picture: async (run, statistic, cut) =>
      decodePicture(await bytes('matrix', run, { statistic, ...part(cut) })),
    marks: async (run, cut) => new Uint8Array(await bytes('marks', run, part(cut))),
    series: (run, variable) => floats('series', run, { variable }),
    lane: async (run, variable, cut) => {
      const which = variable === null ? {} : { variable };
      return decodeLane(await bytes('lane', run, { ...which, ...part(cut) }));
    },
    context: (run) => floats('context', run),
    histogram: (run, variable) => floats('histogram', run, { variable }),
    report: (runs) =>
      json(
        'report',
        runs.map((run) => ['run', run]),
      ),
    rules: async () => decodeRules(await json('rules')),
  };
}
