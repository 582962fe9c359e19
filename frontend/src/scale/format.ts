/** Numbers and names as text. Pure. */

import { isNamedLoss } from './losses';
import { unitWords } from './units';

/** A few significant digits; the names that are no numbers are spelled out. */
export function formatNumber(value: number, digits = 3): string {
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? '∞' : '−∞';
  if (value === 0) return '0';
  const magnitude = Math.abs(value);
  if (Number.isInteger(value) && magnitude < 1e6) return formatCount(value);
  const text =
    magnitude >= 1e-3 && magnitude < 1e5
      ? String(Number(value.toPrecision(digits)))
      : value
          .toExponential(digits - 1)
          .replace(/(\.\d*?)0+e/, '$1e')
          .replace('.e', 'e')
          .replace('e+', 'e');
  return text.replace(/^-/, '−');
}

export function formatCount(value: number): string {
  return value.toLocaleString('en-US').replace(/^-/, '−');
}

export function formatShare(value: number): string {
  if (!Number.isFinite(value)) return formatNumber(value);
  const percent = 100 * value;
  // 99.97 % dead is not all dead, and 0.01 % zero is not none.
  if (percent > 99 && percent < 100)
    return `${(Math.floor(percent * 100) / 100).toFixed(2)}\u00a0%`;
  if (percent > 0 && percent < 1) return `${Number(percent.toPrecision(2))}\u00a0%`;
  return `${Number(percent.toFixed(1))}\u00a0%`;
}

/** Evidence has a name but no unit; here NaN is what was seen, not what is missing. */
export function formatEvidence(name: string, value: number): string {
  return name.endsWith('_share') ? formatShare(value) : formatNumber(value);
}

/** How far from another value: `÷ 100`, `the same`, `× 3.2`, `+12 points`. */
export function formatRelation(value: number, relation: 'ratio' | 'change'): string {
  if (Number.isNaN(value)) return 'not measured';
  if (relation === 'change') {
    const points = formatNumber(Number((100 * Math.abs(value)).toPrecision(2)));
    return value === 0 ? 'the same' : `${value > 0 ? '+' : '−'}${points} points`;
  }
  if (value === 0) return 'fell to 0';
  if (value === Infinity) return 'from 0';
  const digits = Math.max(value, 1 / value) < 10 ? 2 : 1;
  const text = (factor: number): string => formatNumber(Number(factor.toPrecision(digits)));
  if (text(Math.max(value, 1 / value)) === '1') return 'the same';
  return value > 1 ? `× ${text(value)}` : `÷ ${text(1 / value)}`;
}

/** A value as a label of a scale. */
export function formatTick(kind: string, value: number, share = false): string {
  if (kind === 'ratio' || kind === 'change') return formatRelation(value, kind);
  if (kind === 'health') return value === 0 ? 'healthy' : value < 0 ? 'too low' : 'too high';
  return share ? formatShare(value) : formatNumber(value);
}

/** A value with its unit, as a person would write it. */
export function formatValue(value: number, unit: string, digits = 3): string {
  if (Number.isNaN(value)) return 'not measured';
  if (unit === 'share') return formatShare(value);
  const text = formatNumber(value, digits);
  return unitWords(unit) === '' ? text : `${text} ${unitWords(unit)}`;
}

const plurals: Readonly<Record<string, string>> = { critical: 'critical', info: 'info' };

export function plural(count: number, noun: string): string {
  const word = count === 1 ? noun : (plurals[noun] ?? `${noun}s`);
  return `${formatCount(count)} ${word}`;
}

/** `gradient_zero_share` -> `Gradient zero share`. A name of the user stays as it is. */
export function title(name: string): string {
  if (isNamedLoss(name)) return name;
  const words = name
    .replaceAll('_', ' ')
    .replaceAll('.', ' · ')
    .replace(/\b(rms|nan|inf)\b/g, (word) =>
      word === 'nan' ? 'NaN' : word === 'inf' ? 'Inf' : 'RMS',
    );
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** A setting as written by Python: float32 noise is rounded off, everything else stays. */
export function formatFact(text: string): string {
  return /^-?\d+\.\d{8,}(e-?\d+)?$/.test(text) ? formatNumber(Number(text), 6) : text;
}

export function formatInterval(first: number, last: number, open: boolean): string {
  if (open) return `since step ${formatCount(first)}`;
  return first === last
    ? `at step ${formatCount(first)}`
    : `steps ${formatCount(first)} to ${formatCount(last)}`;
}

/** With a capital first letter, unless it begins with a name of the code. */
export function sentence(text: string): string {
  return /^[a-z]+(?=[\s,;:'’-])/.test(text) ? text.charAt(0).toUpperCase() + text.slice(1) : text;
}

/**
 * A name in two parts, of which the first may be cut off where there is little room: runs of one
 * series often differ in their last characters only. `kept` of these; a short name stays whole.
 */
export function splitName(name: string, kept = 7): [start: string, end: string] {
  const characters = Array.from(name);
  const cut = characters.length > kept + 3 ? characters.length - kept : 0;
  return [characters.slice(0, cut).join(''), characters.slice(cut).join('')];
}

/** How long ago, in its largest unit. */
export function formatAge(seconds: number): string {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`;
  return plural(Math.floor(seconds / 86_400), 'day');
}
