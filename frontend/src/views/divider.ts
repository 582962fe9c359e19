/** A bar between two panes, moved by pointer or arrow keys. */

import { h } from '../dom';

export function createDivider(
  label: string,
  share: number,
  apply: (share: number) => void,
): HTMLElement {
  let current = share;
  const set = (next: number): void => {
    current = Math.max(0.15, Math.min(0.85, next));
    element.setAttribute('aria-valuenow', String(Math.round(100 * current)));
    apply(current);
  };
  const element = h('div', {
    class: 'divider',
    role: 'separator',
    tabindex: 0,
    'aria-label': label,
    'aria-orientation': 'horizontal',
    'aria-valuemin': 15,
    'aria-valuemax': 85,
    onpointerdown: (event: PointerEvent) => {
      element.setPointerCapture(event.pointerId);
      event.preventDefault();
    },
    onpointermove: (event: PointerEvent) => {
      const box = element.parentElement?.getBoundingClientRect();
      if (!element.hasPointerCapture(event.pointerId) || !box || box.height === 0) return;
      set((event.clientY - box.top) / box.height);
    },
    onkeydown: (event: KeyboardEvent) => {
      const by = { ArrowUp: -0.05, ArrowDown: 0.05 }[event.key];
      if (by === undefined) return;
      event.preventDefault();
      set(current + by);
    },
  });
  set(share);
  return element;
}
