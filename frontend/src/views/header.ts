/** The top line: which run, and its verdict. */

import { SEVERITIES, type RunSummary } from '../api/types';
import { fill, h, onChange } from '../dom';
import type { Theme } from '../host';
import { runColour } from '../scale/colour';
import { plural } from '../scale/format';
import type { Actions } from '../store/actions';
import { orderRuns, verdictOf, verdictSentence, type RunEntry } from '../store/selectors';
import type { State } from '../store/state';
import { icon } from './icons';
import type { View } from './view';

/** A picker with more runs than this gets a filter. */
const MANY_RUNS = 8;

export function createHeader(parent: HTMLElement, actions: Actions): View {
  const current = h('summary', { class: 'picker-button' });
  const list = h('ul', { class: 'picker-list', 'aria-label': 'Runs' });
  const filter = h('input', {
    type: 'search',
    class: 'picker-filter',
    placeholder: 'Filter runs',
    'aria-label': 'Filter runs',
    oninput: applyFilter,
  });
  const picker = h(
    'details',
    { class: 'picker' },
    current,
    h('div', { class: 'picker-popup' }, filter, list),
  );
  const verdict = h('p', { class: 'verdict', role: 'status' });
  const notes = h('p', { class: 'notes' });
  const element = h('header', { class: 'header' }, picker, verdict, notes);
  parent.append(element);

  const close = (): void => {
    picker.open = false;
  };
  const closeOutside = (event: Event): void => {
    if (event.target instanceof Node && !picker.contains(event.target)) close();
  };
  document.addEventListener('pointerdown', closeOutside);
  picker.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') {
      close();
      current.focus();
    }
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
      event.preventDefault();
      moveFocus(list, event.key === 'ArrowDown' ? 1 : -1);
    }
  });

  function applyFilter(): void {
    const wanted = filter.value.toLowerCase();
    for (const item of list.children) {
      if (item instanceof HTMLElement) {
        item.hidden = !(item.dataset.run ?? '').toLowerCase().includes(wanted);
      }
    }
  }

  const drawRuns = onChange(
    (
      runs: readonly RunSummary[] | null,
      order: readonly string[],
      selected: string | null,
      theme: Theme,
    ) => {
      const entries = orderRuns(runs ?? [], order);
      const chosen = entries.find(({ summary }) => summary.run === selected);
      fill(
        current,
        h('span', { class: 'picker-label' }, 'Run'),
        chosen ? runLabel(chosen, theme) : (selected ?? 'none'),
      );
      filter.hidden = entries.length <= MANY_RUNS;
      fill(
        list,
        entries.map((entry) =>
          h(
            'li',
            { 'data-run': entry.summary.run },
            h(
              'button',
              {
                type: 'button',
                'aria-current': entry === chosen,
                onclick: () => {
                  actions.selectRun(entry.summary.run);
                  close();
                  current.focus();
                },
              },
              runLabel(entry, theme),
              badge(entry.summary),
            ),
          ),
        ),
      );
      applyFilter();
    },
  );

  const drawVerdict = onChange((run: State['run'], failure: string | undefined) => {
    if (!run) {
      fill(verdict, failure ?? 'Reading the run …');
      fill(notes);
      return;
    }
    const kind = verdictOf(run);
    verdict.dataset.verdict = kind;
    fill(verdict, icon(kind), verdictSentence(run));
    fill(
      notes,
      run.sampled &&
        h(
          'span',
          { class: 'note' },
          'Some frames were dropped when TensorBoard loaded this run; flags were judged on ',
          run.judged === 'live' ? 'all of them while training.' : 'the ones shown here.',
        ),
      failure !== undefined && h('span', { class: 'note note-failure' }, failure),
    );
  });

  return {
    update(state) {
      drawRuns(state.runs, state.hostRuns, state.selectedRun, state.theme);
      const run = state.run?.run === state.selectedRun ? state.run : null;
      drawVerdict(run, state.failures.run ?? state.failures.runs);
    },
    destroy() {
      document.removeEventListener('pointerdown', closeOutside);
      element.remove();
    },
  };
}

function runLabel({ summary, position }: RunEntry, theme: Theme): HTMLElement {
  return h(
    'span',
    { class: 'run-label' },
    h('span', { class: 'run-dot', style: `background: ${runColour(position, theme)}` }),
    h('span', { class: 'run-name' }, summary.run === '.' ? '. (log folder itself)' : summary.run),
  );
}

function badge(summary: RunSummary): HTMLElement {
  const counts = SEVERITIES.filter((severity) => summary.counts[severity] > 0).map((severity) =>
    plural(summary.counts[severity], severity),
  );
  return h(
    'span',
    { class: 'badge', 'data-verdict': summary.verdict, title: counts.join(', ') },
    summary.verdict && icon(summary.verdict),
    counts[0] ?? summary.verdict ?? 'not judged yet',
  );
}

function moveFocus(list: HTMLElement, by: number): void {
  const buttons = [...list.querySelectorAll('button')].filter(
    (button) => !button.parentElement?.hidden,
  );
  const at = buttons.findIndex((button) => button === document.activeElement);
  buttons[(at + by + buttons.length) % buttons.length]?.focus();
}
