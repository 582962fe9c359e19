/** The top lines: which run, its verdict, and the same of the run beside it. */

import type { Run } from '../api/types';
import { fill, h, onChange, type Child } from '../dom';
import type { Theme } from '../host';
import { plural } from '../scale/format';
import type { Actions } from '../store/actions';
import {
  compareFlags,
  shownSides,
  verdictOf,
  verdictSentence,
  type Side,
} from '../store/selectors';
import { icon } from './icons';
import { createLive } from './live';
import { runLabel } from './runs';
import type { View } from './view';

export function createHeader(parent: HTMLElement, actions: Actions, ...tools: Child[]): View {
  const heads = h('div', { class: 'heads' });
  const live = createLive();
  const missing = h('p', { class: 'note missing-run', role: 'status' });
  const difference = h('p', { class: 'difference', role: 'status' });
  const swap = h(
    'button',
    {
      type: 'button',
      onclick: () => {
        const [, second] = sides;
        if (second) actions.swapRuns(second.name);
      },
    },
    icon('compare'),
    'Swap',
  );
  const single = h(
    'button',
    {
      type: 'button',
      onclick: () => {
        actions.endComparison();
      },
    },
    icon('close'),
    'End comparison',
  );
  const comparison = h('div', { class: 'comparison' }, difference, swap, single);
  const progress = h('div', {
    class: 'progress',
    role: 'progressbar',
    'aria-label': 'Reading data',
  });
  const element = h(
    'header',
    { class: 'header' },
    h('h1', { class: 'visually-hidden' }, 'Gradient Health'),
    h('div', { class: 'header-main' }, heads, live.element, missing, comparison),
    h('div', { class: 'header-tools' }, ...tools),
    progress,
  );
  parent.append(element);

  let sides: Side[] = [];
  let failures: readonly (string | undefined)[] = [];
  const drawHeads = onChange((...[, theme]: HeadInputs) => {
    fill(
      heads,
      sides.map((side, i) => head(side, theme, failures[i], sides.length > 1)),
    );
    const [selected, ...others] = sides;
    comparison.hidden = others.length === 0;
    swap.hidden = others.length !== 1;
    difference.textContent = others
      .flatMap(({ name, run }) =>
        selected?.run && run
          ? [differenceSentence(selected.run, run, others.length > 1 ? name : 'the second run')]
          : [],
      )
      .join(' ');
  });

  return {
    update(state) {
      sides = shownSides(state);
      failures = sides.map(({ which, name }) =>
        which === 'selected'
          ? (state.failures.run ?? state.failures.whole ?? state.failures.runs)
          : (state.failures[`run of ${name}`] ?? state.failures[`whole of ${name}`]),
      );
      drawHeads(
        sides.map(({ name, position }) => `${position} ${name}`).join('\n'),
        state.theme,
        failures.join('\n'),
        ...sides.map(({ run }) => run),
      );
      progress.hidden = state.loading.size === 0;
      const { missingRun, selectedRun } = state;
      missing.hidden = missingRun === null;
      const text =
        missingRun === null
          ? ''
          : `There is no run “${missingRun}”. This is “${selectedRun ?? ''}”.`;
      if (missing.textContent !== text) missing.textContent = text;
      live.view.update(state);
    },
    destroy() {
      live.view.destroy();
      element.remove();
    },
  };
}

type HeadInputs = [names: string, theme: Theme, failures: string, ...runs: (Run | null)[]];

function head(side: Side, theme: Theme, failure: string | undefined, short: boolean): HTMLElement {
  const { run } = side;
  const kind = run ? verdictOf(run) : null;
  return h(
    'div',
    { class: 'head', 'data-which': side.which },
    runLabel(side.name, side.position, theme),
    h(
      'p',
      {
        class: 'verdict',
        'data-verdict': kind,
        title: run && verdictSentence(run),
      },
      run ? [kind && icon(kind), verdictSentence(run, short)] : (failure ?? 'Reading the run …'),
    ),
    run?.sampled &&
      h(
        'p',
        { class: 'note' },
        'TensorBoard dropped frames when it loaded this run; flags were judged on ',
        run.judged === 'live' ? 'all of them while training.' : 'the ones shown here.',
      ),
    run && failure !== undefined && h('p', { class: 'note note-failure' }, failure),
  );
}

/** What is gone and what is new in another run. */
function differenceSentence(first: Run, other: Run, name: string): string {
  if (first.judged === null || other.judged === null) return '';
  const { gone, both, added } = compareFlags(first.flags, other.flags);
  if (first.flags.length === 0 && other.flags.length === 0) {
    const healthy = verdictOf(first) === 'healthy' && verdictOf(other) === 'healthy';
    return healthy ? 'Both runs are healthy.' : 'Neither run has findings.';
  }
  const parts = [
    gone.length > 0 && `${plural(gone.length, 'finding')} not in ${name}`,
    both.length > 0 && `${plural(both.length, 'finding')} in both`,
    added.length > 0 && `${plural(added.length, 'finding')} only in ${name}`,
  ].filter((part) => part !== false);
  return `${parts.join(', ')}.`;
}
