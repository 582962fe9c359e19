/** Small icons whose shape alone distinguishes them; decoration to a screen reader. */

import type { Verdict } from '../api/types';

const PATHS: Readonly<
  Record<Verdict | 'copy' | 'close' | 'chevron' | 'compare' | 'check', string>
> = {
  // An octagon with a cross, a triangle with a bar, a circle with an i, a tick.
  critical:
    'M5.2 1h5.6L15 5.2v5.6L10.8 15H5.2L1 10.8V5.2zM5.6 4.5 4.5 5.6 6.9 8l-2.4 2.4 1.1 1.1L8 9.1l2.4 2.4 1.1-1.1L9.1 8l2.4-2.4-1.1-1.1L8 6.9z',
  warning: 'M8 1.2 15.6 14.6H.4zM7.2 6v4.6h1.6V6zm0 5.6v1.6h1.6v-1.6z',
  info: 'M8 1a7 7 0 1 1 0 14A7 7 0 0 1 8 1zM7.2 7v5h1.6V7zm0-3v1.8h1.6V4z',
  healthy: 'M8 1a7 7 0 1 1 0 14A7 7 0 0 1 8 1zM6.9 9.2 4.9 7.2 3.8 8.3l3.1 3.1 5.3-5.3-1.1-1.1z',
  // A circle with three dots: there is more to come.
  undecided: `M8 1a7 7 0 1 1 0 14A7 7 0 0 1 8 1zM8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11z${[4.2, 7.1, 10].map((x) => `M${x} 7.1h1.8v1.8h-1.8z`).join('')}`,
  copy: 'M2 1h8v2H4v8H2zM6 5h8v10H6zM7.5 6.5v7h5v-7z',
  close: 'M3.2 2 8 6.8 12.8 2 14 3.2 9.2 8l4.8 4.8-1.2 1.2L8 9.2 3.2 14 2 12.8 6.8 8 2 3.2z',
  // Two boxes side by side.
  compare: 'M1 2h6v12H1zM2.5 3.5v9h3v-9zM9 2h6v12H9zM10.5 3.5v9h3v-9z',
  check: 'M6.2 12.6 1.9 8.3l1.2-1.2 3.1 3.1 6.7-6.7 1.2 1.2z',
  chevron: 'M5.5 3 10.5 8l-5 5-1.1-1.1L8.3 8 4.4 4.1z',
};

export function icon(name: keyof typeof PATHS): SVGSVGElement {
  const namespace = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(namespace, 'svg');
  svg.setAttribute('viewBox', '0 0 16 16');
  svg.setAttribute('class', `icon icon-${name}`);
  svg.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS(namespace, 'path');
  path.setAttribute('d', PATHS[name]);
  path.setAttribute('fill-rule', 'evenodd');
  svg.append(path);
  return svg;
}
