/**
 * All colours of the tab, for CSS and canvas alike.
 *
 * Value scales rise steadily in lightness (viridis) so that they survive colour blindness
 * and grey print. The end that would melt into the page is cut off: the palest yellow on
 * white, the darkest violet on dark. A non-finite value is a magenta cross on black: the
 * one pair that no vision type confuses with viridis, and a shape besides.
 */

import type { Theme } from '../host';
import { isDiverging, position, type Domain } from './domain';

export interface Palette {
  readonly surface: string;
  readonly raised: string;
  readonly sunken: string;
  readonly line: string;
  readonly text: string;
  readonly quiet: string;
  readonly accent: string;
  readonly accentSoft: string;
  readonly critical: string;
  readonly warning: string;
  readonly info: string;
  readonly healthy: string;
  readonly criticalSoft: string;
  readonly warningSoft: string;
  readonly infoSoft: string;
  readonly healthySoft: string;
  readonly first: string;
  readonly second: string;
  readonly hatch: string;
  readonly zero: string;
  readonly zeroLine: string;
  readonly nonfinite: string;
  readonly nonfiniteGround: string;
  readonly outline: string;
}

export const PALETTES: Readonly<Record<Theme, Palette>> = {
  light: {
    surface: '#ffffff',
    raised: '#ffffff',
    sunken: '#f5f6f8',
    line: '#dadde3',
    text: '#1f2430',
    quiet: '#586073',
    accent: '#0b5cad',
    accentSoft: '#e6f0fb',
    critical: '#b3142c',
    warning: '#8a5300',
    info: '#0b5cad',
    healthy: '#1b6e3c',
    criticalSoft: '#fdecee',
    warningSoft: '#fdf3e1',
    infoSoft: '#e6f0fb',
    healthySoft: '#e6f5ec',
    first: '#2c6fbb',
    second: '#b45309',
    hatch: '#b4bac6',
    zero: '#eceff3',
    zeroLine: '#8d96a8',
    nonfinite: '#ff4df3',
    nonfiniteGround: '#000000',
    outline: '#d6006f',
  },
  dark: {
    surface: '#303030',
    raised: '#383838',
    sunken: '#292929',
    line: '#4c4c4c',
    text: '#f1f1f1',
    quiet: '#b9bcc2',
    accent: '#8cc4ff',
    accentSoft: '#2c3e52',
    critical: '#ff9a9f',
    warning: '#ffc56b',
    info: '#8cc4ff',
    healthy: '#7fd8a0',
    criticalSoft: '#4c2c2f',
    warningSoft: '#463823',
    infoSoft: '#2c3e52',
    healthySoft: '#26402f',
    first: '#8cc4ff',
    second: '#ffb454',
    hatch: '#6d6d6d',
    zero: '#3d3d3d',
    zeroLine: '#8f9399',
    nonfinite: '#ff4df3',
    nonfiniteGround: '#000000',
    outline: '#ff79c6',
  },
};

/** Eleven samples of viridis, dark to light. */
const VIRIDIS =
  '#440154 #482475 #414487 #355f8d #2a788e #21918c #22a884 #44bf70 #7ad151 #bddf26 #fde725'.split(
    ' ',
  );
const CUT: Readonly<Record<Theme, readonly [number, number]>> = {
  light: [0, 0.93],
  dark: [0.16, 1],
};
/** Diverging; "nothing" is as pale, or as dark, as the page. */
const DIVERGING: Readonly<Record<Theme, readonly string[]>> = {
  light: '#7f3b08 #c7711a #f5b96a #f7f2ea #b9b4d8 #7a68a8 #2d004b'.split(' '),
  dark: '#ffb3ad #d26a4a #7a3520 #262222 #235071 #4f97cc #a9d3ff'.split(' '),
};

export const RAMP_SIZE = 256;

/** Red, green, blue of `RAMP_SIZE` colours, end to end. */
export type Ramp = Uint8ClampedArray;

const ramps = new Map<string, Ramp>();

