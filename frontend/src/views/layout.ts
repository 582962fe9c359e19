/** Sizes that canvas and style sheet must agree on, so that all steps line up. */

/** Room for names on the left of the heat-map and of every chart. */
export const GUTTER = 196;
/** Part of it that charts use for their value labels. */
export const CHART_INSET = 54;
export const ROW = 20;
/** Beside the scroll bar of the heat-map, for where the findings are. */
export const STRIP = 14;
/** Step axis above the heat-map. */
export const AXIS = 26;

export const FONT = '11px Roboto, "Helvetica Neue", Arial, sans-serif';

export function applyLayout(root: HTMLElement): void {
  root.style.setProperty('--gutter', `${GUTTER}px`);
  root.style.setProperty('--chart-inset', `${CHART_INSET}px`);
  root.style.setProperty('--strip', `${STRIP}px`);
  root.style.setProperty('--row', `${ROW}px`);
  root.style.setProperty('--axis', `${AXIS}px`);
}
