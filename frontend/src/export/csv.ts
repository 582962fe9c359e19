/**
 * Numbers as a table for other programs (RFC 4180): a header, one line per run and step.
 *
 * What was not measured is an empty cell; infinities are spelled as Python and JavaScript read
 * them. Every number is the shortest text that gives the same float32 again.
 */

export type Cell = string | number;

export function toCsv(header: readonly string[], rows: Iterable<readonly Cell[]>): string {
  const lines = [header.map(quoted).join(',')];
  for (const row of rows) lines.push(row.map(cell).join(','));
  return `${lines.join('\r\n')}\r\n`;
}

function cell(value: Cell): string {
  return typeof value === 'number' ? float32Text(value) : quoted(value);
}

function quoted(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export function float32Text(value: number): string {
  if (Number.isNaN(value)) return '';
  if (!Number.isFinite(value) || Number.isInteger(value)) return String(value);
  for (let digits = 6; digits < 9; digits++) {
    const rounded = Number(value.toPrecision(digits));
    if (Math.fround(rounded) === value) return String(rounded);
  }
  return String(Number(value.toPrecision(9)));
}
