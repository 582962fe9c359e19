/** The colours of the heat-map and what its marks mean. */

import type { Theme } from '../host';
import { createDrawing } from '../draw/canvas';
import { drawMissing, drawNonfinite, drawZero } from '../draw/marks';
import { h, onChange } from '../dom';
import { PALETTES, ramp, RAMP_SIZE } from '../scale/colour';
import { position, ticks, type Domain } from '../scale/domain';
import { formatTick } from '../scale/format';
import { FONT } from './layout';

export interface Legend {
  update(domain: Domain | null, theme: Theme): void;
  destroy(): void;
}

export function createLegend(parent: HTMLElement): Legend {
  let domain: Domain | null = null;
  let theme: Theme = 'light';
  const scale = createDrawing('legend', (context, width) => {
    if (domain) drawLegend(context, domain, theme, width);
  });
  scale.element.setAttribute('role', 'img');
  const element = h('div', { class: 'legend-bar' }, scale.element);
  parent.append(element);

  const draw = onChange((...[next, shade]: [Domain | null, Theme]) => {
    domain = next;
    theme = shade;
    if (next) {
      scale.element.setAttribute(
        'aria-label',
        `Colours from ${formatTick(next.kind, next.low)} to ${formatTick(next.kind, next.high)}; a cross on black: not finite; hatching: not measured`,
      );
    }
    scale.request();
  });

  return {
    update: draw,
    destroy() {
      scale.destroy();
      element.remove();
    },
  };
}

function drawLegend(
  context: CanvasRenderingContext2D,
  domain: Domain,
  theme: Theme,
  width: number,
): void {
  const palette = PALETTES[theme];
  const colours = ramp(theme, domain.kind);
  const [bar, y, height] = [width - 204, 3, 11];
  const docked = domain.kind === 'log' || domain.kind === 'ratio';
  const left = docked ? 22 : 4;
  for (let x = 0; x < bar; x++) {
    const c = 3 * Math.round((x / (bar - 1)) * (RAMP_SIZE - 1));
    context.fillStyle = `rgb(${colours[c]} ${colours[c + 1]} ${colours[c + 2]})`;
    context.fillRect(left + x, y, 1.5, height);
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
    const x = Math.min(left + bar + 8 - half, Math.max(left + half - 3, place));
    if (x - half < taken + 6) continue;
    context.textAlign = 'center';
    context.fillText(label, x, y + height + 3);
    taken = x + half;
  }
  if (docked) {
    drawZero(context, palette, 4, y, 12, height);
    context.fillStyle = palette.quiet;
    if (taken > -Infinity) {
      context.textAlign = 'center';
      context.fillText('0', 10, y + height + 3);
    }
  }
  const marks = left + bar + 14;
  drawNonfinite(context, palette, marks, y, 12, height);
  drawMissing(context, palette, marks + 78, y, 14, height);
  context.fillStyle = palette.quiet;
  context.textAlign = 'left';
  context.fillText('NaN / Inf', marks + 16, y);
  context.fillText('not measured', marks + 96, y);
}
