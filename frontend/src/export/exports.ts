/**
 * What the tab shows, as files.
 *
 * In:  the state at the moment of asking; exact numbers from the server, since the state may
 *      hold rounded ones.
 * Out: a file name and its content. Saving is the browser's affair: `save`.
 */

import type { Client } from '../api/client';
import type { Run } from '../api/types';
import { jointSteps } from '../scale/axis';
import { formatInterval, title } from '../scale/format';
import {
  columnOf,
  columnsIn,
  jointVariables,
  rowMatcher,
  shownFrames,
  shownSides,
  shownStatistic,
} from '../store/selectors';
import type { State } from '../store/state';
import { toCsv, type Cell } from './csv';
import { takePicture, toPng, toSvg } from './picture';
import { TALLEST, unroll } from './unroll';

export interface File {
  readonly name: string;
  readonly content: Blob;
  /** What it lacks, as a sentence. */
  readonly note?: string;
}

const csv = (name: string, header: readonly string[], rows: readonly Cell[][]): File => ({
  name: `${fileName(name)}.csv`,
  content: new Blob([toCsv(header, rows)], { type: 'text/csv' }),
});

const shownRuns = (state: State): Run[] =>
  shownSides(state).flatMap(({ run }) => (run === null ? [] : [run]));

/** The statistic shown: one line per run and step of the zoom, one column per variable. */
export async function statisticCsv(state: State, client: Client): Promise<File> {
  const runs = shownRuns(state);
  const [first] = runs;
  if (!first) throw new Error('There is no run to export yet.');
  const statistic = shownStatistic(first, state.statistic);
  const matches = rowMatcher(state.rowFilter, state.onlyFlagged, ...runs);
  const variables = jointVariables(...runs).filter(({ path }) => matches(path));
  const rows: Cell[][] = [];
  for (const run of runs.filter((candidate) => columnOf(candidate, statistic))) {
    const values = await client.matrix(run, statistic);
    const columns = columnsIn(run, variables);
    const { from, to } = shownFrames(run.steps, state.stepRange);
    for (let frame = from; frame < to; frame++) {
      const cells = Array.from(columns, (column) =>
        column < 0 ? Number.NaN : (values[frame * run.variables.length + column] ?? Number.NaN),
      );
      rows.push([run.run, run.steps[frame] ?? 0, ...cells]);
    }
  }
  const names = runs.map(({ run }) => run).join(' ');
  return csv(`${names} ${statistic}`, ['run', 'step', ...variables.map(({ path }) => path)], rows);
}

/** All statistics of the selected variable: one line per run and step of the zoom. */
export async function variableCsv(state: State, client: Client): Promise<File> {
  const path = state.selectedVariable;
  const runs = shownRuns(state).filter(({ variables }) => variables.some((v) => v.path === path));
  const [first] = runs;
  if (!first || path === null) throw new Error('Select a variable first.');
  const names = first.statistics.map(({ name }) => name);
  const rows: Cell[][] = [];
  for (const run of runs) {
    const values = await client.series(run, path);
    const columns = names.map((name) => run.statistics.findIndex((column) => column.name === name));
    const { from, to } = shownFrames(run.steps, state.stepRange);
    for (let frame = from; frame < to; frame++) {
      const cells = columns.map((column) =>
        column < 0 ? Number.NaN : (values[frame * run.statistics.length + column] ?? Number.NaN),
      );
      rows.push([run.run, run.steps[frame] ?? 0, ...cells]);
    }
  }
  const file = `${runs.map(({ run }) => run).join(' ')} ${path}`;
  return csv(file, ['run', 'step', ...names], rows);
}

/** The report of the shown runs, or of all, as `tb-gradients check --format json` writes it. */
export async function report(state: State, client: Client, all: boolean): Promise<File> {
  const runs = all ? [] : shownSides(state).map(({ name }) => name);
  const text = JSON.stringify(await client.report(runs), null, 2);
  return {
    name: `${fileName(['gradient health', ...runs].join(' '))}.json`,
    content: new Blob([text], { type: 'application/json' }),
  };
}

/** An element marked with `data-picture`, its name; whole, unless that is too tall. */
export async function picture(
  state: State,
  element: HTMLElement,
  format: 'png' | 'svg',
): Promise<File> {
  const name = element.dataset.picture ?? '';
  const runs = shownRuns(state).map(({ run }) => run);
  const [run] = shownRuns(state);
  const parts = [
    name,
    runs.join(' and '),
    element.dataset.pictureOf === 'variable'
      ? state.selectedVariable
      : run && title(shownStatistic(run, state.statistic)),
    element.dataset.pictureAxis === 'elsewhere' && interval(state),
  ].filter((part) => part);
  const { height, rollUp } = unroll(element);
  let content: Blob | Promise<Blob>;
  try {
    const taken = takePicture(element, parts.join(' · '));
    content =
      format === 'png'
        ? toPng(taken)
        : new Blob([toSvg(taken)], { type: 'image/svg+xml;charset=utf-8' });
  } finally {
    rollUp(); // All is drawn; only its compression may be awaited.
  }
  const file = { name: `${fileName(parts.join(' '))}.${format}`, content: await content };
  return height > TALLEST ? { ...file, note: TOO_TALL } : file;
}

const TOO_TALL =
  'It shows the rows in view: all of them would be too tall for a picture. Close modules or filter the variables to have all.';

/** In words, what the axis over steps shows on the page. */
function interval(state: State): string {
  const steps = jointSteps(...shownRuns(state).map((run) => run.steps));
  const { from, to } = shownFrames(steps, state.stepRange);
  return formatInterval(steps[from] ?? 0, steps[to - 1] ?? 0, false);
}

/** A name that every system takes. */
export function fileName(text: string): string {
  return text.replace(/[^\p{L}\p{N}._-]+/gu, '-').replace(/^[-.]+|[-.]+$/g, '') || 'export';
}

/** Hand a file to the browser, as a download. */
export function save({ name, content }: File): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  // The download has the content once the click is through.
  setTimeout(() => {
    URL.revokeObjectURL(link.href);
  }, 10_000);
}
