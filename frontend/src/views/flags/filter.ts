/** Which findings are listed: by severity, rule, variable. */

import { SEVERITIES, type RuleBook, type Run } from '../../api/types';
import { fill, h, onChange } from '../../dom';
import { formatCount, plural } from '../../scale/format';
import { isPattern } from '../../scale/pattern';
import type { Actions } from '../../store/actions';
import { ruleTitle } from '../../store/selectors';
import type { FlagFilter } from '../../store/state';
import { icon } from '../icons';
import { focusKey } from '../focus';

/** More flags than this can be filtered by rule and variable. */
const MANY_FLAGS = 4;

interface FlagFilterView {
  readonly element: HTMLElement;
  update(run: Run | null, filter: FlagFilter, rules: RuleBook | null): void;
}

export function createFlagFilter(actions: Actions): FlagFilterView {
  const severities = h('span', { class: 'severities', role: 'group', 'aria-label': 'Severities' });
  const rule = h('select', {
    'aria-label': 'Only findings of this rule',
    onchange: () => {
      actions.setFlagFilter({ rule: rule.value });
    },
  });
  const variable = h('input', {
    type: 'search',
    placeholder: 'Variable (regex)',
    'aria-label': 'Only findings of variables that match this regular expression',
    oninput: () => {
      actions.setFlagFilter({ variable: variable.value });
    },
  });
  const more = h('div', { class: 'list-tools' }, variable, rule);

  const draw = onChange((run: Run | null, filter: FlagFilter, rules: RuleBook | null) => {
    const flags = run?.flags ?? [];
    const focus = focusKey(severities);
    fill(
      severities,
      SEVERITIES.map((severity) => {
        const count = flags.filter((flag) => flag.severity === severity).length;
        if (count === 0) return null;
        const shown = !filter.hidden.has(severity);
        return h(
          'button',
          {
            type: 'button',
            class: 'severity-chip',
            'data-severity': severity,
            'data-focus': severity,
            'aria-pressed': String(shown),
            'aria-label': plural(count, severity),
            title: shown ? `Hide ${severity}` : `Show ${severity}`,
            onclick: () => {
              const hidden = new Set(filter.hidden);
              if (!hidden.delete(severity)) hidden.add(severity);
              actions.setFlagFilter({ hidden });
            },
          },
          icon(severity),
          formatCount(count),
        );
      }),
    );
    if (focus !== null) severities.querySelector<HTMLElement>(`[data-focus="${focus}"]`)?.focus();
    const names = [...new Set([...flags.map((flag) => flag.rule), filter.rule])]
      .filter((name) => name !== '')
      .map((name) => ({ name, text: ruleTitle(rules, name) }));
    fill(
      rule,
      h('option', { value: '' }, 'All rules'),
      names.map(({ name, text }) => h('option', { value: name }, text)),
    );
    rule.value = filter.rule;
    more.hidden = flags.length <= MANY_FLAGS && filter.rule === '' && filter.variable === '';
    if (document.activeElement !== variable) variable.value = filter.variable;
    variable.setAttribute('aria-invalid', String(!isPattern(filter.variable)));
  });

  return {
    element: h('div', { class: 'flag-filter' }, severities, more),
    update: draw,
  };
}
