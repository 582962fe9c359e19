/** Every run in one line: its verdict, and the way to open it or to put it beside another. */

import { SEVERITIES, type RuleBook, type RunState, type RunSummary } from '../api/types';
import { breakable, fill, h, onChange, type Child } from '../dom';
import type { Theme } from '../host';
import { runColour } from '../scale/colour';
import { formatCount, formatNumber, plural, splitName } from '../scale/format';
import { isPattern, matcher, nothingMatches } from '../scale/pattern';
import type { Actions } from '../store/actions';
import { orderRuns, ruleTitle, sortRuns, type RunEntry } from '../store/selectors';
import { heardRuns } from '../store/muted';
import { MOST_SIDES, RUN_ORDERS, type RunOrder } from '../store/state';
import { icon } from './icons';
import { createRoving } from './roving';
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
  verdict: 'Worst first',
  tensorboard: 'Oldest first',
  name: 'By name',
  loss: 'By last loss',
};

export function createRuns(parent: HTMLElement, actions: Actions): View {
  const count = h('span', { class: 'count' });
  const order = h(
    'select',
    {
      'aria-label': 'Order of the runs',
      onchange: () => {
        actions.setRunOrder(RUN_ORDERS.find((name) => name === order.value) ?? 'verdict');
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
  const table = h(
    'button',
    {
      type: 'button',
      title: 'All runs side by side: findings, loss, settings, rules',
      onclick: () => {
        actions.showRunTable(true);
      },
    },
    'Table',
  );
  const list = h('ul', { class: 'run-list' });
  const nothing = h('p', { class: 'nothing' });
  const element = h(
    'section',
    { class: 'runs', 'aria-labelledby': 'runs' },
    h('div', { class: 'list-head' }, h('h2', { id: 'runs' }, 'Runs ', count), table),
    tools,
    list,
    nothing,
  );
  parent.append(element);
  const roving = createRoving(list, 'button', '.run-row');

  const draw = onChange(
    (
      runs: readonly RunSummary[] | null,
      hostRuns: readonly string[],
      selected: string | null,
      compared: readonly string[],
      wanted: string,
      sorting: RunOrder,
      rules: RuleBook | null,
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
      fill(
        list,
        shown.map((entry) => runRow(entry, selected, compared, rules, theme, actions)),
      );
      if (focused)
        list.querySelector<HTMLElement>(`[data-focus="${CSS.escape(focused)}"]`)?.focus();
      roving.update();
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
        state.runs && heardRuns(state.runs, state.muted),
        state.hostRuns,
        state.selectedRun,
        state.compareRuns,
        state.runFilter,
        state.runOrder,
        state.rules,
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
  selected: string | null,
  compared: readonly string[],
  rules: RuleBook | null,
  theme: Theme,
  actions: Actions,
): HTMLElement {
  const { run, lastStep, frames, state, error, leading, loss } = entry.summary;
  const reported =
    state === 'unreadable'
      ? `cannot be read. ${error}`
      : [
          `${plural(frames, 'frame')}, last step ${formatCount(lastStep)}`,
          lossText(loss) && `last loss ${lossText(loss)}`,
          leading &&
            `${ruleTitle(rules, leading.rule)} since step ${formatCount(leading.firstStep)}`,
        ]
          .filter(Boolean)
          .join(', ');
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
        title: `${runName(run)}: ${reported}`,
        onclick: () => {
          actions.selectRun(run);
        },
      },
      runLabel(run, entry.position, theme, breakable(runName(run))),
      verdictBadge(entry.summary),
      leading !== null &&
        h(
          'span',
          { class: 'run-gist' },
          `${ruleTitle(rules, leading.rule)} · step ${formatCount(leading.firstStep)}`,
        ),
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

/** Empty where none was measured. */
export function lossText(loss: number): string {
  if (Number.isNaN(loss)) return '';
  return Number.isFinite(loss) ? formatNumber(loss) : 'NaN or Inf';
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

/** A name that is cut off in its middle where there is little room: runs differ at both ends. */
export function nameParts(name: string): Child[] {
  const [start, end] = splitName(name);
  return [h('span', { class: 'name-start' }, start), h('span', {}, end)];
}

/** Counts by severity, and the one word that a run without a warning has. */
export function verdictBadge({ state, verdict, counts, muted }: RunSummary): HTMLElement {
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
    muted > 0 && h('span', { class: 'muted-count' }, `${formatCount(muted)} muted`),
  );
}
