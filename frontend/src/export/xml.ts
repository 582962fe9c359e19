/** Elements of an SVG as text. Whatever comes from outside is escaped here. */

export type Attributes = Readonly<Record<string, string | number | null>>;

/** Attributes that are null are left out; the content is markup. */
export function tag(name: string, attributes: Attributes, content = ''): string {
  const written = Object.entries(attributes).map(([key, value]) =>
    value === null ? '' : ` ${key}="${typeof value === 'number' ? short(value) : escaped(value)}"`,
  );
  const start = `<${name}${written.join('')}`;
  return content === '' ? `${start}/>` : `${start}>${content}</${name}>`;
}

/** Hundredths of a pixel are finer than any screen. */
export const short = (value: number): number => Math.round(100 * value) / 100;

const ENTITIES: Readonly<Record<string, string>> = {
  '<': '&lt;',
  '>': '&gt;',
  '&': '&amp;',
  '"': '&quot;',
};

/** As the text of an element or of an attribute; XML has no place for control characters. */
export const escaped = (text: string): string =>
  text
    .replace(/[\t\r\n]+/g, ' ')
    .replace(/[\p{Cc}\p{Cs}\uFFFE\uFFFF]/gu, '\uFFFD')
    .replace(/[<>&"]/g, (char) => ENTITIES[char] ?? char);
