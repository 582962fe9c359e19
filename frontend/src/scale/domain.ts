/**
 * What a value means on a scale: the one place that says what zero, NaN and "absent" are.
 *
 * NaN in our data always means "not measured". Zero is a value: on a logarithmic scale it
 * is docked below the lowest decade. Non-finite elements were counted, not stored, and are
 * drawn as marks on top.
 */

import type { Column } from '../api/types';

export interface Domain {
  /** `ratio` and `change` say how far a value is from another one: see `relate.ts`. */
  readonly kind: 'log' | 'signed' | 'linear' | 'ratio' | 'change' | 'health';
  /** Of magnitudes for `signed`. */
  readonly low: number;
  readonly high: number;
}

export const measured = (value: number): boolean => !Number.isNaN(value);

/** Fewer decades than this would paint harmless noise in all colours. */
const FEWEST_DECADES = 3;

/** Colours grow in both directions from the middle of the scale. */
export const isDiverging = (kind: Domain['kind']): boolean =>
  kind === 'signed' || kind === 'ratio' || kind === 'change' || kind === 'health';

/** The smallest sensible scale that holds all finite values of these arrays. */
export function fitDomain(column: Column, ...parts: readonly Float32Array[]): Domain {
  if (column.unit === 'share') return { kind: 'linear', low: 0, high: 1 };
  let low = Infinity;
  let high = 0;
  let negative = false;
  for (const values of parts) {
    for (const value of values) {
      const magnitude = Math.abs(value);
      if (!(magnitude > 0 && magnitude < Infinity)) continue;
      if (value < 0) negative = true;
      if (magnitude < low) low = magnitude;
      if (magnitude > high) high = magnitude;
    }
  }
  if (high === 0) [low, high] = [1e-3, 1];
  if (column.scale === 'count')
    return { kind: 'log', low: Math.min(low, 1), high: Math.max(high, 10) };
  let first = Math.floor(Math.log10(low) + 1e-6);
  let last = Math.ceil(Math.log10(high) - 1e-6);
  for (let below = true; last - first < FEWEST_DECADES; below = !below) {
    if (below) first -= 1;
    else last += 1;
  }
  // A signed statistic spends its colours on the top decades; smaller ones are near zero.
  const signed = column.scale === 'linear' && negative;
  if (signed) first = Math.max(first, last - 6);
  return { kind: signed ? 'signed' : 'log', low: 10 ** first, high: 10 ** last };
}

/**
 * The scale of a statistic that is the same for every run: equal colours mean equal values, today and
 * tomorrow. What lies beyond its ends has their colour. Null: the statistic has none.
 */
export function fixedDomain({ unit, scale, span }: Column): Domain | null {
  if (unit === 'share') return { kind: 'linear', low: 0, high: 1 };
  return span && { kind: scale === 'linear' ? 'signed' : 'log', low: span[0], high: span[1] };
}

/** A linear scale that holds all finite values, and zero if they are all of one sign. */
export function fitLinear(column: Column, ...parts: readonly Float32Array[]): Domain {
  if (column.unit === 'share') return { kind: 'linear', low: 0, high: 1 };
  let [low, high] = finiteExtent(parts);
  if (low > high) return { kind: 'linear', low: 0, high: 1 };
  [low, high] = [Math.min(0, low), Math.max(0, high)];
  return { kind: 'linear', low, high: high > low ? high : low + 1 };
}

function finiteExtent(parts: readonly Float32Array[]): [number, number] {
  let low = Infinity;
  let high = -Infinity;
  for (const values of parts) {
    for (const value of values) {
      if (!Number.isFinite(value)) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  return [low, high];
}

/** As `fitDomain`, for a line: a linear column keeps its linear shape unless that hides it. */
export function fitChartDomain(column: Column, ...parts: readonly Float32Array[]): Domain {
  if (column.scale !== 'linear' || column.unit === 'share') return fitDomain(column, ...parts);
  const [low, high] = finiteExtent(parts);
  if (low > high) return { kind: 'linear', low: 0, high: 1 };
  if (low > 0 && high / low > 50) return fitDomain(column, ...parts);
  const room = 0.05 * (high - low) || Math.abs(high) || 1;
  return { kind: 'linear', low: low - room, high: high + room };
}

export const isZero = (domain: Domain, value: number): boolean =>
  (domain.kind === 'log' || domain.kind === 'ratio') && value <= 0;

/** Position on the scale in [0, 1]; for `signed`, 0.5 is zero. NaN stays NaN. */
export function position(domain: Domain, value: number): number {
  const { kind, low, high } = domain;
  if (kind === 'linear' || kind === 'change' || kind === 'health')
    return clamp((value - low) / (high - low));
  const magnitude = Math.abs(value);
  const depth = magnitude > 0 ? clamp(Math.log(magnitude / low) / Math.log(high / low)) : 0;
  if (kind === 'signed') return 0.5 + (0.5 * Math.sign(value) * (1 + 15 * depth)) / 16;
  return Number.isNaN(value) ? Number.NaN : depth;
}

const clamp = (t: number): number => Math.min(1, Math.max(0, t));

/** Round values to label a scale with, lowest first, at most about `most` of them. */
export function ticks(domain: Domain, most: number): number[] {
  const { kind, low, high } = domain;
  if (kind === 'linear') {
    // One label alone shows no scale.
    for (let count = most; count <= most + 4; count++) {
      const values = linearTicks(low, high, count);
      if (values.length > 1) return values;
    }
    return linearTicks(low, high, most);
  }
  if (kind === 'signed') return [-high, 0, high];
  if (kind === 'change') return [low, 0, high];
  if (kind === 'health') return [-1, 0, 1];
  if (kind === 'ratio') return [low, 1, high];
  const first = Math.ceil(Math.log10(low) - 1e-9);
  const last = Math.floor(Math.log10(high) + 1e-9);
  const stride = Math.max(1, Math.ceil((last - first) / Math.max(1, most - 1)));
  const values: number[] = [];
  for (let exponent = last; exponent >= first; exponent -= stride) values.unshift(10 ** exponent);
  return values;
}

export function linearTicks(low: number, high: number, most: number): number[] {
  if (!(high > low)) return [low];
  const raw = (high - low) / Math.max(1, most - 1);
  const power = 10 ** Math.floor(Math.log10(raw));
  const stride = ([1, 2, 5].find((m) => m * power >= raw - 1e-12) ?? 10) * power;
  const values: number[] = [];
  for (let i = Math.ceil(low / stride - 1e-9); i * stride <= high + 1e-9 * stride; i++) {
    values.push(i * stride + 0); // + 0 turns −0 into 0
  }
  return values;
}
