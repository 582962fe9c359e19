/** What was not finite: the bits of a mark, see `docs/http_api.md`, and their words. Pure. */

/** Something was not finite: NaN or Inf, not distinguished. */
export const NONFINITE = 1;
/** Elements of the gradient are NaN. */
export const NAN = 2;
/** Elements of the gradient are +Inf or −Inf. */
export const INF = 4;

/** How a mark is drawn: Inf alone has a shape of its own, both have both. */
export const MARK_SHAPES = ['nan', 'inf', 'both'] as const;
export type MarkShape = (typeof MARK_SHAPES)[number];

export function markShape(mark: number): MarkShape {
  if ((mark & INF) === 0) return 'nan';
  return (mark & NAN) === 0 ? 'inf' : 'both';
}

/** What a mark says, as a person would. */
export function markWords(mark: number): string {
  if ((mark & (NAN | INF)) === 0) return 'NaN or Inf';
  return { nan: 'NaN', inf: 'Inf', both: 'NaN and Inf' }[markShape(mark)];
}
