/**
 * A pen that writes down what is drawn as elements of an SVG.
 *
 * In:  the calls that a canvas would get.
 * Out: the same as paths and texts.
 * Knows as much of a canvas as `draw/pen.ts` asks for, and no more.
 */

import type { Box, Canvas, Pen, Vectors } from '../draw/pen';
import { escaped, short, tag } from './xml';

/** What only a browser can do. */
export interface Means {
  /** Width of a text. */
  measure(text: string, font: string): number;
  /** Address of an image of what is drawn in a box. */
  image(box: Box, draw: (canvas: Canvas) => void): string;
}

export interface Recorder extends Vectors {
  /** Everything drawn until now. */
  markup(): string;
}

interface Paint {
  readonly colour: string;
  readonly alpha: number;
}

interface Path {
  d: string;
  readonly fill: Paint | null;
  stroke: (Paint & { readonly width: number; readonly join: string; readonly dash: string }) | null;
}

/** With more shapes than this in one place nobody edits them, and programs grow slow. */
const MOST_SHAPES = 4000;

/** From the line that a canvas places a text on down to its base line, in font sizes. */
const BASELINES: Partial<Record<CanvasTextBaseline, number>> = { middle: 0.35, top: 0.81 };
const ANCHORS: Partial<Record<CanvasTextAlign, string>> = { center: 'middle', right: 'end' };

export function createRecorder(means: Means): Recorder {
  let items: (Path | string)[] = [];
  let path = '';
  let dash = '';
  /** Items before this one are finished. */
  let open = 0;
  let [left, top] = [0, 0];

  const point = (command: string, x: number, y: number): void => {
    // A canvas ignores what is no number, too.
    if (Number.isFinite(x) && Number.isFinite(y))
      path += `${command}${short(x + left)} ${short(y + top)}`;
  };

  function outline({ x, y, width, height }: Box): string {
    if (![x, y, width, height].every(Number.isFinite)) return '';
    return `M${short(x + left)} ${short(y + top)}h${short(width)}v${short(height)}h${short(-width)}z`;
  }

  const last = (): Path | null => {
    const item = items.length > open ? items.at(-1) : undefined;
    return typeof item === 'object' ? item : null;
  };

  const fillPaint = (): Paint => ({ colour: asColour(pen.fillStyle), alpha: pen.globalAlpha });

  /** What is filled and outlined in turn is one element. */
  function strokePath(d: string): void {
    if (d === '') return;
    const stroke = {
      colour: asColour(pen.strokeStyle),
      alpha: pen.globalAlpha,
      width: pen.lineWidth,
      join: pen.lineJoin,
      dash,
    };
    const before = last();
    if (before?.d === d && !before.stroke) before.stroke = stroke;
    else items.push({ d, fill: null, stroke });
  }

  const pen: Recorder = {
    fillStyle: '#000000',
    strokeStyle: '#000000',
    lineWidth: 1,
    lineJoin: 'miter',
    globalAlpha: 1,
    font: '10px sans-serif',
    textAlign: 'start',
    textBaseline: 'alphabetic',
    translate(x, y) {
      left += x;
      top += y;
    },
    setLineDash(lengths) {
      dash = lengths.join(' ');
    },
    beginPath() {
      path = '';
    },
    closePath() {
      path += 'z';
    },
    moveTo(x, y) {
      point('M', x, y);
    },
    lineTo(x, y) {
      point(path === '' ? 'M' : 'L', x, y);
    },
    rect(x, y, width, height) {
      path += outline({ x, y, width, height });
    },
    arc(x, y, radius, from, to) {
      // In two halves: an arc that ends where it began would be nothing.
      const at = (angle: number): [number, number] => [
        x + radius * Math.cos(angle),
        y + radius * Math.sin(angle),
      ];
      const half = `A${short(radius)} ${short(radius)} 0 0 1 `;
      pen.lineTo(...at(from));
      point(half, ...at((from + to) / 2));
      point(half, ...at(to));
    },
    fill() {
      if (path !== '') items.push({ d: path, fill: fillPaint(), stroke: null });
    },
    stroke() {
      strokePath(path);
    },
    fillRect(x, y, width, height) {
      const d = width === 0 || height === 0 ? '' : outline({ x, y, width, height });
      if (d === '') return;
      const fill = fillPaint();
      const before = last();
      const alike =
        before?.fill?.colour === fill.colour && before.fill.alpha === 1 && fill.alpha === 1;
      // Thousands of specks of one colour are one path.
      if (before && alike && !before.stroke) before.d += d;
      else items.push({ d, fill, stroke: null });
    },
    strokeRect(x, y, width, height) {
      strokePath(outline({ x, y, width, height }));
    },
    fillText(text, x, y) {
      const [, size = '10', family = pen.font] = /([\d.]+)px (.+)/.exec(pen.font) ?? [];
      const { colour, alpha } = fillPaint();
      items.push(
        tag(
          'text',
          {
            x: x + left,
            y: y + top + (BASELINES[pen.textBaseline] ?? 0) * Number(size),
            'text-anchor': ANCHORS[pen.textAlign] ?? null,
            fill: colour,
            'fill-opacity': alpha === 1 ? null : alpha,
            'font-family': family,
            'font-size': size,
          },
          escaped(text),
        ),
      );
    },
    measureText: (text) => ({ width: means.measure(text, pen.font) }),
    bitmap(box, draw) {
      if (box.width <= 0 || box.height <= 0) return;
      items.push(
        tag('image', {
          x: box.x + left,
          y: box.y + top,
          width: box.width,
          height: box.height,
          preserveAspectRatio: 'none',
          style: 'image-rendering: pixelated',
          href: means.image(box, draw),
        }),
      );
    },
    shapes(box, draw: (pen: Pen) => void) {
      const before = items.length;
      open = before;
      draw(pen);
      if (items.length - before <= MOST_SHAPES) return;
      items = items.slice(0, before);
      pen.bitmap(box, draw);
    },
    markup: () =>
      items.map((item) => (typeof item === 'string' ? item : markupOf(item))).join('\n'),
  };
  return pen;
}

function markupOf({ d, fill, stroke }: Path): string {
  return tag('path', {
    d,
    fill: fill?.colour ?? 'none',
    'fill-opacity': opacity(fill),
    stroke: stroke?.colour ?? null,
    'stroke-opacity': opacity(stroke),
    'stroke-width': stroke?.width ?? null,
    'stroke-linejoin': stroke && stroke.join !== 'miter' ? stroke.join : null,
    'stroke-dasharray': stroke && stroke.dash !== '' ? stroke.dash : null,
  });
}

const opacity = (paint: Paint | null): number | null =>
  paint && paint.alpha !== 1 ? paint.alpha : null;

function asColour(style: string | CanvasGradient | CanvasPattern): string {
  if (typeof style === 'string') return style;
  throw new TypeError('Pictures are drawn in plain colours.');
}
