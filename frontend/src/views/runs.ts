/** Every run in one line: its verdict, and the way to open it or to put it beside another. */

import { SEVERITIES, type RunState, type RunSummary } from '../api/types';
import { fill, h, onChange, type Child } from '../dom';
import type { Theme } from '../host';
import { runColour } from '../scale/colour';
import { formatCount, plural, shortNames, splitName } from '../scale/format';
import { isPattern, matcher, nothingMatches } from '../scale/pattern';
import type { Actions } from '../store/actions';
import { orderRuns, sortRuns, type RunEntry } from '../store/selectors';
import { MOST_SIDES, RUN_ORDERS, type RunOrder } from '../store/state';
import { icon } from './icons';
import type { View } from './view';

/** More runs than this can be filtered and sorted. */
const MANY_RUNS = 4;

const WITHOUT_VERDICT: Readonly<Record<RunState, string>> = {
  judged: '',
  judging: 'being judged …',
  empty: 'no frames yet',
  unreadable: 'cannot be read',
};

const ORDER_NAMES: Readonly<Record<RunOrder, string>> = {
  tensorboard: 'Oldest first',
  verdict: 'Worst first',
  name: 'By name',
};

export function createRuns(parent: HTMLElement, actions: Actions): View {
  const count = h('span', { class: 'count' });
  const order = h(
    'select',
    {
      'aria-label': 'Order of the runs',
      onchange: () => {
        actions.setRunOrder(RUN_ORDERS.find((name) => name === order.value) ?? 'tensorboard');
      },
    },
    RUN_ORDERS.map((name) => h('option', { value: name }, ORDER_NAMES[name])),
  );
  const filter = h('input', {
    type: 'search',
    placeholder: 'Filter (regex)',
    'aria-label': 'Filter runs by regular expression',
    oninput: () => {
      actions.setRunFilter(filter.value);
    },
  });
  const tools = h('div', { class: 'list-tools' }, filter, order);
  const list = h('ul', { class: 'run-list' });
  const nothing = h('p', { class: 'nothing' });
  const element = h(
    'section',
    { class: 'runs', 'aria-labelledby': 'runs' },
    h('h2', { id: 'runs' }, 'Runs ', count),
    tools,
    list,
    nothing,
  );
  parent.append(element);
  list.addEventListener('keydown', (event) => {
    if (event.key !== 'ArrowDown' && event.key !== 'ArrowUp') return;
    event.preventDefault();
    moveFocus(list, event.key === 'ArrowDown' ? 1 : -1);
  });

  const draw = onChange(
    (
      runs: readonly RunSummary[] | null,
      hostRuns: readonly string[],
      selected: string | null,
      compared: readonly string[],
      wanted: string,
      sorting: RunOrder,
      theme: Theme,
    ) => {
      const entries = orderRuns(runs ?? [], hostRuns);
      const matches = matcher(wanted);
      const shown = sortRuns(entries, sorting).filter(({ summary }) => matches(summary.run));
      element.hidden = entries.length < 2;
      tools.hidden = entries.length <= MANY_RUNS && wanted === '';
      fill(
        count,
        shown.length < entries.length
          ? `${formatCount(shown.length)} of ${formatCount(entries.length)}`
          : formatCount(entries.length),
      );
      const focused = list.contains(document.activeElement)
        ? document.activeElement?.getAttribute('data-focus')
        : null;
      const short = shortNames(shown.map(({ summary }) => summary.run));
      fill(
        list,
        shown.map((entry, i) => {
          const shared = entry.summary.run.length - (short[i]?.length ?? 0);
          return runRow(entry, shared, selected, compared, theme, actions);
        }),
      );
      if (focused)
        list.querySelector<HTMLElement>(`[data-focus="${CSS.escape(focused)}"]`)?.focus();
      nothing.hidden = shown.length > 0;
      nothing.textContent = nothingMatches('run', wanted);
    },
  );
  const reveal = onChange((selected: string | null, known: boolean) => {
    if (known && selected !== null) {
      list.querySelector('.run-row[aria-current]')?.scrollIntoView({ block: 'nearest' });
    }
  });

  return {
    update(state) {
      draw(
        state.runs,
        state.hostRuns,
        state.selectedRun,
        state.compareRuns,
        state.runFilter,
        state.runOrder,
        state.theme,
      );
      reveal(state.selectedRun, state.runs !== null);
      order.value = state.runOrder;
      if (document.activeElement !== filter) filter.value = state.runFilter;
      filter.setAttribute('aria-invalid', String(!isPattern(state.runFilter)));
    },
    destroy() {
      element.remove();
    },
  };
}

