/**
 * How far each rule has judged the run: what it still needs first, those that passed folded away.
 *
 * Rules that have found something are not repeated: their findings stand above. Nor are those
 * whose error is listed.
 */

import type { RuleBook, RuleState, Run } from '../../api/types';
import { h, type Child } from '../../dom';
import { plural, sentence } from '../../scale/format';
import type { Actions } from '../../store/actions';
import { ruleTitle, ruleStatesOf, type RuleStateGroup } from '../../store/selectors';
import { prose } from '../code';
import { icon } from '../icons';

const HEADINGS: Readonly<Record<RuleState['state'], string>> = {
  failed: 'Failed and switched off',
  flagged: 'Flagged',
  not_yet: 'Not yet: more steps are needed',
  not_seen: 'Not seen: what they need is not measured',
  passed: 'passed',
};

export function createRuleStates(actions: Actions): (run: Run, rules: RuleBook | null) => Child {
  let showPassed = false;
  return (run, rules) => {
    if (run.judged === null || run.rules.length === 0) return null;
    const groups = ruleStatesOf(run);
    const passed = groups.find(({ state }) => state === 'passed')?.rules ?? [];
    const listed = new Set(run.errors.map(({ rule }) => rule));
    const open = groups
      .filter(({ state }) => state !== 'passed' && state !== 'flagged')
      .map(({ state, rules: some }) => ({
        state,
        parts: byReason(some.filter(({ rule }) => !listed.has(rule))),
      }))
      .filter(({ parts }) => parts.length > 0);
    return h(
      'section',
      { class: 'rule-states' },
      h('h3', {}, 'Rules ', h('span', { class: 'count' }, tally(groups))),
      open.map(({ state, parts }) => [
        h('h4', {}, HEADINGS[state]),
        h(
          'ul',
          { 'data-state': state },
          parts.map((part) => item(part, rules, actions)),
        ),
      ]),
      passed.length > 0 &&
        h(
          'details',
          {
            class: 'passed',
            open: showPassed,
            ontoggle: (event: Event) => {
              showPassed = (event.currentTarget as HTMLDetailsElement).open;
            },
          },
          h(
            'summary',
            { 'data-focus': 'passed' },
            h(
              'h4',
              { 'data-state': 'passed' },
              icon('check'),
              `${plural(passed.length, 'rule')} passed`,
            ),
          ),
          h(
            'ul',
            { 'data-state': 'passed' },
            passed.map((one) => item([one], rules, actions)),
          ),
        ),
    );
  };
}

const WORDS: Readonly<Record<RuleState['state'], string>> = {
  failed: 'failed',
  flagged: 'flagged',
  not_yet: 'not yet',
  not_seen: 'not seen',
  passed: 'passed',
};

const tally = (groups: readonly RuleStateGroup[]): string =>
  groups.map(({ state, rules }) => `${rules.length} ${WORDS[state]}`).join(' · ');

/** Rules that lack the same are listed with one reason. */
function byReason(states: readonly RuleState[]): RuleState[][] {
  const groups = new Map<string, RuleState[]>();
  for (const one of states) groups.set(one.reason, [...(groups.get(one.reason) ?? []), one]);
  return [...groups.values()];
}

function item(states: readonly RuleState[], rules: RuleBook | null, actions: Actions): HTMLElement {
  const reason = states[0]?.reason ?? '';
  return h(
    'li',
    {},
    states.map(({ rule }, i) => [
      i > 0 && ', ',
      h(
        'button',
        {
          class: 'variable-link',
          type: 'button',
          'data-focus': `asked ${rule}`,
          onclick: () => {
            actions.openRule(rule);
          },
        },
        ruleTitle(rules, rule),
      ),
    ]),
    reason !== '' && h('p', { class: 'reason' }, prose(sentence(reason))),
  );
}
