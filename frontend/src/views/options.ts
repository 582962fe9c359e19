/** How all pictures are drawn, and the way back to how they were at first. */

import { h, type Child } from '../dom';
import type { Spacing } from '../scale/axis';
import { MOST_SMOOTHING } from '../scale/smooth';
import type { Actions } from '../store/actions';
import { isDefaultView } from '../store/selectors';
import type { ColourRange, ValueScale } from '../store/state';
import { choice } from './choice';
import { createPopup } from './popup';
import type { View } from './view';

export interface Options extends View {
  readonly elements: readonly HTMLElement[];
}

export function createOptions(actions: Actions): Options {
  const spacing = choice<Spacing>(
    'Step axis',
    [
      ['steps', 'Step', 'All steps are equally wide'],
      ['frames', 'Frame', 'Every frame has the same width: room for the densely logged start'],
      ['log', 'Log step', 'Logarithmic: room for the start, by step'],
      ['relative', 'Time', 'Time since the first frame of each run'],
      ['wall', 'Clock', 'Date and time of day'],
    ],
    actions.setSpacing,
  );
  const scale = choice<ValueScale>(
    'Value axis of the charts',
    [
      ['own', 'Log', 'Logarithmic where the statistic is one of size'],
      ['linear', 'Linear', 'Linear'],
    ],
    actions.setValueScale,
  );
  const colours = choice<ColourRange>(
    'Range of the colours',
    [
      ['fixed', 'Same for all', 'The same colour is the same value in every run'],
      ['run', 'Fit to run', 'All colours for the values of the runs that are shown'],
    ],
    actions.setColourRange,
  );
  const smoothing = h('input', {
    type: 'range',
    min: 0,
    max: MOST_SMOOTHING,
    step: 0.01,
    'aria-label': 'Smoothing of the charts',
    title: 'Exponential moving average, as in Time Series; the values themselves stay, faint',
    oninput: () => {
      actions.setSmoothing(smoothing.valueAsNumber);
    },
  });
  const smooth = h('output', {});
  const button = (label: string, act: () => void): HTMLButtonElement =>
    h('button', { type: 'button', onclick: act }, label);
  const reset = button('Reset view', actions.resetView);
  const options = createPopup(
    'options',
    'Options',
    option('Step axis', spacing.element),
    option('Values', scale.element),
    option('Smoothing', h('span', { class: 'pair' }, smoothing, smooth)),
    option('Colours', colours.element),
    option(
      'Modules',
      h(
        'span',
        { class: 'pair' },
        button('Open all', () => {
          actions.setAllModules(true);
        }),
        button('Close all', () => {
          actions.setAllModules(false);
        }),
      ),
    ),
  );

  return {
    elements: [reset, options.element],
    update(state) {
      spacing.update(state.spacing);
      scale.update(state.valueScale);
      colours.update(state.colourRange);
      smoothing.valueAsNumber = state.smoothing;
      smooth.textContent = state.smoothing === 0 ? 'off' : state.smoothing.toFixed(2);
      reset.hidden = isDefaultView(state);
    },
    destroy() {
      options.destroy();
      reset.remove();
    },
  };
}

function option(label: string, control: Child): HTMLElement {
  return h('div', { class: 'option' }, h('span', { class: 'option-label' }, label), control);
}
