/** One tab stop for a whole list: arrow keys move inside of it. */

/** A list whose items are redrawn; `update` is called after each drawing. */
export interface Roving {
  update(): void;
}

const STEPS: Readonly<Record<string, number>> = {
  ArrowDown: 1,
  ArrowRight: 1,
  ArrowUp: -1,
  ArrowLeft: -1,
  Home: -Infinity,
  End: Infinity,
};

/**
 * `rows` selects those of the items that ArrowUp and ArrowDown go to; others are beside them.
 * `items` selects what can have the focus. Of these the one last focused can be reached by Tab, at
 * first the one that is current, or the first. Keys that an item uses itself are left to it.
 */
export function createRoving(list: HTMLElement, items: string, rows = items): Roving {
  const all = (): HTMLElement[] =>
    [...list.querySelectorAll<HTMLElement>(items)].filter(
      (item) => item.closest('[hidden]') === null,
    );
  let last: string | undefined;

  function makeStop(stop: HTMLElement | undefined, among: readonly HTMLElement[]): void {
    for (const item of among) item.tabIndex = item === stop ? 0 : -1;
  }

  function update(): void {
    const among = all();
    const same =
      last === undefined ? undefined : among.find(({ dataset }) => dataset.focus === last);
    const focused = among.find((item) => item === document.activeElement);
    const current = among.find(
      (item) => item.getAttribute('aria-current') === 'true' || item.ariaCurrent === '',
    );
    makeStop(focused ?? same ?? current ?? among[0], among);
  }

  list.addEventListener('focusin', ({ target }) => {
    const among = all();
    const item = among.find((one) => one === target);
    if (!item) return;
    last = item.dataset.focus;
    makeStop(item, among);
  });
  list.addEventListener('keydown', (event) => {
    const by = STEPS[event.key];
    const among = all();
    const at = among.findIndex((item) => item === event.target);
    if (by === undefined || at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const along = /Up|Down/.test(event.key) ? Math.sign(by) : 0;
    let to = Math.max(0, Math.min(among.length - 1, at + by));
    while (along !== 0 && among[to]?.matches(rows) === false && among[to + along]) to += along;
    among[to]?.focus();
  });
  return { update };
}
