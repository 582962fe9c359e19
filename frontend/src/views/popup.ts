/** A button that opens a box below it; Escape and a click elsewhere close it. */

import { h, type Child } from '../dom';

export interface Popup {
  readonly element: HTMLDetailsElement;
  readonly button: HTMLElement;
  close(): void;
  destroy(): void;
}

export function createPopup(className: string, label: Child, ...content: Child[]): Popup {
  const button = h('summary', { class: 'popup-button' }, label);
  const element = h(
    'details',
    { class: `popup ${className}` },
    button,
    h('div', { class: 'popup-box' }, ...content),
  );
  const close = (): void => {
    element.open = false;
  };
  const closeOutside = (event: Event): void => {
    if (event.target instanceof Node && !element.contains(event.target)) close();
  };
  document.addEventListener('pointerdown', closeOutside);
  element.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape' || !element.open) return;
    event.stopPropagation();
    close();
    button.focus();
  });
  element.addEventListener('focusout', (event) => {
    if (event.relatedTarget instanceof Node && !element.contains(event.relatedTarget)) close();
  });
  return {
    element,
    button,
    close,
    destroy() {
      document.removeEventListener('pointerdown', closeOutside);
      element.remove();
    },
  };
}
