/** The way of a gradient from the loss to a variable: a bar per layer, on a logarithmic scale. */

import type { PathRow } from '../../api/types';
import { breakable, h, type Child } from '../../dom';
import { formatNumber } from '../../scale/format';

interface Stage {
  readonly name: string;
  readonly rows: readonly PathRow[];
}

export function pathOf(path: readonly PathRow[]): Child {
  if (path.length === 0) return null;
  const known = path.map(({ logSize }) => logSize).filter(Number.isFinite);
  const [low, high] = [Math.min(0, ...known), Math.max(0, ...known)];
  const bar = (logSize: number): HTMLElement =>
    h('meter', {
      min: 0,
      max: 1,
      // One part in fifty is left for the smallest: a bar of no length is exactly zero.
      value: Number.isFinite(logSize) ? 0.02 + (0.98 * (logSize - low)) / (high - low || 1) : 0,
      'aria-hidden': 'true',
    });
  const line = (label: Child, logSize: number): Child => [
    h('span', { class: 'path-name' }, label),
    bar(logSize),
    h('span', { class: 'path-size' }, sizeOf(logSize)),
  ];
  return h(
    'div',
    { class: 'path' },
    h('p', {}, 'Size of the gradient, from the loss down (logarithmic):'),
    h(
      'ol',
      {},
      h('li', {}, h('div', { class: 'path-line' }, line('loss', 0))),
      stagesOf(path).map(({ name, rows }) => {
        const end = rows.at(-1)?.logSize ?? 0;
        const whole = line(breakable(name), end);
        if (rows.length === 1 && rows[0]?.file === '')
          return h('li', {}, h('div', { class: 'path-line' }, whole));
        return h(
          'li',
          {},
          h(
            'details',
            { 'data-fold': `path ${name}` },
            h('summary', { class: 'path-line' }, whole),
            h(
              'ul',
              {},
              rows.map((row) =>
                h('li', { class: 'path-line' }, line([row.operation, placeOf(row)], row.logSize)),
              ),
            ),
          ),
        );
      }),
    ),
  );
}

/** Rows of one layer that follow one another are one stage. */
export function stagesOf(path: readonly PathRow[]): Stage[] {
  const stages: { name: string; rows: PathRow[] }[] = [];
  for (const row of path) {
    const name = row.layer || (row.file === '' ? row.operation : `line ${String(row.line)}`);
    const last = stages.at(-1);
    if (last?.name === name) last.rows.push(row);
    else stages.push({ name, rows: [row] });
  }
  return stages;
}

const placeOf = ({ file, line }: PathRow): Child =>
  file !== '' && [' ', h('code', {}, breakable(`${file}:${String(line)}`))];

/** From a logarithm; the number itself may be too small for a float. */
export function sizeOf(logSize: number): string {
  if (logSize === -Infinity) return 'exactly 0';
  if (Math.abs(logSize) < 300) return formatNumber(10 ** logSize, 2);
  return `1e${formatNumber(Math.round(logSize))}`;
}
