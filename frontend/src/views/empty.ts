/**
 * Nothing to show: still asking, no data yet, or data that cannot be read. Each says what to do.
 */

import { fill, h, onChange, type Child } from '../dom';
import type { Actions } from '../store/actions';
import { shownSides } from '../store/selectors';
import type { State } from '../store/state';
import { copyButton } from './code';
import { runName } from './runs';
import type { View } from './view';

const SNIPPET = `import tb_gradients as tbg

model.fit(x, y, callbacks=[tbg.GradientHealth("logs/run1")])`;

const LOOP_SNIPPET = `import tb_gradients as tbg

monitor = tbg.watch(optimizer, "logs/run1", model=model)
for x, y in data:
    loss = train_step(x, y)
    monitor.step(loss=loss)
monitor.close()`;

/** In place of the whole page. */
export function createEmpty(parent: HTMLElement, actions: Actions): View {
  const element = h('main', { class: 'empty' });
  parent.append(element);

  const draw = onChange((runs: State['runs'], failure: string | undefined) => {
    if (runs && runs.length > 0) fill(element);
    else if (failure !== undefined) {
      fill(element, problem('h1', 'Gradient data could not be read', failure, actions));
    } else if (runs === null) fill(element, reading('Looking for gradient data …'));
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

/** In place of the pictures of a run that is not there, or has nothing to draw yet. */
export function createRunState(parent: HTMLElement, actions: Actions): View {
  const element = h('div', { class: 'run-state' });
  parent.append(element);

  const draw = onChange((name: string | null, frames: number | null, failure?: string) => {
    element.hidden = frames !== null && frames > 0;
    if (name === null || element.hidden) fill(element);
    else if (frames === 0) fill(element, noFrames(name));
    else if (failure !== undefined) {
      fill(element, problem('h2', `${runName(name)} could not be read`, failure, actions));
    } else fill(element, reading(`Reading ${runName(name)} …`));
  });

  return {
    update(state) {
      const [selected] = shownSides(state);
      draw(selected?.name ?? null, selected?.run?.steps.length ?? null, state.failures.run);
    },
    destroy() {
      element.remove();
    },
  };
}

function reading(sentence: string): Child {
  return h(
    'div',
    { class: 'reading', role: 'status' },
    h('p', {}, sentence),
    h('div', { class: 'reading-bar', 'aria-hidden': 'true' }),
  );
}

function problem(level: 'h1' | 'h2', heading: string, sentence: string, actions: Actions): Child {
  return h(
    'div',
    { class: 'problem', role: 'alert' },
    h(level, {}, heading),
    h('p', {}, sentence),
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
}

function noFrames(run: string): Child {
  return h(
    'div',
    { class: 'problem', role: 'status' },
    h('h2', {}, `${runName(run)} has no frames yet`),
    h(
      'p',
      {},
      'The monitor was attached; the first frame is written with the first training step. If training runs and nothing comes: a custom training loop has to call ',
      h('code', {}, 'monitor.step()'),
      ' after every step.',
    ),
    snippet(LOOP_SNIPPET),
    waiting('Reload to look again.'),
  );
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
    waiting(
      'This page looks again every few seconds and fills by itself. The folder must lie below TensorBoard’s ',
      h('code', {}, '--logdir'),
      '.',
    ),
  );
}

function waiting(...sentence: Child[]): HTMLElement {
  return h(
    'p',
    { class: 'waiting', role: 'status' },
    h('span', { class: 'pulse', 'aria-hidden': 'true' }),
    ...sentence,
  );
}

function snippet(code: string): HTMLElement {
  return h(
    'div',
    { class: 'snippet' },
    h('pre', { tabindex: 0 }, h('code', {}, code)),
    copyButton(code),
  );
}