function runRow(
  entry: RunEntry,
  shared: number,
  selected: string | null,
  compared: readonly string[],
  theme: Theme,
  actions: Actions,
): HTMLElement {
  const { run, lastStep, frames, state, error } = entry.summary;
  const told =
    state === 'unreadable'
      ? `cannot be read. ${error}`
      : `${plural(frames, 'frame')}, last step ${formatCount(lastStep)}`;
  const beside = compared.includes(run);
  const full = !beside && compared.length >= MOST_SIDES - 1;
  return h(
    'li',
    { 'data-run': run, 'data-beside': beside },
    h(
      'button',
      {
        class: 'run-row',
        type: 'button',
        'aria-current': run === selected,
        'data-focus': `run ${run}`,
        title: `${runName(run)}: ${told}`,
        onclick: () => {
          actions.selectRun(run);
        },
      },
      runLabel(run, entry.position, theme, nameParts(runName(run), shared)),
      verdictBadge(entry.summary),
    ),
    h(
      'button',
      {
        class: 'run-compare',
        type: 'button',
        hidden: run === selected,
        'aria-pressed': String(beside),
        'aria-label': `Show ${runName(run)} beside the selected run`,
        disabled: full,
        title: beside
          ? 'Put it away'
          : full
            ? `There is room for ${MOST_SIDES} runs`
            : 'Show beside the selected run',
        'data-focus': `compare ${run}`,
        onclick: () => {
          actions.toggleBeside(run);
        },
      },
      icon('compare'),
    ),
  );
}

export const runName = (run: string): string => (run === '.' ? '. (log folder itself)' : run);

export function runLabel(
  run: string,
  position: number,
  theme: Theme,
  name: Child = runName(run),
): HTMLElement {
  return h(
    'span',
    { class: 'run-label' },
    h('span', { class: 'run-dot', style: `background: ${runColour(position, theme)}` }),
    h('span', { class: 'run-name', title: runName(run) }, name),
  );
}

/**
 * A name that is cut off in its middle where there is little room, and before that its first
 * `shared` characters, with which all names beside it begin.
 */
export function nameParts(name: string, shared = 0): Child[] {
  const [start, end] = splitName(name.slice(shared));
  return [
    shared > 0 && h('span', { class: 'name-start name-shared' }, name.slice(0, shared)),
    h('span', { class: 'name-start' }, start),
    h('span', {}, end),
  ];
}

/** Counts by severity, and the one word that a run without a warning has. */
export function verdictBadge({ state, verdict, counts }: RunSummary): HTMLElement {
  const found = SEVERITIES.filter((severity) => counts[severity] > 0);
  const word = verdict ?? WITHOUT_VERDICT[state];
  const worded = verdict === null || verdict === 'undecided' || found.length === 0;
  const tallies =
    verdict !== null &&
    found.map((severity) =>
      h(
        'span',
        { class: 'tally', 'data-verdict': severity, title: plural(counts[severity], severity) },
        icon(severity),
        h('span', { 'aria-hidden': 'true' }, formatCount(counts[severity])),
        h('span', { class: 'visually-hidden' }, plural(counts[severity], severity)),
      ),
    );
  return h(
    'span',
    { class: 'badge', 'data-verdict': worded ? verdict : null },
    worded && [verdict && icon(verdict), word],
    tallies,
  );
}

function moveFocus(list: HTMLElement, by: number): void {
  const buttons = [...list.querySelectorAll<HTMLElement>('.run-row')];
  const here = document.activeElement?.closest('li');
  const at = buttons.findIndex((button) => button.parentElement === here);
  buttons[(at + by + buttons.length) % buttons.length]?.focus();
}
