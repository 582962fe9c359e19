/** The distribution of one variable at one step, with the second step and the second run. */

import { h, remember } from '../dom';
import { createDrawing } from '../draw/canvas';
import { drawHistogramBars, type Overlay } from '../draw/histogram';
import { PALETTES } from '../scale/colour';
import { formatCount, formatShare, plural } from '../scale/format';
import {
  histogramAt,
  nonfiniteMark,
  nonfiniteShare,
  type Histogram,
  type HistogramFrame,
} from '../scale/histogram';
import { markWords } from '../scale/nonfinite';
import { readAll, shownFrame, shownSides } from '../store/selectors';
import type { State, VariableData } from '../store/state';
import { FONT } from './layout';
import type { View } from './view';

export interface Bars extends View {
  readonly element: HTMLElement;
}

interface Taken {
  readonly frame: HistogramFrame;
  readonly step: number;
}

export function createBars(): Bars {
  const caption = h('figcaption', {});
  const drawing = createDrawing('bars', (context, width, height) => {
    if (!state || !histogram || !main) return;
    context.font = FONT;
    const palette = PALETTES[state.theme];
    const own = { ...palette, first: colour };
    drawHistogramBars(context, histogram, main.frame, overlays, width, height, own);
  });
  drawing.element.setAttribute('role', 'img');
  const element = h(
    'figure',
    { class: 'bars-figure', 'data-picture': 'Gradient values', 'data-picture-of': 'variable' },
    drawing.element,
    caption,
  );
  let state: State | null = null;
  let histogram: Histogram | null = null;
  let main: Taken | null = null;
  let colour = '';
  let overlays: readonly Overlay[] = [];

  const read = remember(readAll);

  function frameOf(
    own: Histogram | null | undefined,
    data: VariableData | null,
    step: number | null,
  ): Taken | null {
    if (!own || !data) return null;
    const { run } = data;
    const index = histogramAt(run.histogramSteps, run.steps[shownFrame(run, step)] ?? 0);
    const frame = own.frames[index];
    return frame ? { frame, step: run.histogramSteps[index] ?? 0 } : null;
  }

  return {
    element,
    update(next) {
      state = next;
      const sides = shownSides(next);
      const [first = null, ...others] = sides.map(({ variable }) =>
        variable?.variable === next.selectedVariable ? variable : null,
      );
      const all = read(first, ...others);
      histogram = all[0] ?? null;
      colour = sides[0]?.colour ?? '';
      main = frameOf(all[0], first, next.selectedStep);
      // Of a gradient that is None there is nothing to draw.
      element.hidden = main === null || main.frame.total === 0;
      if (!main) return;
      const palette = PALETTES[next.theme];
      const besides = others.flatMap((data, i) => {
        const taken = frameOf(all[i + 1] ?? undefined, data, next.selectedStep);
        const side = sides[i + 1];
        return taken && side ? [{ ...taken, colour: side.colour, name: side.name }] : [];
      });
      const then = next.compareStep === null ? null : frameOf(all[0], first, next.compareStep);
      overlays = [
        ...(then ? [{ frame: then.frame, colour: palette.text, dashed: true }] : []),
        ...besides.map((other) => ({ ...other, dashed: false })),
      ];
      const nonfinite = nonfiniteShare(main.frame);
      const text = [
        `Gradient values at step ${formatCount(main.step)}`,
        `${plural(main.frame.total, 'element')} counted`,
        `${formatShare(main.frame.zero)} exactly zero`,
        nonfinite > 0
          ? `${formatShare(nonfinite)} ${markWords(nonfiniteMark(main.frame))}`
          : 'none NaN or Inf',
        ...(then ? [`dashed outline: step ${formatCount(then.step)}`] : []),
        ...besides.map(({ name, step }) => `outline: ${name} at step ${formatCount(step)}`),
      ].join(', ');
      caption.textContent = text;
      drawing.element.setAttribute('aria-label', text);
      drawing.request();
    },
    destroy() {
      drawing.destroy();
      element.remove();
    },
  };
}
