/** Nothing to show: still connecting, no data yet, or the server cannot answer. */

import { fill, h, onChange } from '../dom';
import type { Actions } from '../store/actions';
import type { State } from '../store/state';
import { copyButton } from './code';
import type { View } from './view';

const SNIPPET = `import tb_gradients as tbg

model.fit(x, y, callbacks=[tbg.GradientHealth("logs/run1")])`;

const LOOP_SNIPPET = `monitor = tbg.watch(optimizer, "logs/run1", model=model)
for x, y in data:
    train_step(x, y)
    monitor.step()
monitor.close()`;

export function createEmpty(parent: HTMLElement, actions: Actions): View {
  const element = h('div', { class: 'empty', role: 'status' });
  parent.append(element);

  const draw = onChange((runs: State['runs'], failure: string | undefined) => {
    if (runs && runs.length > 0) fill(element);
    else if (failure !== undefined) {
      fill(
        element,
        h('h1', {}, 'Gradient data could not be read'),
        h('p', {}, failure),
        h(
          'button',
          {
            class: 'primary',
            type: 'button',
            onclick: () => {
              actions.refresh();
            },
          },
          'Try again',
        ),
      );
    } else if (runs === null)
      fill(element, h('p', { class: 'loading' }, 'Looking for gradient data …'));
    else fill(element, welcome());
  });

  return {
    update(state) {
      draw(state.runs, state.failures.runs);
    },
    destroy() {
      element.remove();
    },
  };
}

function welcome(): HTMLElement {
  return h(
    'div',
    {},
    h('h1', {}, 'No gradient data yet'),
    h('p', {}, 'Add one line to the training script:'),
    snippet(SNIPPET),
    h('p', {}, 'With a training loop of your own:'),
    snippet(LOOP_SNIPPET),
    h(
      'p',
      { class: 'waiting' },
      h('span', { class: 'pulse', 'aria-hidden': 'true' }),
      'This page looks again every few seconds and fills by itself. The folder must lie below TensorBoard’s ',
      h('code', {}, '--logdir'),
      '.',
    ),
  );
}

function snippet(code: string): HTMLElement {
  return h('div', { class: 'snippet' }, h('pre', {}, h('code', {}, code)), copyButton(code));
}
