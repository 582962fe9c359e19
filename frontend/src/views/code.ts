/** Advice as text with `code` in it, and a button that copies it. */

import { h, type Child } from '../dom';
import { icon } from './icons';

export interface Part {
  readonly kind: 'text' | 'code';
  readonly text: string;
}

/** Split at backticks, single or triple. An odd one stays what it is. */
export function splitCode(text: string): Part[] {
  const parts: Part[] = [];
  const pattern = /```(?:\w*\n)?([\s\S]*?)```|`([^`]+)`/g;
  let from = 0;
  for (const match of text.matchAll(pattern)) {
    if (match.index > from) parts.push({ kind: 'text', text: text.slice(from, match.index) });
    parts.push({ kind: 'code', text: (match[1] ?? match[2] ?? '').trimEnd() });
    from = match.index + match[0].length;
  }
  if (from < text.length) parts.push({ kind: 'text', text: text.slice(from) });
  return parts;
}

export function prose(text: string): Child[] {
  return splitCode(text).map((part) =>
    part.kind === 'text'
      ? part.text
      : part.text.includes('\n')
        ? h('pre', { tabindex: 0 }, h('code', {}, part.text))
        : h('code', {}, part.text),
  );
}

/** What the copy button takes: the code, or the whole text where there is none. */
export function copyable(text: string): string {
  const code = splitCode(text).filter(({ kind }) => kind === 'code');
  return code.length > 0 ? code.map((part) => part.text).join('\n') : text;
}

export function copyButton(text: string, label = 'Copy'): HTMLButtonElement {
  const word = h('span', {}, label);
  const button = h(
    'button',
    {
      class: 'copy',
      type: 'button',
      onclick: () => {
        void copy(text).then((done) => {
          word.textContent = done ? 'Copied' : 'Copying is blocked here';
          setTimeout(() => (word.textContent = label), 1500);
        });
      },
    },
    icon('copy'),
    word,
  );
  word.setAttribute('aria-live', 'polite');
  return button;
}

async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // The clipboard is closed to plain http from another machine; a selection still works.
    const area = h('textarea', { style: 'position: fixed; opacity: 0' });
    area.value = text;
    document.body.append(area);
    area.select();
    // eslint-disable-next-line @typescript-eslint/no-deprecated
    const done = document.execCommand('copy');
    area.remove();
    return done;
  }
}
