/**
 * What pictures are drawn with: the few things a canvas can do that they need, so that the same
 * functions draw the page, a PNG and the vectors of an SVG.
 */

/** Lines, areas and texts, as a canvas has them. */
export interface Strokes extends Pick<
  CanvasRenderingContext2D,
  | 'fillStyle'
  | 'strokeStyle'
  | 'lineWidth'
  | 'lineJoin'
  | 'globalAlpha'
  | 'font'
  | 'textAlign'
  | 'textBaseline'
> {
  translate(x: number, y: number): void;
  setLineDash(lengths: number[]): void;
  beginPath(): void;
  closePath(): void;
  moveTo(x: number, y: number): void;
  lineTo(x: number, y: number): void;
  rect(x: number, y: number, width: number, height: number): void;
  arc(x: number, y: number, radius: number, from: number, to: number): void;
  fill(): void;
  stroke(): void;
  fillRect(x: number, y: number, width: number, height: number): void;
  strokeRect(x: number, y: number, width: number, height: number): void;
  fillText(text: string, x: number, y: number): void;
  measureText(text: string): { readonly width: number };
}

export interface Canvas
  extends Strokes, Pick<CanvasRenderingContext2D, 'imageSmoothingEnabled' | 'drawImage'> {}

export interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/** Keeps shapes as shapes. */
export interface Vectors extends Strokes {
  /** What fills a box, as one image. */
  bitmap(box: Box, draw: (canvas: Canvas) => void): void;
  /** What fills a box, as shapes, but as one image if these are too many to be of use to anyone. */
  shapes(box: Box, draw: (pen: Pen) => void): void;
}

export type Pen = Canvas | Vectors;

/** Pixels that are no shapes anywhere. */
export function drawPixels(pen: Pen, box: Box, draw: (canvas: Canvas) => void): void {
  if ('bitmap' in pen) pen.bitmap(box, draw);
  else draw(pen);
}

/** Shapes of which there may be thousands. */
export function drawMany(pen: Pen, box: Box, draw: (pen: Pen) => void): void {
  if ('shapes' in pen) pen.shapes(box, draw);
  else draw(pen);
}
