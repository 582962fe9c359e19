/**
 * What an element shows, as a picture file: its canvases, its texts, its icons.
 *
 * In:  an element of the page, as large and as scrolled as it is (`unroll` makes it whole).
 * Out: shapes with positions, and from them SVG text or a PNG.
 * Does not know what is shown. A browser gives pages no way to photograph themselves, and the
 * names beside our canvases are elements; so they are read from the page and drawn again, and
 * so are the canvases: as vectors, or in more pixels than the page has.
 */

import { drawnAgain } from '../draw/canvas';
import type { Box, Pen } from '../draw/pen';
import { createRecorder, type Means } from './vectors';
import { escaped, tag } from './xml';

export type Shape = { readonly clip: Box } & (
  | { readonly kind: 'rectangle'; readonly box: Box; readonly colour: string }
  | { readonly kind: 'drawing'; readonly box: Box; readonly draw: (pen: Pen) => void }
  | { readonly kind: 'icon'; readonly box: Box; readonly path: string; readonly colour: string }
  | {
      readonly kind: 'text';
      readonly x: number;
      /** Of the base line. */
      readonly y: number;
      readonly text: string;
      readonly font: Font;
      readonly colour: string;
    }
);

interface Font {
  readonly family: string;
  readonly size: number;
  readonly weight: string;
}

export interface Picture {
  readonly width: number;
  readonly height: number;
  readonly shapes: readonly Shape[];
}

/** Room above the element for a line that says what it is, and for each further one. */
const TITLE = 30;
const LINE = 17;
const MARGIN = 12;
/** Width of an ellipsis in font sizes. */
const DOTS = 0.8;
/** Icons are drawn on a board of this size. */
const ICON = 16;
const NO_COLOUR = /^rgba\(.*, 0\)$|^transparent$/;

/** Read off an element; `title` is written above it. */
export function takePicture(root: HTMLElement, title: string): Picture {
  const outer = root.getBoundingClientRect();
  const style = getComputedStyle(root);
  const width = Math.ceil(outer.width);
  const font: Font = { ...fontOf(style), size: 13, weight: '600' };
  const lines = broken(title, width - 2 * MARGIN, (text) => measured(text, cssOf(font)));
  const above = TITLE + LINE * (lines.length - 1);
  const height = Math.ceil(outer.height) + above;
  const [dx, dy] = [-outer.left, above - outer.top];
  const all: Box = { x: 0, y: 0, width, height };
  const moved = (box: DOMRect): Box => ({
    x: box.left + dx,
    y: box.top + dy,
    width: box.width,
    height: box.height,
  });
  const page = getComputedStyle(document.body);
  const shapes: Shape[] = [
    { kind: 'rectangle', box: all, colour: page.backgroundColor, clip: all },
    ...lines.map((text, i): Shape => {
      const y = 20 + LINE * i;
      return { kind: 'text', x: MARGIN, y, text, font, colour: page.color, clip: all };
    }),
  ];

  function visit(element: Element, clip: Box): void {
    if (!element.checkVisibility({ visibilityProperty: true })) return;
    if (element.matches('.visually-hidden, .tooltip, .icon-chevron')) return;
    const computed = getComputedStyle(element);
    const box = moved(element.getBoundingClientRect());
    const inner = computed.overflowX === 'visible' ? clip : intersection(clip, box);
    // A box of height 0 may have visible children; one that is cut off entirely has none.
    if (inner.width <= 0 || inner.height <= 0) return;
    const outline = outlineOf(computed);
    if (outline) {
      shapes.push({ kind: 'icon', box, path: outline, colour: computed.backgroundColor, clip });
    } else if (element !== root && !NO_COLOUR.test(computed.backgroundColor)) {
      shapes.push({ kind: 'rectangle', box, colour: computed.backgroundColor, clip });
    }
    if (element instanceof HTMLCanvasElement) {
      const draw = drawnAgain(element);
      if (draw) shapes.push({ kind: 'drawing', box: whole(box), draw, clip });
      return;
    }
    if (element instanceof SVGSVGElement) {
      const path = element.querySelector('path')?.getAttribute('d');
      if (path) shapes.push({ kind: 'icon', box, path, colour: computed.color, clip });
      return;
    }
    for (const child of element.childNodes) {
      if (child instanceof Element) visit(child, inner);
      else if (child instanceof Text) {
        for (const line of linesOf(child)) {
          const place = moved(line.box);
          const font = fontOf(computed);
          const y = place.y + place.height / 2 + 0.35 * font.size;
          const cut =
            computed.textOverflow === 'ellipsis' && element.scrollWidth > element.clientWidth;
          const text = cut ? beginning(child, element, font) : line.text;
          const shape = { text, font, colour: computed.color, clip: inner };
          shapes.push({ kind: 'text', x: place.x, y, ...shape });
        }
      }
    }
  }

  visit(root, all);
  return { width, height, shapes: shapes.filter(isSeen) };
}

