/** What is said of the run as a whole, around its findings. */

import type { RuleBook, RuleError, Run } from '../../api/types';
import { h, type Child } from '../../dom';
import { formatCount, formatFact, plural, title } from '../../scale/format';
import type { Actions } from '../../store/actions';
import { icon } from '../icons';

/** Silence, and why to believe it: how much was looked at, and for what. */
export function healthyNote(
  run: Run,
  signs: readonly string[],
  rules: RuleBook | null,
  actions: Actions,
): HTMLElement {
  const failed = new Set(run.errors.map(({ rule }) => rule));
  const asked = [...(rules?.rules.values() ?? [])].filter(({ id }) => !failed.has(id));
  return h(
    'div',
    { class: 'healthy-note' },
    h(
      'p',
      {},
      icon('healthy'),
      h('strong', {}, 'Nothing found. '),
      `${failed.size > 0 ? 'The rules that could be run' : 'All rules'} looked at ${run.glance ? 'all frames' : plural(run.steps.length, 'frame')} of ${plural(run.variables.length, 'variable')} and stayed silent.`,
    ),
    signs.map((sign) => sign !== '' && h('p', { class: 'sign' }, sign)),
    asked.length > 0 && h('h3', {}, 'What they looked for'),
    h(
      'ul',
      { class: 'asked' },
      asked.map((card) =>
        h(
          'li',
          {},
          icon('check'),
          h(
            'button',
            {
              class: 'variable-link',
              type: 'button',
              'data-focus': `asked ${card.id}`,
              onclick: () => {
                actions.openRule(card.id);
              },
            },
            card.title,
          ),
        ),
      ),
    ),
  );
}

export function judgingNote(): HTMLElement {
  return h(
    'p',
    { class: 'judging', role: 'status' },
    h('span', { class: 'pulse', 'aria-hidden': 'true' }),
    'The writer stored no verdict for the whole run: the rules are looking at its frames now.',
  );
}

export function errorList(errors: readonly RuleError[]): HTMLElement {
  return h(
    'section',
    { class: 'errors' },
    h('h3', {}, 'Not judged'),
    h(
      'ul',
      {},
      errors.map(({ rule, step, message }) =>
        h(
          'li',
          {},
          rule !== '' && h('strong', {}, title(rule)),
          rule !== '' &&
            ` failed${step === null ? '' : ` at step ${formatCount(step)}`} and was switched off: `,
          message,
        ),
      ),
    ),
  );
}

export function aboutRun(run: Run): Child {
  const facts = Object.entries(run.context).filter(([, value]) => value !== '' && value !== 'None');
  if (facts.length === 0) return null;
  return h(
    'details',
    { class: 'about-run' },
    h('summary', {}, 'About this run'),
    h(
      'dl',
      { class: 'facts' },
      facts.map(([name, value]) => [h('dt', {}, title(name)), h('dd', {}, formatFact(value))]),
      h('dt', {}, 'Judged'),
      h('dd', {}, run.judged === 'live' ? 'while training' : 'from the recorded frames'),
    ),
  );
}
