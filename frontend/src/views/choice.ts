/** A few exclusive buttons in a row. */

import { h } from '../dom';

export interface Choice<T extends string> {
  readonly element: HTMLElement;
  update(value: T, without?: readonly T[]): void;
}

export function choice<T extends string>(
  label: string,
  choices: readonly (readonly [value: T, label: string, explanation: string])[],
  choose: (value: T) => void,
): Choice<T> {
  const buttons = choices.map(([value, name, explanation]) =>
    h(
      'button',
      {
        type: 'button',
        title: explanation,
        'data-value': value,
        onclick: () => {
          choose(value);
        },
      },
      name,
    ),
  );
  return {
    element: h('span', { class: 'choice', role: 'group', 'aria-label': label }, buttons),
    update(value, without = []) {
      for (const button of buttons) {
        button.setAttribute('aria-pressed', String(button.dataset.value === value));
        button.hidden = without.some((other) => other === button.dataset.value);
      }
    },
  };
}