function isSeen(shape: Shape): boolean {
  if (shape.kind === 'text') {
    const { clip, y, x, font } = shape;
    return y > clip.y && y - font.size < clip.y + clip.height && x < clip.x + clip.width;
  }
  const { width, height } = intersection(shape.clip, shape.box);
  return width > 0 && height > 0;
}

/** Of the marks of runs, which the style sheet cuts out of boxes; null: a box. */
function outlineOf({ backgroundColor, borderRadius, clipPath, rotate }: CSSStyleDeclaration) {
  if (NO_COLOUR.test(backgroundColor)) return null;
  if (borderRadius === '50%') return 'M0 8a8 8 0 1 1 16 0a8 8 0 1 1-16 0z';
  if (rotate === '45deg') return 'M8 0L16 8L8 16L0 8z';
  return clipPath.startsWith('polygon') ? 'M8 0L16 16H0z' : null;
}

/** Pixels of a canvas are drawn for pixels of the page. */
const whole = ({ x, y, width, height }: Box): Box => ({
  x: Math.round(x),
  y: Math.round(y),
  width: Math.round(width),
  height: Math.round(height),
});

function intersection(a: Box, b: Box): Box {
  const [x, y] = [Math.max(a.x, b.x), Math.max(a.y, b.y)];
  return {
    x,
    y,
    width: Math.min(a.x + a.width, b.x + b.width) - x,
    height: Math.min(a.y + a.height, b.y + b.height) - y,
  };
}

/** A text as the page broke it into lines. */
function linesOf(node: Text): { text: string; box: DOMRect }[] {
  const range = document.createRange();
  const lines: { text: string; box: DOMRect }[] = [];
  for (const { 0: word, index } of node.data.matchAll(/\S+\s*/g)) {
    range.setStart(node, index);
    range.setEnd(node, index + word.trimEnd().length);
    const box = range.getClientRects()[0];
    if (!box) continue;
    const line = lines.at(-1);
    if (line && Math.abs(line.box.top - box.top) < 2) line.text += word;
    else lines.push({ text: word, box });
  }
  return lines.map(({ text, box }) => ({ text: text.trimEnd(), box }));
}

/** In as few lines as there is room for, broken at spaces. */
export function broken(text: string, room: number, width: (text: string) => number): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const longer = `${lines.at(-1) ?? ''} ${word}`;
    if (lines.length > 0 && width(longer) <= room) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines;
}

/** A text as the page cut it off, with its dots. */
function beginning(node: Text, element: Element, { size }: Font): string {
  const right = element.getBoundingClientRect().right - DOTS * size;
  const range = document.createRange();
  range.selectNodeContents(node);
  let end = node.length;
  while (end > 0 && range.getBoundingClientRect().right > right) range.setEnd(node, --end);
  return `${node.data.slice(0, end)}…`;
}

function fontOf({ fontFamily, fontSize, fontWeight }: CSSStyleDeclaration): Font {
  return { family: fontFamily, size: parseFloat(fontSize), weight: fontWeight };
}

const cssOf = ({ weight, size, family }: Font): string => `${weight} ${size}px ${family}`;

