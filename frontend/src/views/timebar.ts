/** The step everything is read off at: a slider over the frames, and how much of training they are. */

import type { Run } from '../api/types';
import { fill, h, onChange } from '../dom';
import { formatCount, formatNumber, plural } from '../scale/format';
import type { Actions } from '../store/actions';
import { shownFrame, shownFrames, stepsPerEpoch } from '../store/selectors';
import type { StepRange } from '../store/state';
import { icon } from './icons';
import type { View } from './view';

export function createTimebar(parent: HTMLElement, actions: Actions): View {
  const first = createSlider('Step', (run, frame) => {
    // At its right end the slider follows a run that grows.
    const last = frame === run.steps.length - 1;
    actions.selectStep(last ? null : (run.steps[frame] ?? null));
  });
  const second = createSlider('Second step', (run, frame) => {
    actions.setCompareStep(run.steps[frame] ?? null);
  });
  const two = h('button', { type: 'button', class: 'second-step' });
  let toggleSecond = (): void => undefined;
  two.addEventListener('click', () => {
    toggleSecond();
  });
  const frames = h('span', { class: 'frame-count' });
  const zoom = h('button', {
    type: 'button',
    class: 'zoom',
    title: 'Show all steps again',
    onclick: () => {
      actions.setStepRange(null);
    },
  });
  const element = h(
    'div',
    { class: 'timebar', role: 'group', 'aria-label': 'Step' },
    first.element,
    second.element,
    h('div', { class: 'timebar-end' }, two, zoom, frames),
  );
  parent.append(element);

  const draw = onChange(
    (run: Run | null, step: number | null, compareStep: number | null, range: StepRange | null) => {
      element.hidden = run === null || run.steps.length === 0;
      if (!run) return;
      const shown = shownFrames(run.steps, range);
      first.update(run, shownFrame(run, step), shown);
      second.element.hidden = compareStep === null;
      second.update(run, shownFrame(run, compareStep), shown);
      two.textContent = compareStep === null ? 'Compare steps' : 'One step';
      toggleSecond = () => {
        actions.setCompareStep(compareStep === null ? (run.steps[shown.from] ?? 0) : null);
      };
      const [from, to] = [run.steps[0] ?? 0, run.steps.at(-1) ?? 0];
      const count = shown.to - shown.from;
      const epoch = stepsPerEpoch(run);
      frames.textContent = [
        run.glance
          ? `first look at ${plural(run.steps.length, 'frame')}, reading the rest …`
          : count < run.steps.length
            ? `${formatCount(count)} of ${plural(run.steps.length, 'frame')} shown`
            : plural(run.steps.length, 'frame'),
        `${plural(to - from + 1, 'step')} trained`,
        ...(epoch > 0
          ? [`${formatNumber((to + 1) / epoch, 2)} epochs of ${formatCount(epoch)}`]
          : []),
      ].join(' · ');
      zoom.hidden = range === null;
      if (range) {
        fill(
          zoom,
          `Steps ${formatCount(range[0])}–${formatCount(range[1])}`,
          icon('close'),
          h('span', { class: 'visually-hidden' }, ': show all steps'),
        );
      }
    },
  );

  return {
    update(state) {
      draw(state.run, state.selectedStep, state.compareStep, state.stepRange);
    },
    destroy() {
      element.remove();
    },
  };
}

interface Slider {
  readonly element: HTMLElement;
  update(run: Run, frame: number, shown: { from: number; to: number }): void;
}

/** Over frames, not steps: every frame can be reached, however dense the start was logged. */
function createSlider(label: string, choose: (run: Run, frame: number) => void): Slider {
  let run: Run | null = null;
  const range = h('input', {
    type: 'range',
    min: 0,
    step: 1,
    'aria-label': label,
    oninput: () => {
      if (run) choose(run, range.valueAsNumber);
    },
  });
  const go = (name: string, sign: string, by: number): HTMLButtonElement =>
    h(
      'button',
      {
        type: 'button',
        'aria-label': `${label}: ${name}`,
        title: name,
        onclick: () => {
          if (run) choose(run, range.valueAsNumber + by);
        },
      },
      sign,
    );
  const before = go('frame before', '‹', -1);
  const after = go('frame after', '›', 1);
  const exact = h('input', {
    type: 'number',
    class: 'exact-step',
    'aria-label': `${label}, as a number`,
    onchange: () => {
      if (run && exact.value !== '') choose(run, shownFrame(run, exact.valueAsNumber));
    },
  });
  return {
    element: h('div', { class: 'slider' }, h('span', {}, label), exact, before, range, after),
    update(next, frame, { from, to }) {
      run = next;
      const step = next.steps[frame] ?? 0;
      const [lowest, highest] = [Math.min(from, frame), Math.max(to - 1, frame)];
      range.min = String(lowest);
      range.max = String(highest);
      range.value = String(frame);
      range.setAttribute(
        'aria-valuetext',
        `step ${formatCount(step)}, frame ${frame + 1} of ${next.steps.length}`,
      );
      if (document.activeElement !== exact) exact.value = String(step);
      exact.min = String(next.steps[lowest] ?? 0);
      exact.max = String(next.steps[highest] ?? 0);
      before.disabled = frame <= lowest;
      after.disabled = frame >= highest;
    },
  };
}
