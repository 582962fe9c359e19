/** The colours of the heat-map and what its marks mean. */

import type { Theme } from '../host';
import { createDrawing, type Drawing } from '../draw/canvas';
import { drawMissing, drawNonfinite, drawOnset, drawZero } from '../draw/marks';
import type { Pen } from '../draw/pen';
import { h, onChange } from '../dom';
import { PALETTES, ramp, RAMP_SIZE, type Palette } from '../scale/colour';
import { position, ticks, type Domain } from '../scale/domain';
import { formatTick } from '../scale/format';
import { INF, NAN } from '../scale/nonfinite';
import { FONT } from './layout';

export interface Legend {
  update(domain: Domain | null, theme: Theme): void;
  destroy(): void;
}

type Draw = (context: Pen, palette: Palette, width: number, height: number) => void;

/** Everything in the picture that is no colour, as it is drawn there. */
const MARKS: readonly (readonly [string, Draw])[] = [
  [
    'NaN (or either)',
    (context, palette, width, height) => {
      drawNonfinite(context, palette, 0, 0, width, height, NAN);
    },
  ],
  [
    'Inf',
    (context, palette, width, height) => {
      drawNonfinite(context, palette, 0, 0, width, height, INF);
    },
  ],
  [
    'not measured',
    (context, palette, width, height) => {
      drawMissing(context, palette, 0, 0, width, height);
    },
  ],
  [
    'a finding begins',
    (context, palette, _, height) => {
      drawOnset(context, palette, palette.critical, 3, 0, height);
    },
  ],
];

export function createLegend(parent: HTMLElement): Legend {
  let domain: Domain | null = null;
  let theme: Theme = 'light';
  const scale = createDrawing('legend', (context, width) => {
    if (domain) drawScale(context, domain, theme, width);
  });
  scale.element.setAttribute('role', 'img');
  const marks = MARKS.map(([name, draw]): { name: string; drawing: Drawing } => {
    const drawing = createDrawing('legend-mark', (context, width, height) => {
      draw(context, PALETTES[theme], width, height);
    });
    drawing.element.setAttribute('aria-hidden', 'true');
    return { name, drawing };
  });
  const element = h(
    'div',
    { class: 'legend-bar' },
    scale.element,
    h(
      'ul',
      { class: 'legend-key' },
      marks.map(({ name, drawing }) => h('li', {}, drawing.element, h('span', {}, name))),
    ),
  );
  parent.append(element);

  const draw = onChange((...[next, shade]: [Domain | null, Theme]) => {
    domain = next;
    theme = shade;
    if (next) {
      scale.element.setAttribute(
        'aria-label',
        `Colours from ${formatTick(next.kind, next.low)} to ${formatTick(next.kind, next.high)}`,
      );
    }
    scale.request();
    for (const { drawing } of marks) drawing.request();
  });

  return {
    update: draw,
    destroy() {
      scale.destroy();
      for (const { drawing } of marks) drawing.destroy();
      element.remove();
    },
  };
}

function drawScale(context: Pen, domain: Domain, theme: Theme, width: number): void {
  const palette = PALETTES[theme];
  const colours = ramp(theme, domain.kind);
  const docked = domain.kind === 'log' || domain.kind === 'ratio';
  const left = docked ? 22 : 4;
  const [bar, y, height] = [width - left - 12, 3, 11];
  for (let x = 0; x < bar; x++) {
    const c = 3 * Math.round((x / (bar - 1)) * (RAMP_SIZE - 1));
    context.fillStyle = `rgb(${colours[c]} ${colours[c + 1]} ${colours[c + 2]})`;
    context.fillRect(left + x, y, 1.5, height);
  }
  if (domain.kind === 'health') {
    // The limits of the rules.
    context.fillStyle = palette.text;
    for (const limit of [-1, 1]) {
      context.fillRect(
        left + Math.round(position(domain, limit) * (bar - 1)),
        y - 2,
        1,
        height + 4,
      );
    }
  }
  context.font = FONT;
  context.fillStyle = palette.quiet;
  context.textBaseline = 'top';
  const share = domain.kind === 'linear' && domain.low === 0 && domain.high === 1;
  let taken = -Infinity;
  for (const value of ticks(domain, Math.max(2, Math.floor(bar / 44)))) {
    const label = formatTick(domain.kind, value, share);
    const half = context.measureText(label).width / 2;
    const place = left + position(domain, value) * (bar - 1);
    const x = Math.min(width - half, Math.max(left + half - 3, place));
    if (x - half < taken + 6) continue;
    context.textAlign = 'center';
    context.fillText(label, x, y + height + 3);
    taken = x + half;
  }
  if (!docked) return;
  drawZero(context, palette, 4, y, 12, height);
  context.fillStyle = palette.quiet;
  context.textAlign = 'center';
  context.fillText('0', 10, y + height + 3);
}