/** Vectors, but for what its drawing asks to be pixels. */
export function toSvg({ width, height, shapes }: Picture, means: Means = BROWSER): string {
  const size = { width, height, viewBox: `0 0 ${width} ${height}` };
  const content = shapes.map((shape) => svgOf(shape, means)).join('\n');
  return `${tag('svg', { xmlns: 'http://www.w3.org/2000/svg', ...size }, `\n${content}\n`)}\n`;
}

/** An SVG inside the SVG clips what it holds. */
function svgOf(shape: Shape, means: Means): string {
  const { x, y, width, height } = shape.clip;
  const viewBox = `${x} ${y} ${width} ${height}`;
  return tag('svg', { x, y, width, height, viewBox }, contentOf(shape, means));
}

function contentOf(shape: Shape, means: Means): string {
  if (shape.kind === 'text') {
    const { font, x, y, colour: fill } = shape;
    const written = {
      'font-family': font.family,
      'font-size': font.size,
      'font-weight': font.weight,
    };
    return tag('text', { x, y, fill, ...written }, escaped(shape.text));
  }
  const { x, y, width, height } = shape.box;
  if (shape.kind === 'rectangle') return tag('rect', { x, y, width, height, fill: shape.colour });
  if (shape.kind === 'icon') {
    const path = tag('path', { d: shape.path, fill: shape.colour, 'fill-rule': 'evenodd' });
    return tag('svg', { x, y, width, height, viewBox: `0 0 ${ICON} ${ICON}` }, path);
  }
  const recorder = createRecorder(means);
  shape.draw(recorder);
  // Corners as sharp as those of a canvas.
  return tag('svg', { x, y, width, height, 'stroke-miterlimit': 10 }, recorder.markup());
}

function measured(text: string, font: string): number {
  const context = new OffscreenCanvas(1, 1).getContext('2d');
  if (!context) return 0;
  context.font = font;
  return context.measureText(text).width;
}

const BROWSER: Means = {
  measure: measured,
  image({ x, y, width, height }, draw) {
    // An offscreen canvas has no address.
    const canvas = document.createElement('canvas');
    const ratio = pixelRatio();
    [canvas.width, canvas.height] = [Math.ceil(width * ratio), Math.ceil(height * ratio)];
    const context = canvas.getContext('2d');
    if (!context) throw new Error(NO_MEMORY);
    context.scale(canvas.width / width, canvas.height / height);
    context.translate(-x, -y);
    draw(context);
    return canvas.toDataURL();
  },
};

const NO_MEMORY = 'The browser has no memory left for a picture of this size.';
const pixelRatio = (): number => Math.max(2, window.devicePixelRatio || 1);

/** As sharp as on this screen, but at least twice as fine as the page. */
export async function toPng({ width, height, shapes }: Picture): Promise<Blob> {
  const ratio = pixelRatio();
  const canvas = new OffscreenCanvas(width * ratio, height * ratio);
  const context = canvas.getContext('2d');
  if (!context) throw new Error(NO_MEMORY);
  context.scale(ratio, ratio);
  for (const shape of shapes) {
    const { clip } = shape;
    context.save();
    context.beginPath();
    context.rect(clip.x, clip.y, clip.width, clip.height);
    context.clip();
    paint(context, shape);
    context.restore();
  }
  return canvas.convertToBlob({ type: 'image/png' });
}

function paint(context: OffscreenCanvasRenderingContext2D, shape: Shape): void {
  if (shape.kind === 'text') {
    const { font } = shape;
    context.fillStyle = shape.colour;
    context.font = cssOf(font);
    context.fillText(shape.text, shape.x, shape.y);
    return;
  }
  const { x, y, width, height } = shape.box;
  if (shape.kind === 'drawing') {
    context.beginPath();
    context.rect(x, y, width, height);
    context.clip();
    context.translate(x, y);
    shape.draw(context);
    return;
  }
  context.fillStyle = shape.colour;
  if (shape.kind === 'rectangle') {
    context.fillRect(x, y, width, height);
    return;
  }
  context.translate(x, y);
  context.scale(width / ICON, height / ICON);
  context.fill(new Path2D(shape.path), 'evenodd');
}
