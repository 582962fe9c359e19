/**
 * Variables x steps, of one run or of several side by side. Only the rows in view are drawn; names
 * are elements, cells are canvas.
 *
 * The canvases stick to the top of the scrolled box and are redrawn at every scroll, so their
 * size does not depend on the number of variables (a canvas that is too tall draws nothing).
 * All runs share the rows, the scroll position, the step axis and the colours.
 */

import type { Flag, Run } from '../../api/types';
import { fill, h, onChange, remember, type Child } from '../../dom';
import { createDrawing, type Drawing } from '../../draw/canvas';
import type { Pen } from '../../draw/pen';
import { UNROLLED } from '../../export/unroll';
import { frameAtX } from '../../scale/axis';
import { runColour } from '../../scale/colour';
import { nothingMatches } from '../../scale/pattern';
import { worstRow, type RowState } from '../../scale/strip';
import type { Row } from '../../scale/rows';
import type { Actions } from '../../store/actions';
import { failureOf, selectedFlag, shownFrame } from '../../store/selectors';
import { MOST_SIDES, type MainView, type State } from '../../store/state';
import { attachBrush } from '../brush';
import { AXIS, ROW } from '../layout';
import { createLegend } from '../legend';
import { nameParts } from '../runs';
import type { View } from '../view';
import { createKeys } from './keys';
import { createLabels } from './labels';
import { createPainting, visibleRows } from './painting';
import { createShown, indexOfActive, isDifference, sideOf, type Shown } from './shown';
import { createStrip, statesOf } from './strip';
import { createTooltip, describe, type Place } from './tooltip';

/** One canvas: a run, or its difference from the first one. */
interface Pane {
  readonly drawing: Drawing;
  readonly dragging: () => boolean;
}

/** For whoever measures: the first time that there was something to see. */
const FIRST_PICTURE = 'gradient-health:first-picture';
/** The same with all frames: of a large run some are shown first. */
const WHOLE_PICTURE = 'gradient-health:whole-picture';
const SHOWN_IN: MainView = 'heatmap';

