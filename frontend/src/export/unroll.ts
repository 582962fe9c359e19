/**
 * An element with all that is scrolled out of view, for as long as a picture is taken of it.
 *
 * In:  an element that scrolls, or that holds one that does.
 * Out: the same element, as tall as its content, and the way back.
 * Nobody sees it: a browser paints when the script that calls both is through. So nothing around
 * the element may move either, or it would lose the place to which it is scrolled.
 */

/** Sent to the element when its content was unrolled or rolled up: what is drawn by need is due. */
export const UNROLLED = 'unrolled';

/** In pixels of the page; of more no browser makes a picture for certain. */
export const TALLEST = 8000;

export interface Unrolled {
  /** Height of the whole element; more than `TALLEST`: it was left as it is. */
  readonly height: number;
  readonly rollUp: () => void;
}

export function unroll(root: HTMLElement): Unrolled {
  const box = [root, ...root.querySelectorAll<HTMLElement>('*')].find(scrolls);
  const hidden = box ? box.scrollHeight - box.clientHeight : 0;
  const height = root.offsetHeight + hidden;
  if (!box || height > TALLEST) return { height, rollUp: () => undefined };
  const { scrollTop } = box;
  const before = [...new Set([root, box])].map((element) => ({
    element,
    style: element.style.cssText,
    tall: element.offsetHeight + hidden,
  }));
  for (const { element, tall } of before) {
    Object.assign(element.style, { boxSizing: 'border-box', flex: 'none', maxHeight: 'none' });
    element.style.height = `${tall}px`;
  }
  // Its neighbours stay where they are.
  root.style.marginBottom = `${-hidden}px`;
  const report = (unrolled: boolean): void => {
    root.toggleAttribute('data-unrolled', unrolled);
    root.dispatchEvent(new Event(UNROLLED));
  };
  report(true);
  return {
    height,
    rollUp() {
      for (const { element, style } of before) element.style.cssText = style;
      box.scrollTop = scrollTop;
      report(false);
    },
  };
}

const scrolls = (element: HTMLElement): boolean =>
  element.scrollHeight > element.clientHeight &&
  ['auto', 'scroll'].includes(getComputedStyle(element).overflowY);
