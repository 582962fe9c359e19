/** Three small helpers instead of a framework: make elements, and redraw only on change. */

type Value = string | number | boolean | null | undefined | ((event: never) => void);
export type Child = Node | string | number | null | false | undefined | readonly Child[];

/**
 * An element with attributes, listeners and children.
 *
 * `onclick`-like keys take functions and become listeners (the page's content policy
 * forbids inline handlers); `true` makes an empty attribute, `false` and `null` none.
 */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Readonly<Record<string, Value>> = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') {
      element.addEventListener(name.slice(2), value as EventListener);
    } else if (value === true) {
      element.setAttribute(name, '');
    } else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, String(value));
    }
  }
  append(element, children);
  return element;
}

function append(element: Element, children: readonly Child[]): void {
  for (const child of children) {
    if (child instanceof Node) element.append(child);
    else if (typeof child === 'string' || typeof child === 'number') element.append(String(child));
    else if (child !== null && typeof child === 'object') append(element, child);
  }
}

/** Long names may break after a slash, an underscore or a dot, and nowhere else. */
export function breakable(path: string): Child[] {
  return path.split(/(?<=[/_.])/).flatMap((part, i) => (i === 0 ? [part] : [h('wbr'), part]));
}

/** Replace what an element holds. */
export function fill(element: Element, ...children: readonly Child[]): void {
  element.replaceChildren();
  append(element, children);
}

const same = (a: readonly unknown[], b: readonly unknown[]): boolean =>
  a.length === b.length && a.every((value, i) => Object.is(value, b[i]));

/** Wrap a drawing function so that it runs only when one of its arguments is another one. */
export function onChange<T extends readonly unknown[]>(
  draw: (...args: T) => void,
): (...args: T) => void {
  let last: T | null = null;
  return (...args) => {
    if (last && same(last, args)) return;
    last = args;
    draw(...args);
  };
}

/** The same answer as long as the arguments are the same. */
export function remember<T extends readonly unknown[], R>(
  compute: (...args: T) => R,
): (...args: T) => R {
  let last: { readonly args: T; readonly result: R } | null = null;
  return (...args) => {
    if (!last || !same(last.args, args)) {
      last = { args, result: compute(...args) };
    }
    return last.result;
  };
}
