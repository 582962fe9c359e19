/** The head of a dialog: its title, and the button that closes it. */

import { h, type Child } from '../dom';
import { icon } from './icons';

/** `id`: what the dialog is labelled by. */
export function dialogHead(id: string, ...title: Child[]): HTMLElement {
  const close = h(
    'button',
    {
      class: 'plain',
      type: 'button',
      'aria-label': 'Close',
      onclick: () => {
        close.closest('dialog')?.close();
      },
    },
    icon('close'),
  );
  return h('header', {}, h('h2', { id }, ...title), close);
}
