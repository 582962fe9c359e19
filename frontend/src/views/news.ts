/**
 * Announces a finding that opens, or becomes worse, while one watches: on the page, over what is
 * there, so that nothing jumps; and to screen readers, with changes of the verdict.
 */

import type { Flag, Run, Verdict } from '../api/types';
import { fill, h } from '../dom';
import { formatInterval, plural } from '../scale/format';
import type { Actions } from '../store/actions';
import { heardRun } from '../store/muted';
import { ruleTitle, verdictOf, verdictSentence, newFindings } from '../store/selectors';
import type { State } from '../store/state';
import { icon } from './icons';
import { runName } from './runs';
import type { View } from './view';

export function createNews(parent: HTMLElement, actions: Actions): View {
  const spoken = h('p', { class: 'visually-hidden', role: 'status' });
  const element = h('div', { class: 'news', role: 'region', 'aria-label': 'New findings' });
  element.hidden = true;
  parent.append(spoken, element);
  let last: Run | null = null;
  let kind: Verdict | null = null;
  let open: readonly Flag[] = [];

  const close = (): void => {
    open = [];
    element.hidden = true;
  };

  function announce(run: Run, state: State): void {
    const [first] = open;
    if (!first) return;
    const title = ruleTitle(state.rules, first.rule);
    const others = open.length > 1 ? `, and ${plural(open.length - 1, 'more finding')}` : '';
    const since = formatInterval(first.firstStep, first.lastStep, first.open);
    fill(
      element,
      h(
        'button',
        {
          class: 'news-open',
          type: 'button',
          'data-severity': first.severity,
          onclick: () => {
            close();
            actions.toggleFlag(first.id);
          },
        },
        icon(first.severity),
        h('strong', {}, `New: ${title}`),
        ` ${since}${others}`,
      ),
      h(
        'button',
        { class: 'plain', type: 'button', 'aria-label': 'Close', onclick: close },
        icon('close'),
      ),
    );
    element.hidden = false;
    spoken.textContent = `New ${first.severity} in ${runName(run.run)}: ${title}, ${since}${others}`;
  }

  /** `run` with all of its findings: one that is brought back is not new. */
  function draw(run: Run, state: State): void {
    const before = last?.run === run.run ? last : null;
    const heard = heardRun(run, state.muted);
    const verdict = verdictOf(heard);
    if (!before) {
      close();
      spoken.textContent = `${runName(run.run)}: ${verdictSentence(heard, true)}`;
    } else {
      const fresh = newFindings(before, run).filter((flag) => heard.flags.includes(flag));
      const still = open.filter(({ id }) => run.flags.some((flag) => flag.id === id));
      open = [...fresh, ...still];
      if (fresh.length > 0) announce(run, state);
      else if (verdict !== kind) {
        spoken.textContent = `${runName(run.run)}: ${verdictSentence(heard, true)}`;
      }
    }
    last = run;
    kind = verdict;
  }

  return {
    update(state) {
      const { run } = state;
      if (run?.run === state.selectedRun && run !== last && run.judged !== null) draw(run, state);
      // Who has opened it knows.
      if (open.some(({ id }) => id === state.selectedFlag)) close();
    },
    destroy() {
      spoken.remove();
      element.remove();
    },
  };
}
