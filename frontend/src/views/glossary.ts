/** The words of the tab and its keys, behind "?". */

import { h } from '../dom';
import { dialogHead } from './dialog';

const WORDS: readonly (readonly [string, string])[] = [
  ['Frame', 'The numbers of all variables at one training step. Not every step has one.'],
  ['Finding', 'What a rule reports: a problem, since which step, of which variables, and why.'],
  ['Provisional', 'True at every step so far, but they are too few for the rule to be certain.'],
  ['Undecided', 'Too little was seen to call the run healthy.'],
  ['Gradient RMS', 'Root mean square of the elements of a gradient: their usual size.'],
  ['Norm', 'Root of the sum of squares of all elements.'],
  ['Update ratio', 'Norm of one step of the weights, divided by the norm of the weights.'],
  ['Dead unit', 'An output unit of a layer that received no gradient from many batches in a row.'],
  [
    'Change',
    'How far a value is from that before the first finding, or from the first tenth of the run.',
  ],
  [
    'Loss per unit of weight',
    'The unit of a gradient: how much the loss changes if a weight changes by 1.',
  ],
  ['Limit', 'The threshold of a rule. A value beyond it is one of the reasons for a finding.'],
  [
    'Epoch',
    'One pass over the training data. Short marks on the step axis show where epochs begin.',
  ],
];

const KEYS: readonly (readonly [string, string])[] = [
  ['Tab', 'to the next list or control; each list is one stop'],
  ['↑ ↓', 'within a list; in the heat-map, to another row'],
  ['← →', 'in the heat-map, to another frame; in the list of runs, to the button that compares'],
  ['+ − 0', 'in the heat-map, closer, further away, all steps'],
  ['Enter', 'open the variable, the module or the finding'],
  ['Escape', 'close the variable, a menu or a page'],
];

/** The button that opens it; the dialog goes into `parent`. */
export function createGlossary(parent: HTMLElement): HTMLElement {
  const list = (entries: typeof WORDS): HTMLElement =>
    h(
      'dl',
      { class: 'facts' },
      entries.map(([word, meaning]) => [h('dt', {}, word), h('dd', {}, meaning)]),
    );
  const dialog = h(
    'dialog',
    {
      class: 'glossary',
      'aria-labelledby': 'glossary-title',
      onclick: (event: MouseEvent) => {
        if (event.target === dialog) dialog.close();
      },
    },
    h(
      'div',
      { class: 'rule-body' },
      dialogHead('glossary-title', 'Words and keys'),
      list(WORDS),
      h('h3', {}, 'Keys'),
      list(KEYS),
    ),
  );
  parent.append(dialog);
  return h(
    'button',
    {
      type: 'button',
      'aria-label': 'Words and keys',
      title: 'Words and keys',
      onclick: () => {
        dialog.showModal();
      },
    },
    '?',
  );
}
