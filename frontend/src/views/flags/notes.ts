/** What is said of the run as a whole, around its findings. */

import type { RuleError, RuleState, Run } from '../../api/types';
import { h, type Child } from '../../dom';
import { formatCount, formatFact, plural, sentence, title } from '../../scale/format';
import { prose } from '../code';
import { icon } from '../icons';

/** Silence, and why to believe it: how much was looked at, and what the numbers say. */
export function healthyNote(run: Run, signs: readonly string[]): HTMLElement {
  const unjudged = run.errors.some(({ rule }) => rule !== '') || run.rules.some(isUnseen);
  return h(
    'div',
    { class: 'run-note', 'data-verdict': 'healthy' },
    h(
      'p',
      {},
      icon('healthy'),
      h('strong', {}, run.muted.length > 0 ? 'Nothing but what is muted. ' : 'Nothing found. '),
      `${unjudged ? 'The rules that could judge' : 'All rules'} looked at ${run.glance ? 'all frames' : plural(run.steps.length, 'frame')} of ${plural(run.variables.length, 'variable')}${run.muted.length > 0 ? '' : ' and stayed silent'}.`,
    ),
    signs.map((sign) => sign !== '' && h('p', { class: 'sign' }, sign)),
  );
}

const isUnseen = ({ state }: RuleState): boolean => state !== 'passed' && state !== 'flagged';

/** Too little was seen: why, and that silence means nothing yet. */
export function undecidedNote(run: Run): HTMLElement {
  return h(
    'div',
    { class: 'run-note', 'data-verdict': 'undecided' },
    h(
      'p',
      {},
      icon('undecided'),
      h('strong', {}, 'Undecided. '),
      prose(`${sentence(run.undecided)}.`),
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
    { class: 'about-run', 'data-fold': 'about' },
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
