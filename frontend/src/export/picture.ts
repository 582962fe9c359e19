/**
 * What an element shows, as a picture file: its canvases, its texts, its icons.
 *
 * In:  an element of the page, as large and as scrolled as it is.
 * Out: shapes with positions, and from them SVG text or a PNG.
 * Does not know what is shown. A browser gives pages no way to photograph themselves, and the
 * names beside our canvases are elements; so they are read from the page and drawn again.
 */

interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

export type Shape = { readonly clip: Box } & (
  | { readonly kind: 'rectangle'; readonly box: Box; readonly colour: string }
  | { readonly kind: 'canvas'; readonly box: Box; readonly canvas: HTMLCanvasElement }
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

/** Room above the element for a line that says what it is. */
const TITLE = 30;
/** Icons are drawn on a board of this size. */
const ICON = 16;

/** Read off an element; `title` is written above it. */
export function takePicture(root: HTMLElement, title: string): Picture {
  const outer = root.getBoundingClientRect();
  const [width, height] = [Math.ceil(outer.width), Math.ceil(outer.height) + TITLE];
  const [dx, dy] = [-outer.left, TITLE - outer.top];
  const whole: Box = { x: 0, y: 0, width, height };
  const moved = (box: DOMRect): Box => ({
    x: box.left + dx,
    y: box.top + dy,
    width: box.width,
    height: box.height,
  });
  const style = getComputedStyle(root);
  const page = getComputedStyle(document.body);
  const shapes: Shape[] = [
    { kind: 'rectangle', box: whole, colour: page.backgroundColor, clip: whole },
    {
      kind: 'text',
      x: 12,
      y: 20,
      text: title,
      font: { ...fontOf(style), size: 13, weight: '600' },
      colour: page.color,
      clip: whole,
    },
  ];

  function visit(element: Element, clip: Box): void {
    if (!element.checkVisibility({ visibilityProperty: true })) return;
    if (element.matches('.visually-hidden, .tooltip, .icon-chevron')) return;
    const computed = getComputedStyle(element);
    const box = moved(element.getBoundingClientRect());
    const inner = computed.overflowX === 'visible' ? clip : intersection(clip, box);
    // A box of height 0 may have visible children; one that is cut off entirely has none.
    if (inner.width <= 0 || inner.height <= 0) return;
    if (element !== root && !/^rgba\(.*, 0\)$|^transparent$/.test(computed.backgroundColor)) {
      shapes.push({ kind: 'rectangle', box, colour: computed.backgroundColor, clip });
    }
    if (element instanceof HTMLCanvasElement) {
      if (element.width > 0 && element.height > 0)
        shapes.push({ kind: 'canvas', box, canvas: element, clip });
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
          const shape = { text: line.text, font, colour: computed.color, clip: inner };
          shapes.push({ kind: 'text', x: place.x, y, ...shape });
        }
      }
    }
  }

  visit(root, whole);
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

function fontOf({ fontFamily, fontSize, fontWeight }: CSSStyleDeclaration): Font {
  return { family: fontFamily, size: parseFloat(fontSize), weight: fontWeight };
}

/** Vector texts and icons around the canvases, which stay what they are: pixels. */
export function toSvg({ width, height, shapes }: Picture): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">`,
    ...shapes.map(svgOf),
    '</svg>\n',
  ].join('\n');
}

function svgOf(shape: Shape): string {
  const { clip } = shape;
  const box = `x="${clip.x}" y="${clip.y}" width="${clip.width}" height="${clip.height}"`;
  const view = `viewBox="${clip.x} ${clip.y} ${clip.width} ${clip.height}"`;
  return `<svg ${box} ${view}>${contentOf(shape)}</svg>`;
}

function contentOf(shape: Shape): string {
  if (shape.kind === 'text') {
    const { font, x, y } = shape;
    const style = `font-family="${escaped(font.family)}" font-size="${font.size}" font-weight="${font.weight}"`;
    return `<text x="${x}" y="${y}" fill="${shape.colour}" ${style}>${escaped(shape.text)}</text>`;
  }
  const { x, y, width, height } = shape.box;
  const box = `x="${x}" y="${y}" width="${width}" height="${height}"`;
  if (shape.kind === 'rectangle') return `<rect ${box} fill="${shape.colour}"/>`;
  if (shape.kind === 'icon') {
    return `<svg ${box} viewBox="0 0 ${ICON} ${ICON}"><path d="${shape.path}" fill="${shape.colour}" fill-rule="evenodd"/></svg>`;
  }
  return `<image ${box} preserveAspectRatio="none" href="${shape.canvas.toDataURL()}"/>`;
}

const ENTITIES: Readonly<Record<string, string>> = { '<': '&lt;', '&': '&amp;', '"': '&quot;' };
const escaped = (text: string): string => text.replace(/[<&"]/g, (char) => ENTITIES[char] ?? char);

/** As sharp as on this screen, but at least twice as fine as the page. */
export async function toPng({ width, height, shapes }: Picture): Promise<Blob> {
  const ratio = Math.max(2, window.devicePixelRatio || 1);
  const canvas = new OffscreenCanvas(width * ratio, height * ratio);
  const context = canvas.getContext('2d');
  if (!context) throw new Error('The browser has no memory left for a picture of this size.');
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
    context.font = `${font.weight} ${font.size}px ${font.family}`;
    context.fillText(shape.text, shape.x, shape.y);
    return;
  }
  const { x, y, width, height } = shape.box;
  if (shape.kind === 'canvas') {
    context.drawImage(shape.canvas, x, y, width, height);
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
