/**
 * A matrix as a picture: one byte a value and fewer columns than steps, see `docs/http_api.md`.
 *
 * Asked for when a run is too large to send its numbers. A column keeps the smallest and the
 * largest value of its frames; a byte has as many levels as the picture has colours.
 */

export interface Picture {
  /** First frame of each column, and one past the last: [columns + 1]. */
  readonly edges: Int32Array;
  /** [columns, variables]; NaN: not measured. */
  readonly low: Float32Array;
  readonly high: Float32Array;
}

const HEADER = 24;
const KINDS = ['linear', 'log', 'signed'] as const;

/** `count` frames from `first` on, in columns of neighbours. */
export function columnEdges(first: number, count: number, columns: number): Int32Array {
  const size = Math.min(columns, count);
  return Int32Array.from({ length: size + 1 }, (_, i) =>
    size === 0 ? first : first + Math.floor((i * count) / size),
  );
}

export function decodePicture(body: ArrayBuffer): Picture {
  const header = new DataView(body, 0, HEADER);
  const [kind = 0, first = 0, frames = 0, columns = 0] = [0, 4, 8, 12].map((at) =>
    header.getUint32(at, true),
  );
  const values = levels(
    KINDS[kind] ?? 'log',
    header.getFloat32(16, true),
    header.getFloat32(20, true),
  );
  const bytes = new Uint8Array(body, HEADER);
  const variables = columns > 0 ? bytes.length / (2 * columns) : 0;
  const plane = (from: number): Float32Array => {
    const found = new Float32Array(columns * variables);
    for (let variable = 0; variable < variables; variable++) {
      for (let column = 0; column < columns; column++) {
        const code = bytes[from + variable * columns + column] ?? 0;
        found[column * variables + variable] = values[code] ?? Number.NaN;
      }
    }
    return found;
  };
  return {
    edges: columnEdges(first, frames, columns),
    low: plane(0),
    high: plane(columns * variables),
  };
}

/** The value of each of the 256 codes. */
function levels(kind: (typeof KINDS)[number], low: number, high: number): Float32Array {
  const values = new Float32Array(256);
  const ratio = Math.log(high / low);
  for (let code = 2; code < 256; code++) {
    values[code] =
      kind === 'linear'
        ? low + ((code - 2) / 253) * (high - low)
        : kind === 'log'
          ? low * Math.exp(((code - 2) / 253) * ratio)
          : code > 128
            ? low * Math.exp(((code - 129) / 126) * ratio)
            : -low * Math.exp(((128 - code) / 126) * ratio);
  }
  values[0] = Number.NaN;
  return values;
}