export function ramp(theme: Theme, kind: Domain['kind']): Ramp {
  const diverging = isDiverging(kind);
  const key = `${theme} ${diverging}`;
  let found = ramps.get(key);
  if (!found) {
    const stops = (diverging ? DIVERGING[theme] : VIRIDIS).map(channels);
    const [from, to] = diverging ? [0, 1] : CUT[theme];
    found = new Uint8ClampedArray(3 * RAMP_SIZE);
    for (let i = 0; i < RAMP_SIZE; i++) {
      found.set(between(stops, from + ((to - from) * i) / (RAMP_SIZE - 1)), 3 * i);
    }
    ramps.set(key, found);
  }
  return found;
}

/** Place of a value in a ramp, or -1 if it has no colour (not measured). */
export function rampIndex(domain: Domain, value: number): number {
  const t = position(domain, value);
  return Number.isNaN(t) ? -1 : Math.round(t * (RAMP_SIZE - 1));
}

type Channels = readonly [number, number, number];

function channels(hex: string): Channels {
  const part = (i: number): number => parseInt(hex.slice(i, i + 2), 16);
  return [part(1), part(3), part(5)];
}

function between(stops: readonly Channels[], t: number): number[] {
  const place = t * (stops.length - 1);
  const i = Math.min(stops.length - 2, Math.floor(place));
  const [a, b] = [stops[i] ?? [0, 0, 0], stops[i + 1] ?? [0, 0, 0]];
  return [0, 1, 2].map((c) => (a[c] ?? 0) + ((b[c] ?? 0) - (a[c] ?? 0)) * (place - i));
}

/** TensorBoard's own colours by position of the run; the first differs in the dark. */
const RUN_COLOURS = ['#12b5cb', '#e52592', '#f9ab00', '#9334e6', '#7cb342', '#e8710a'];

export function runColour(position: number, theme: Theme): string {
  const i = position % 7;
  if (i === 0) return theme === 'dark' ? '#8e98a3' : '#425066';
  return RUN_COLOURS[i - 1] ?? '';
}

/** Graphics have to stand out from the page by this much (WCAG 1.4.11). */
const LEAST_CONTRAST = 3;

/**
 * Colours of the lines of runs side by side: those of the runs, as far from the page as lines
 * have to be. One run alone needs none of its own; equal ones are distinguished.
 */
export function lineColours(positions: readonly number[], theme: Theme): string[] {
  const { first, second, healthy, outline, surface, text } = PALETTES[theme];
  if (positions.length < 2) return positions.map(() => first);
  const own = positions.map((position) => runColour(position, theme));
  const spare = [first, second, healthy, outline];
  return own.map((colour, i) =>
    own.indexOf(colour) < i ? (spare[i] ?? text) : standingOut(colour, surface, text),
  );
}

/** Mixed with the colour of text until the contrast suffices: its hue stays. */
function standingOut(colour: string, surface: string, text: string): string {
  const [own, page, ink] = [channels(colour), channels(surface), channels(text)];
  for (let share = 0; share < 1; share += 0.1) {
    const mixed = between([own, ink], share).map(Math.round);
    if (contrast(mixed, page) >= LEAST_CONTRAST)
      return `#${mixed.map((channel) => channel.toString(16).padStart(2, '0')).join('')}`;
  }
  return text;
}

/** Contrast ratio of two colours as WCAG defines it. */
export function contrast(a: readonly number[], b: readonly number[]): number {
  const [dark = 0, light = 0] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (light + 0.05) / (dark + 0.05);
}

function luminance(colour: readonly number[]): number {
  const [red = 0, green = 0, blue = 0] = colour.map((channel) => {
    const share = channel / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

/** Hand the palette to CSS: `accentSoft` becomes `--accent-soft`. */
export function applyTheme(root: HTMLElement, theme: Theme): void {
  root.style.colorScheme = theme;
  root.dataset.theme = theme;
  for (const [name, colour] of Object.entries(PALETTES[theme])) {
    const variable = name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    root.style.setProperty(`--${variable}`, colour as string);
  }
}
