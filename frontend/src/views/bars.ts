/** The distribution of one variable at one step, with the second step and the second run. */

import { h, remember } from '../dom';
import { createDrawing } from '../draw/canvas';
import { drawHistogramBars, type Overlay } from '../draw/histogram';
import { PALETTES } from '../scale/colour';
import { formatCount, formatShare, plural } from '../scale/format';
import {
  histogramAt,
  nonfiniteShare,
  readHistograms,
  type Histogram,
  type HistogramFrame,
} from '../scale/histogram';
import { shownFrame, shownSides } from '../store/selectors';
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
    drawHistogramBars(context, histogram, main.frame, overlays, width, height, palette);
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
  let overlays: readonly Overlay[] = [];

  const read = remember((first: VariableData | null, second: VariableData | null) =>
    first
      ? readHistograms(
          second ? [first.histogram, second.histogram] : [first.histogram],
          first.run.histogram,
        )
      : [],
  );

  function frameOf(
    own: Histogram | undefined,
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
      const [first, second] = [0, 1].map((which) => {
        const data = sides[which]?.variable ?? null;
        return data?.variable === next.selectedVariable ? data : null;
      });
      const both = read(first ?? null, second ?? null);
      histogram = both[0] ?? null;
      main = frameOf(both[0], first ?? null, next.selectedStep);
      element.hidden = main === null;
      if (!main) return;
      const palette = PALETTES[next.theme];
      const other = frameOf(both[1], second ?? null, next.selectedStep);
      const then =
        next.compareStep === null ? null : frameOf(both[0], first ?? null, next.compareStep);
      overlays = [
        ...(then ? [{ frame: then.frame, colour: palette.text, dashed: true }] : []),
        ...(other ? [{ frame: other.frame, colour: palette.second, dashed: false }] : []),
      ];
      const nonfinite = nonfiniteShare(main.frame);
      const text = [
        `Gradient values at step ${formatCount(main.step)}`,
        `${plural(main.frame.total, 'element')} counted`,
        `${formatShare(main.frame.zero)} exactly zero`,
        nonfinite > 0 ? `${formatShare(nonfinite)} NaN or Inf` : 'none NaN or Inf',
        ...(then ? [`dashed outline: step ${formatCount(then.step)}`] : []),
        ...(other ? [`outline: ${sides[1]?.name ?? ''} at step ${formatCount(other.step)}`] : []),
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