export function createHeatmap(parent: HTMLElement, actions: Actions): View {
  const { shown, update } = createShown(() => {
    painting.forget();
  });
  const painting = createPainting(shown, () => scroller.scrollTop);
  const element = h('section', {
    class: 'heatmap',
    'aria-label': 'Variables over steps',
    'data-picture': 'Heat-map',
  });
  const legend = createLegend(element);
  const panes = Array.from({ length: MOST_SIDES }, (_, which) => createPane(which));
  const heads = h('div', { class: 'pane-heads', hidden: true });
  const corner = h('div', { class: 'corner' });
  const canvases = h(
    'div',
    { class: 'canvases' },
    panes.map(({ drawing }) => drawing.element),
  );
  const rowsBox = h('div', { class: 'rows', role: 'presentation' }, corner, canvases);
  const scroller = h(
    'div',
    { class: 'scroller', role: 'tree', tabindex: 0, 'aria-label': 'Variables in network order' },
    rowsBox,
  );
  const labels = createLabels(shown, scroller, choose);
  rowsBox.append(labels.element);
  const strip = createStrip(shown, (row) => {
    shown.active = shown.rows[row]?.key ?? null;
    standAt(row);
    request();
  });
  const message = h('p', { class: 'overlay-message' });
  const spoken = h('p', { class: 'visually-hidden', 'aria-live': 'polite' });
  const tooltip = createTooltip(shown);
  element.append(
    heads,
    h('div', { class: 'map-box' }, scroller, strip.element, message),
    spoken,
    tooltip.element,
  );
  parent.append(element);
  let seen = false;
  let seenWhole = false;

  // --- What is shown ----------------------------------------------------------------------

  const sizeRows = onChange((rows: readonly Row[]) => {
    const height = `${AXIS + rows.length * ROW + 8}px`;
    rowsBox.style.height = height;
    element.style.setProperty('--content', height);
  });
  const drawHeads = onChange(
    (theme: State['theme'], difference: boolean, ...names: readonly (string | number)[]) => {
      const count = names.length / 2;
      heads.hidden = count < 2;
      const name = (which: number): Child => {
        const run = String(names[2 * which]);
        return [
          h('span', {
            class: 'run-dot',
            style: `background: ${runColour(Number(names[2 * which + 1]), theme)}`,
          }),
          h('span', { class: 'run-name', title: run }, nameParts(run)),
        ];
      };
      fill(
        heads,
        Array.from({ length: count }, (_, which) =>
          difference
            ? which > 0 &&
              h('div', { class: 'run-label' }, name(which), h('span', {}, 'against'), name(0))
            : h('div', { class: 'run-label' }, name(which)),
        ),
      );
    },
  );
  const revealFlag = onChange((flag: Flag | null) => {
    if (!flag) return;
    const faulty = new Set(flag.variables);
    reveal(shown.rows.findIndex(({ kind, key }) => kind === 'variable' && faulty.has(key)));
  });
  const revealVariable = onChange((path: string | null) => {
    if (path === null) return;
    shown.active = path;
    reveal(shown.indexOf.get(path) ?? -1);
  });

  function reveal(row: number): void {
    if (row < 0) return;
    const top = row * ROW;
    const room = scroller.clientHeight - AXIS;
    if (top < scroller.scrollTop) scroller.scrollTop = Math.max(0, top - 2 * ROW);
    else if (top + ROW > scroller.scrollTop + room) {
      scroller.scrollTop = top - Math.max(0, Math.min(room / 2, room - 3 * ROW));
    }
  }

  /** Scroll so that a row has what is before it, but more of what follows. */
  function standAt(row: number): void {
    scroller.scrollTop = Math.max(0, (row - 3) * ROW);
  }

  /** Of the rows and the findings, which are asked for by name to be remembered by. */
  const states = remember((rows: readonly Row[], ...flags: Shown['flagsOf']) =>
    rows.length > 0 && flags.length > 0 ? statesOf(shown) : [],
  );
  let stoodAt: string | null = null;
  /** A run is opened at its first row with the worst finding, if that is out of sight. */
  function stand(run: Run | null, all: readonly (RowState | null)[], taken: boolean): void {
    if (run?.judged == null || stoodAt === run.run) return;
    stoodAt = run.run;
    const row = worstRow(all);
    const room = scroller.clientHeight - AXIS;
    const below = (row + 1) * ROW > scroller.scrollTop + room;
    if (!taken && row >= 0 && (below || row * ROW < scroller.scrollTop)) standAt(row);
  }

  function request(): void {
    for (const { drawing } of panes) if (!drawing.element.hidden) drawing.request();
  }

  function createPane(which: number): Pane {
    const drawing = createDrawing('cells', (context, width, height) => {
      draw(which, context, Math.floor(width), height);
    });
    const dragging = attachBrush(drawing.element, actions, {
      axis: () => painting.axis(which),
      left: 0,
      press,
    });
    listen(drawing.element, which);
    return { drawing, dragging };
  }

  function draw(which: number, context: Pen, width: number, height: number): void {
    const drawn = painting.draw(which, context, width, height);
    if (!drawn) return;
    if (which === 0) labels.draw(drawn.from, drawn.to);
    if (drawn.from >= drawn.to) return;
    if (!seen) {
      seen = true;
      performance.mark(FIRST_PICTURE);
    }
    if (!seenWhole && shown.sides.every(({ matrix }) => matrix?.run.glance === false)) {
      seenWhole = true;
      performance.mark(WHOLE_PICTURE);
    }
  }

  function choose(row: Row): void {
    if (row.kind === 'module') actions.toggleModule(row.key);
    else actions.selectVariable(row.key);
  }

  // --- Pointer and keys -------------------------------------------------------------------

  function placeAt(event: MouseEvent, which: number): Place | null {
    const [pane, axis] = [panes[which], painting.axis(which)];
    if (!pane || !axis) return null;
    const box = pane.drawing.element.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const row = shown.rows[Math.floor((y - AXIS + scroller.scrollTop) / ROW)];
    if (!row || y < AXIS || x < 0 || x >= axis.width) return null;
    const step = axis.steps[frameAtX(axis, Math.floor(x))];
    return step === undefined ? null : { row, step };
  }

  function listen(canvas: HTMLCanvasElement, which: number): void {
    canvas.addEventListener('pointermove', (event) => {
      tooltip.show(event, panes[which]?.dragging() ? null : placeAt(event, which));
    });
    canvas.addEventListener('pointerleave', () => {
      tooltip.hide();
    });
  }

  function press(event: PointerEvent): void {
    const which = panes.findIndex(({ drawing }) => drawing.element === event.currentTarget);
    const place = placeAt(event, which);
    if (!place) return;
    shown.active = place.row.key;
    actions.selectStep(place.step);
    choose(place.row);
  }

  function speak(): void {
    const { rows, sides, state } = shown;
    const row = rows[indexOfActive(shown)];
    const run = sides[0]?.run;
    if (!row || !run || !state) return;
    const step = run.steps[shownFrame(run, state.selectedStep)] ?? 0;
    fill(spoken, describe(shown, { row, step }));
  }

  const handleKey = createKeys(shown, actions, { choose, reveal, speak });

  // A picture of all rows has all their names.
  element.addEventListener(UNROLLED, () => {
    const { from, to } = visibleRows(shown, scroller.scrollTop, canvases.clientHeight);
    labels.draw(from, to);
  });
  scroller.addEventListener('scroll', () => {
    tooltip.hide();
    request();
  });
  scroller.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (!handleKey(event.key)) return;
    event.preventDefault();
    request();
  });

  const observer = new ResizeObserver(() => {
    rowsBox.style.setProperty('--viewport', `${scroller.clientHeight}px`);
    strip.update(states(shown.rows, ...shown.flagsOf), scroller.clientHeight);
    request();
  });
  observer.observe(scroller);

  return {
    update(next) {
      update(next);
      element.hidden = next.view !== SHOWN_IN;
      const { sides, rows, scale } = shown;
      const first = sides[0]?.matrix ?? null;
      sizeRows(rows);
      drawHeads(
        next.theme,
        isDifference(shown),
        ...sides.flatMap(({ name, position }) => [name, position]),
      );
      panes.forEach(({ drawing }, which) => {
        drawing.element.hidden = which > 0 && sideOf(shown, which) === undefined;
      });
      legend.update(scale?.domain ?? null, next.theme);
      fill(corner, shown.prefix === '' ? null : h('span', {}, `${shown.prefix}/`));
      const all = states(rows, ...shown.flagsOf);
      strip.update(all, scroller.clientHeight);
      const chosen = next.selectedVariable !== null || next.selectedFlag !== null;
      stand(first?.run === next.run ? next.run : null, all, chosen);
      revealVariable(first ? next.selectedVariable : null);
      revealFlag(first ? selectedFlag(next) : null);
      const failure = failureOf(next, 'matrix');
      message.textContent =
        failure ??
        (first
          ? rows.length === 0
            ? nothingMatches('variable', next.rowFilter)
            : ''
          : 'Reading …');
      message.hidden = message.textContent === '';
      request();
    },
    destroy() {
      observer.disconnect();
      legend.destroy();
      for (const { drawing } of panes) drawing.destroy();
      element.remove();
    },
  };
}
