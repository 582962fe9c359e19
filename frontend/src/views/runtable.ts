/** All runs as a table over the page: leading finding, loss, settings that differ, rules. */

import type { RuleBook, RunSummary } from '../api/types';
import { breakable, fill, h, onChange, type Child } from '../dom';
import type { Theme } from '../host';
import { formatCount, formatFact, title } from '../scale/format';
import { matcher } from '../scale/pattern';
import type { Actions } from '../store/actions';
import { heardRuns } from '../store/muted';
import { differingSettings, flaggedRules } from '../store/runtable';
import { orderRuns, ruleTitle, sortRuns, type RunEntry } from '../store/selectors';
import type { RunOrder } from '../store/state';
import { dialogHead } from './dialog';
import { icon } from './icons';
import { createRoving } from './roving';
import { lossText, runLabel, runName, verdictBadge } from './runs';
import type { View } from './view';

/** So many rows are made at once: a table of 300 must not hold up the page. */
const AT_ONCE = 40;

export function createRunTable(parent: HTMLElement, actions: Actions): View {
  const body = h('tbody', {});
  const head = h('thead', {});
  const count = h('span', { class: 'count' });
  const dialog = h(
    'dialog',
    {
      class: 'run-table',
      'aria-labelledby': 'run-table-title',
      onclose: () => {
        actions.showRunTable(false);
      },
      onclick: (event: MouseEvent) => {
        if (event.target === dialog) dialog.close();
      },
    },
    h(
      'div',
      { class: 'run-table-body' },
      dialogHead('run-table-title', 'Runs ', count),
      h(
        'div',
        { class: 'run-table-scroll', tabindex: 0, role: 'region', 'aria-label': 'All runs' },
        h('table', {}, head, body),
      ),
    ),
  );
  parent.append(dialog);
  const roving = createRoving(body, 'button');
  let pending = 0;

  const draw = onChange(
    (
      open: boolean,
      runs: readonly RunSummary[] | null,
      hostRuns: readonly string[],
      selected: string | null,
      wanted: string,
      order: RunOrder,
      rules: RuleBook | null,
      theme: Theme,
    ) => {
      cancelAnimationFrame(pending);
      if (!open) {
        dialog.close();
        return;
      }
      const matches = matcher(wanted);
      const entries = sortRuns(orderRuns(runs ?? [], hostRuns), order).filter(({ summary }) =>
        matches(summary.run),
      );
      const summaries = entries.map(({ summary }) => summary);
      const settings = differingSettings(summaries);
      const found = flaggedRules(summaries);
      count.textContent = formatCount(entries.length);
      fill(head, headRow(settings, found, rules));
      fill(body);
      const choose = (run: string): void => {
        actions.selectRun(run);
        dialog.close();
      };
      const add = (from: number): void => {
        for (const entry of entries.slice(from, from + AT_ONCE)) {
          body.append(row(entry, settings, found, selected, rules, theme, choose));
        }
        roving.update();
        if (from + AT_ONCE < entries.length) {
          pending = requestAnimationFrame(() => {
            add(from + AT_ONCE);
          });
        }
      };
      add(0);
      if (!dialog.open) dialog.showModal();
    },
  );

  return {
    update(state) {
      draw(
        state.runTable,
        state.runs && heardRuns(state.runs, state.muted),
        state.hostRuns,
        state.selectedRun,
        state.runFilter,
        state.runOrder,
        state.rules,
        state.theme,
      );
    },
    destroy() {
      cancelAnimationFrame(pending);
      dialog.remove();
    },
  };
}

function headRow(
  settings: readonly string[],
  found: readonly string[],
  rules: RuleBook | null,
): HTMLElement {
  const cell = (text: string): HTMLElement => h('th', { scope: 'col' }, text);
  return h(
    'tr',
    {},
    ['Run', 'Verdict', 'Worst finding', 'Since step', 'Last loss'].map(cell),
    found.map((rule) =>
      h('th', { scope: 'col', class: 'rule-column' }, h('span', {}, ruleTitle(rules, rule))),
    ),
    settings.map((name) => cell(title(name))),
    cell('Last written'),
  );
}

function row(
  { summary, position }: RunEntry,
  settings: readonly string[],
  found: readonly string[],
  selected: string | null,
  rules: RuleBook | null,
  theme: Theme,
  choose: (run: string) => void,
): HTMLElement {
  const { run, leading, loss, newest, flagged } = summary;
  return h(
    'tr',
    { 'data-run': run, 'aria-current': run === selected },
    h(
      'th',
      { scope: 'row' },
      h(
        'button',
        {
          class: 'plain',
          type: 'button',
          'data-focus': run,
          'aria-current': run === selected,
          onclick: () => {
            choose(run);
          },
        },
        runLabel(run, position, theme, breakable(runName(run))),
      ),
    ),
    h('td', {}, verdictBadge(summary)),
    h('td', {}, leading && ruleTitle(rules, leading.rule)),
    h('td', { class: 'number' }, leading && formatCount(leading.firstStep)),
    h('td', { class: 'number' }, lossText(loss)),
    found.map((rule) => ruleCell(flagged[rule], ruleTitle(rules, rule))),
    settings.map((name) =>
      h('td', { class: 'setting' }, h('span', {}, settingText(summary.settings[name]))),
    ),
    h('td', { class: 'date' }, dateText(newest)),
  );
}

/** Its shape says how bad; a dot says that the rule found nothing. */
function ruleCell(severity: RunSummary['flagged'][string] | undefined, name: string): Child {
  return h(
    'td',
    {
      class: 'rule-cell',
      'data-severity': severity,
      title: `${name}: ${severity ?? 'nothing found'}`,
    },
    severity
      ? [icon(severity), h('span', { class: 'visually-hidden' }, severity)]
      : h('span', { class: 'nothing', 'aria-hidden': 'true' }, '·'),
  );
}

/** Numbers as people write them; everything else as it is. */
function settingText(text: string | undefined): string {
  if (text === undefined) return '–';
  return /^\d{4,}$/.test(text) ? formatCount(Number(text)) : formatFact(text);
}

function dateText(newest: number): string {
  if (Number.isNaN(newest)) return '';
  return new Date(1000 * newest).toLocaleString('en-GB', {
    day: 'numeric',
    month: 'short',
    hour: '2-digit',
    minute: '2-digit',
  });
}
