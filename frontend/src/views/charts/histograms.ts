/** Histograms of the gradient over steps, as colours or as ridge lines. */

import { h, remember } from '../../dom';
import { createDrawing } from '../../draw/canvas';
import { drawHistogramMap, drawRidges, ridgeBase, type Ridge } from '../../draw/histogram';
import type { Pen } from '../../draw/pen';
import type { StepAxis } from '../../scale/axis';
import { PALETTES } from '../../scale/colour';
import { formatCount } from '../../scale/format';
import { histogramAt, pickHistograms, type Histogram } from '../../scale/histogram';
import type { Actions } from '../../store/actions';
import { readAll, shownFrame, shownFrames, type Side } from '../../store/selectors';
import type { HistogramForm, State } from '../../store/state';
import { CHART_INSET, FONT } from '../layout';
import { chooseByPointer, drawBackdrop, drawSteps, type Axes, type Panel } from './axes';

export function createHistogramPanel(actions: Actions, axes: Axes): Panel {
  const note = h('span', { class: 'panel-guide' });
  const drawing = createDrawing('panel-canvas', draw);
  let form: HistogramForm = 'map';
  const forms = (
    [
      ['map', 'Heat', 'Colour over steps'],
      ['ridges', 'Ridges', 'One line for each of some steps'],
    ] as const
  ).map(([name, label, meaning]) =>
    h(
      'button',
      {
        type: 'button',
        title: meaning,
        'aria-pressed': String(name === form),
        onclick: () => {
          actions.setHistogramForm(name);
        },
      },
      label,
    ),
  );
  const element = h(
    'div',
    { class: 'panel panel-histogram', 'data-of': 'variable', 'data-title': 'Gradient values' },
    h(
      'div',
      { class: 'panel-label' },
      h('h3', {}, 'Gradient values'),
      h('div', { class: 'choice', role: 'group', 'aria-label': 'Form of the histograms' }, forms),
      note,
    ),
    drawing.element,
  );
  let state: State | null = null;
  let sides: readonly Side[] = [];
  let histograms: readonly (Histogram | null)[] = [];
  let axis: StepAxis | null = null;
  /** Histograms that the ridge-line form shows. */
  let picked: readonly number[] = [];
  // The step axis of the heat form; the ridge-line form has another axis and its own press.
  chooseByPointer(drawing.element, actions, () => (form === 'map' ? axis : null));
  drawing.element.addEventListener('click', (event) => {
    const taken = sides[0]?.variable?.run.histogramSteps;
    if (form === 'map' || !taken) return;
    const y = event.clientY - drawing.element.getBoundingClientRect().top;
    const height = drawing.element.clientHeight;
    const index = picked.findIndex((_, i) => y <= ridgeBase(i, picked.length, height));
    actions.selectStep(taken[picked[index] ?? picked.at(-1) ?? 0] ?? null);
  });

  const read = remember(readAll);

  function showForm(): void {
    forms.forEach((button, i) => {
      button.setAttribute('aria-pressed', String((i === 0) === (form === 'map')));
    });
    element.dataset.form = form;
    const others = sides.slice(1).map(({ name }) => name);
    note.textContent =
      form === 'map'
        ? `${others.length > 0 ? `of ${sides[0]?.name ?? ''}, ` : ''}one row per sign and power of two; stronger: more of the elements`
        : `height: share of the elements${others.length > 0 ? `; dashed: ${others.join(', ')}` : ''}`;
    drawing.request();
  }

  function ridges(now: State): Ridge[] {
    const one = sides[0]?.variable;
    const [first] = histograms;
    if (!one || !first) return [];
    const { steps, histogramSteps: taken } = one.run;
    const { from, to } = shownFrames(steps, now.stepRange);
    picked = pickHistograms(taken, steps[from] ?? 0, steps[to - 1] ?? 0, 18);
    const chosen = (step: number | null): number =>
      histogramAt(taken, steps[shownFrame(one.run, step)] ?? 0);
    const marked = chosen(now.selectedStep);
    const compared = now.compareStep === null ? -1 : chosen(now.compareStep);
    picked = [...new Set([...picked, marked, compared])]
      .filter((i) => i >= 0)
      .sort((a, b) => a - b);
    return picked.map((i) => {
      const step = taken[i] ?? 0;
      const others = sides.slice(1).flatMap(({ variable, colour }, beside) => {
        const at = variable ? histogramAt(variable.run.histogramSteps, step) : -1;
        const frame = histograms[beside + 1]?.frames[at];
        return frame ? [{ frame, colour }] : [];
      });
      return {
        frame: first.frames[i] ?? null,
        others,
        label: formatCount(step),
        chosen: i === marked ? 'first' : i === compared ? 'second' : null,
      };
    });
  }

  function draw(context: Pen, width: number, height: number): void {
    const data = sides[0]?.variable;
    const [histogram] = histograms;
    if (!state || !data || !histogram) return;
    const palette = { ...PALETTES[state.theme], first: sides[0]?.colour ?? '' };
    const room = width - CHART_INSET;
    axis = axes(state, sides, room)[0] ?? null;
    if (!axis) return;
    context.font = FONT;
    // From here on x = 0 is where the cells of the heat-map begin.
    context.translate(CHART_INSET, 0);
    if (form === 'ridges') {
      drawRidges(context, histogram, ridges(state), axis.width, height, palette);
      return;
    }
    drawBackdrop(context, state, axis, height, palette);
    drawHistogramMap(context, histogram, data.run.histogramSteps, axis, 0, height, palette);
    drawSteps(context, state, data.run, axis, height, palette);
  }

  return {
    element,
    update(next, shown) {
      state = next;
      sides = shown;
      form = next.histogramForm;
      const data = shown[0]?.variable ?? null;
      histograms = read(...shown.map(({ variable }) => variable));
      const empty =
        data !== null && !histograms[0]?.frames.some((frame) => (frame?.total ?? 0) > 0);
      element.dataset.empty = String(empty);
      showForm();
    },
    destroy() {
      drawing.destroy();
      element.remove();
    },
  };
}
