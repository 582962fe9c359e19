/**
 * All style sheets as one text, in the order of the cascade: of two rules that weigh the same,
 * that of the later sheet holds.
 *
 * Colours come from scale/colour.ts, sizes shared with the canvases from views/layout.ts.
 */

import adapt from './adapt.css';
import base from './base.css';
import charts from './charts.css';
import controls from './controls.css';
import empty from './empty.css';
import findings from './findings.css';
import flagcard from './flagcard.css';
import flagdetails from './flagdetails.css';
import header from './header.css';
import heatmap from './heatmap.css';
import inspector from './inspector.css';
import legend from './legend.css';
import page from './page.css';
import popup from './popup.css';
import profile from './profile.css';
import rulecard from './rulecard.css';
import runnotes from './runnotes.css';
import runs from './runs.css';
import runtable from './runtable.css';

export const STYLE = [
  base,
  page,
  header,
  popup,
  runs,
  findings,
  flagcard,
  flagdetails,
  runnotes,
  controls,
  legend,
  heatmap,
  profile,
  charts,
  inspector,
  rulecard,
  runtable,
  empty,
  adapt,
].join('\n');
