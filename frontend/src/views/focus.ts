/** Where the keyboard is, so that redrawing does not throw it back to the start of the page. */

/** The `data-focus` of the element within `body` that has the focus, to select it again. */
export function focusKey(body: HTMLElement): string | null {
  const active = document.activeElement;
  if (!(active instanceof HTMLElement) || !body.contains(active)) return null;
  return active.dataset.focus === undefined ? null : CSS.escape(active.dataset.focus);
}
