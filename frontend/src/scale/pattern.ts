/** Regular expressions that people type. */

/** A half-typed pattern is no error; it is taken literally. Case does not matter. */
export function matcher(text: string): (name: string) => boolean {
  if (text === '') return () => true;
  try {
    const expression = new RegExp(text, 'i');
    return (name) => expression.test(name);
  } catch {
    const wanted = text.toLowerCase();
    return (name) => name.toLowerCase().includes(wanted);
  }
}

export function isPattern(text: string): boolean {
  try {
    new RegExp(text);
    return true;
  } catch {
    return false;
  }
}

/** Why a list is empty. */
export const nothingMatches = (what: string, pattern: string): string =>
  isPattern(pattern)
    ? `No ${what} matches the filter.`
    : `No ${what} has “${pattern}” in its name, and it is no regular expression.`;
