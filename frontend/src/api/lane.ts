/**
 * The dense lane of one variable: numbers of every step, see `docs/http_api.md`.
 *
 * A column is one step, or of a long range several neighbouring ones: it keeps the smallest and
 * the largest value, and whether anything was not finite.
 */

export interface Lane {
  /** First and last step of each column, rising. */
  readonly first: Float64Array;
  readonly last: Float64Array;
  /** Gradient norm; NaN: None, not finite, or not seen. */
  readonly norm: Extremes;
  /** NaN: not known, or not finite. */
  readonly loss: Extremes;
  /** Share of the steps that changed weights. */
  readonly moved: Float32Array;
  /** Bits `GRADIENT_BIT` and `LOSS_BIT`: something was NaN or Inf. */
  readonly marks: Uint8Array;
  /** The losses that the training gave names. */
  readonly named: ReadonlyMap<string, NamedLoss>;
}

export interface NamedLoss extends Extremes {
  /** 1 where it was NaN or Inf. */
  readonly marks: Uint8Array;
}

export interface Extremes {
  readonly low: Float32Array;
  readonly high: Float32Array;
}

export const GRADIENT_BIT = 1;
export const LOSS_BIT = 2;

const HEADER = 8;

export function decodeLane(body: ArrayBuffer): Lane {
  const head = new DataView(body);
  const count = head.getUint32(0, true);
  const steps = (which: number): Float64Array =>
    new Float64Array(body.slice(HEADER + 8 * which * count, HEADER + 8 * (which + 1) * count));
  const from = HEADER + 16 * count;
  const floats = (which: number): Float32Array =>
    new Float32Array(body.slice(from + 4 * which * count, from + 4 * (which + 1) * count));
  return {
    first: steps(0),
    last: steps(1),
    norm: { low: floats(0), high: floats(1) },
    loss: { low: floats(2), high: floats(3) },
    moved: floats(4),
    marks: new Uint8Array(body, from + 20 * count, count),
    named: decodeNamed(body, from + 21 * count, count, head.getUint32(4, true)),
  };
}

/** The named losses one behind the other, then their names. */
function decodeNamed(
  body: ArrayBuffer,
  from: number,
  count: number,
  losses: number,
): ReadonlyMap<string, NamedLoss> {
  if (losses === 0) return new Map();
  const names: unknown = JSON.parse(
    new TextDecoder().decode(body.slice(from + 9 * count * losses)),
  );
  if (!Array.isArray(names) || names.length !== losses) throw new Error('lane: names of losses');
  return new Map(
    names.map((name, i) => {
      const at = from + 9 * count * i;
      const floats = (which: number): Float32Array =>
        new Float32Array(body.slice(at + 4 * which * count, at + 4 * (which + 1) * count));
      const marks = new Uint8Array(body, at + 8 * count, count);
      return [String(name), { low: floats(0), high: floats(1), marks }];
    }),
  );
}
