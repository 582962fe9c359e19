/** Advice as text with `code` in it, and buttons that copy what of it is complete. */

import type { Advice } from '../api/types';
import { h, type Child } from '../dom';
import { icon } from './icons';

export interface Part {
  readonly kind: 'text' | 'code';
  readonly text: string;
}

const CALL = String.raw`~?[A-Za-z_][\w.]*\((?:[^()]|\([^()]*\))*\)(?:\.\w+\([^()]*\))*`;
const LITERAL = String.raw`"[^"]*"|'[^']*'|True|False|None|-?\d+(?:\.\d+)?(?:e[-+]?\d+)?`;
/** A call, or something set to a value. */
const UNMARKED = String.raw`(?:[A-Za-z_][\w.]* = |\b[A-Za-z_][\w.]*=)(?:${CALL}|${LITERAL})|${CALL}`;
const CODE = new RegExp(`\`\`\`(?:\\w*\\n)?([\\s\\S]*?)\`\`\`|\`([^\`]+)\`|(${UNMARKED})`, 'g');

/**
 * Split at backticks, single or triple. An odd one stays what it is. Calls and settings are code
 * without them too: sentences of rules are also read in a terminal, where marks would disturb.
 */
export function splitCode(text: string): Part[] {
  const parts: Part[] = [];
  let from = 0;
  for (const match of text.matchAll(CODE)) {
    if (match.index > from) parts.push({ kind: 'text', text: text.slice(from, match.index) });
    parts.push({ kind: 'code', text: (match[1] ?? match[2] ?? match[3] ?? '').trimEnd() });
    from = match.index + match[0].length;
  }
  if (from < text.length) parts.push({ kind: 'text', text: text.slice(from) });
  return parts;
}

export function prose(text: string): Child[] {
  return splitCode(text).map(codeOrText);
}

function codeOrText({ kind, text }: Part): Child {
  if (kind === 'text') return text;
  if (text.includes('\n')) return h('pre', { tabindex: 0 }, h('code', {}, text));
  return h('code', {}, breakableCode(text));
}

/** Code that does not fit goes on in the next line at a bracket, a comma or a dot, not in a name. */
function breakableCode(text: string): Child[] {
  return text.split(/(?<=[(,=._/])/).flatMap((part, i) => (i === 0 ? [part] : [h('wbr'), part]));
}

/** Whether it is code that can be pasted as it is: arguments and names of operations are not. */
export function isWhole({ kind, text }: Part, snippets: readonly string[]): boolean {
  return kind === 'code' && snippets.includes(text);
}

/** One advice, with a button behind each statement in it that can be pasted as it is. */
export function advice({ text, snippets }: Advice): HTMLElement {
  const parts = splitCode(text).map((part) =>
    isWhole(part, snippets) ? [codeOrText(part), ' ', copyButton(part.text)] : codeOrText(part),
  );
  return h('li', {}, h('span', { class: 'fix' }, parts));
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
