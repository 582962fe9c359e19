/** What the open card of a finding shows: causes, fixes, evidence, consequences, variables. */

import type { Advice, Cause, Evidence, Flag, Origin, RuleBook, Run } from '../../api/types';
import { breakable, h, type Child } from '../../dom';
import { formatCount, formatEvidence, formatShare, plural, title } from '../../scale/format';
import type { Actions } from '../../store/actions';
import { ruleTitle, statisticNamed } from '../../store/selectors';
import { advice, copyButton, prose } from '../code';
import { pathOf } from './path';

/** A flag of more variables than this names the first ones and counts the rest. */
const NAMED_VARIABLES = 8;

export function originOf(origin: Origin | null): Child {
  if (origin === null) return null;
  const place = `${origin.file}:${String(origin.line)}`;
  return section(
    'Where',
    h(
      'div',
      { class: 'origin' },
      origin.file !== '' &&
        h('div', { class: 'origin-place' }, h('code', {}, breakable(place)), copyButton(place)),
      origin.code !== '' && h('pre', { tabindex: 0 }, h('code', {}, origin.code)),
      h('p', {}, prose(origin.summary)),
      tensors('In', origin.inputs),
      tensors('Out', origin.outputs),
      pathOf(origin.path),
    ),
  );
}

const tensors = (heading: string, texts: readonly string[]): Child =>
  texts.length > 0 &&
  h(
    'p',
    { class: 'origin-tensors' },
    h('b', {}, `${heading}: `),
    texts.map((text, i) => [i > 0 && '; ', h('span', {}, text)]),
  );

export function causeList(causes: readonly Cause[], rules: RuleBook | null): Child {
  if (causes.length === 0) return null;
  return section(
    'Likely causes',
    h(
      'ol',
      { class: 'causes' },
      causes.map(({ id, confidence, summary }) =>
        h(
          'li',
          {},
          h(
            'span',
            { class: 'cause-head' },
            h('span', { class: 'cause-title' }, rules?.causes.get(id)?.title ?? title(id)),
            h('span', { class: 'cause-confidence' }, formatShare(confidence)),
          ),
          h('meter', { min: 0, max: 1, value: confidence, 'aria-hidden': 'true' }),
          h('span', { class: 'cause-summary' }, prose(summary)),
        ),
      ),
    ),
  );
}

export function fixList(fixes: readonly Advice[]): Child {
  if (fixes.length === 0) return null;
  return section('What to change', h('ol', { class: 'fixes' }, fixes.map(advice)));
}

export function evidenceTable(evidence: readonly Evidence[], run: Run, actions: Actions): Child {
  const label = (name: string): Child => {
    const statistic = statisticNamed(name, run);
    if (statistic === null) return title(name);
    return h(
      'button',
      {
        class: 'variable-link evidence-link',
        type: 'button',
        title: `Show ${title(statistic).toLowerCase()} in the heat-map`,
        'data-focus': `evidence ${name}`,
        onclick: () => {
          actions.selectStatistic(statistic);
        },
      },
      title(name),
    );
  };
  if (evidence.length === 0) return null;
  return section(
    'Evidence',
    h(
      'table',
      { class: 'evidence' },
      h(
        'thead',
        {},
        h(
          'tr',
          {},
          h('th', { scope: 'col' }, 'Number'),
          h('th', { scope: 'col' }, 'Value'),
          h('th', { scope: 'col' }, 'Limit'),
        ),
      ),
      h(
        'tbody',
        {},
        evidence.map(({ name, value, threshold }) =>
          h(
            'tr',
            {},
            h('th', { scope: 'row' }, label(name)),
            h('td', {}, formatEvidence(name, value)),
            h('td', {}, threshold === null ? '–' : formatEvidence(name, threshold)),
          ),
        ),
      ),
    ),
  );
}

export function followUpList(followUps: readonly string[], rules: RuleBook | null): Child {
  if (followUps.length === 0) return null;
  return section(
    'Follows from it',
    h(
      'ul',
      { class: 'follow-ups' },
      followUps.map((symptom) => h('li', {}, symptomOf(symptom, rules))),
    ),
  );
}

/** Written `rule: sentence`; here the rule has its title. */
function symptomOf(text: string, rules: RuleBook | null): Child {
  const [, rule, sentence] = /^(\w+): ([\s\S]*)$/.exec(text) ?? [];
  if (rule === undefined || sentence === undefined) return prose(text);
  return [h('strong', {}, ruleTitle(rules, rule)), ': ', prose(sentence)];
}

export function variableList(flag: Flag, selected: string | null, actions: Actions): Child {
  if (flag.variables.length === 0) return null;
  const item = (path: string): HTMLElement =>
    h(
      'li',
      {},
      h(
        'button',
        {
          class: 'variable-link',
          type: 'button',
          'aria-current': path === selected,
          'data-focus': `variable ${flag.id} ${path}`,
          onclick: () => {
            actions.selectVariable(path);
          },
        },
        breakable(path),
      ),
    );
  const rest = flag.variables.slice(NAMED_VARIABLES);
  return section(
    plural(flag.variables.length, 'variable'),
    h('ul', { class: 'variable-list' }, flag.variables.slice(0, NAMED_VARIABLES).map(item)),
    rest.length > 0 &&
      h(
        'details',
        { 'data-fold': `variables ${flag.id}` },
        h('summary', {}, `${formatCount(rest.length)} more`),
        h('ul', { class: 'variable-list' }, rest.map(item)),
      ),
  );
}

function section(heading: string, ...children: readonly Child[]): HTMLElement {
  return h('section', {}, h('h3', {}, heading), ...children);
}
