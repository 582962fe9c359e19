/** The manual page of a rule, in a dialog. */

import type { RuleBook, RuleCard } from '../api/types';
import { fill, h, onChange, type Child } from '../dom';
import type { Actions } from '../store/actions';
import { ruleTitle } from '../store/selectors';
import { advice, prose } from './code';
import { sentence } from '../scale/format';
import { dialogHead } from './dialog';
import type { View } from './view';

export function createRuleCard(parent: HTMLElement, actions: Actions): View {
  const dialog = h('dialog', {
    class: 'rule-card',
    'aria-labelledby': 'rule-title',
    onclose: () => {
      actions.openRule(null);
    },
    // A click on the dimmed page lands on the dialog itself, not on its content.
    onclick: (event: MouseEvent) => {
      if (event.target === dialog) dialog.close();
    },
  });
  parent.append(dialog);

  const draw = onChange((open: string | null, rules: RuleBook | null, failure?: string) => {
    if (open === null) {
      dialog.close();
      return;
    }
    const card = rules?.rules.get(open);
    fill(
      dialog,
      h(
        'div',
        { class: 'rule-body' },
        dialogHead('rule-title', ruleTitle(rules, open)),
        h('p', { class: 'rule-id' }, h('code', {}, open), card?.severity && ` · ${card.severity}`),
        card ? content(card) : h('p', {}, failure ?? 'The rule book has no page for this rule.'),
      ),
    );
    if (!dialog.open) dialog.showModal();
  });

  return {
    update(state) {
      draw(state.openRule, state.rules, state.failures.rules);
    },
    destroy() {
      dialog.remove();
    },
  };
}

function content(card: RuleCard): Child[] {
  return [
    card.summary !== '' && h('p', { class: 'rule-summary' }, prose(card.summary)),
    part('Why it matters', card.why),
    part('When it fires', card.definition),
    card.fixes.length > 0 && [
      h('h3', {}, 'What to try'),
      h('ol', { class: 'fixes' }, card.fixes.map(advice)),
    ],
    part('No finding when', card.silentWhen),
  ];
}

function part(heading: string, text: string): Child {
  if (text === '') return null;
  // Written to follow a colon; here each begins a paragraph.
  const paragraphs = sentence(text).split(/\n{2,}|\n(?=[-*] )/);
  return [h('h3', {}, heading), paragraphs.map((paragraph) => h('p', {}, prose(paragraph)))];
}
