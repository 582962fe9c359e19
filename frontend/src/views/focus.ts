/** Where the reader is, so that redrawing does not lose it: the keyboard, and what is unfolded. */

/** The `data-focus` of the element within `body` that has the focus, to select it again. */
export function focusKey(body: HTMLElement): string | null {
  const active = document.activeElement;
  if (!(active instanceof HTMLElement) || !body.contains(active)) return null;
  return active.dataset.focus === undefined ? null : CSS.escape(active.dataset.focus);
}

/** The `data-fold` of each `details` element within `body` that is open or closed. */
export function foldsOf(body: HTMLElement): ReadonlyMap<string, boolean> {
  const folds = [...body.querySelectorAll<HTMLDetailsElement>('details[data-fold]')];
  return new Map(folds.map((fold) => [fold.dataset.fold ?? '', fold.open]));
}

/** Open and close what is still there as it was. */
export function restoreFolds(body: HTMLElement, folds: ReadonlyMap<string, boolean>): void {
  for (const fold of body.querySelectorAll<HTMLDetailsElement>('details[data-fold]')) {
    fold.open = folds.get(fold.dataset.fold ?? '') ?? fold.open;
  }
}
