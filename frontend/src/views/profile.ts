/**
 * The layer profile: magnitude by depth at the chosen step, from the input on the left to the
 * output on the right. A vanishing or exploding gradient is a slope.
 */

import type { Flag, Variable } from '../api/types';
import { fill, h, onChange, remember, type Child } from '../dom';
import { createDrawing } from '../draw/canvas';
import { SHAPES } from '../draw/marks';
import type { Pen } from '../draw/pen';
import {
  DEPTH_LABELS,
  drawProfile,
  profileHeights,
  type Layer,
  type Levels,
} from '../draw/profile';
import { frameAtStep } from '../scale/axis';
import { PALETTES } from '../scale/colour';
import { fitChartDomain, fitLinear, type Domain } from '../scale/domain';
import { formatCount, formatNumber, formatRelation, formatValue, title } from '../scale/format';
import { limitsAt } from '../scale/health';
import { markWords } from '../scale/nonfinite';
import { nothingMatches } from '../scale/pattern';
import {
  createDepthAxis,
  growthPerLayer,
  profileOf,
  slotAtX,
  type DepthAxis,
  type Profile,
} from '../scale/profile';
import { buildRows, type Row } from '../scale/rows';
import type { Actions } from '../store/actions';
import { rangesOf, usualOf } from '../store/judgement';
import {
  columnOf,
  columnsIn,
  failureOf,
  jointVariables,
  rowMatcher,
  selectedFlag,
  shownFrame,
  shownFrames,
  shownRun,
  shownSides,
  type Side,
} from '../store/selectors';
import { gridOf, type MatrixData, type State } from '../store/state';
import { CHART_INSET, FONT } from './layout';
import type { View } from './view';

const RIGHT = 12;
const NO_ROWS: readonly Variable[] = [];

/** Up to so many variables leave room for this view below the heat-map. */
const FEW_VARIABLES = 8;

/** Both views fit on the page. */
const isSmall = ({ run }: State): boolean => run !== null && run.variables.length <= FEW_VARIABLES;

interface Shown extends Layer {
  readonly name: string;
  readonly step: number;
  readonly side: Side;
}

export function createProfile(parent: HTMLElement, actions: Actions): View {
  const drawing = createDrawing('profile-canvas', draw);
  drawing.element.tabIndex = 0;
  drawing.element.setAttribute('role', 'application');
  drawing.element.setAttribute('aria-roledescription', 'layer profile');
  const key = h('ul', { class: 'profile-key' });
  const slope = h('p', { class: 'profile-slope' });
  const tooltip = h('div', { class: 'tooltip', role: 'tooltip', hidden: true });
  const spoken = h('p', { class: 'visually-hidden', 'aria-live': 'polite' });
  const message = h('p', { class: 'overlay-message' });
  const element = h(
    'section',
    { class: 'profile', 'aria-label': 'Variables by depth', 'data-picture': 'Layer profile' },
    h('div', { class: 'profile-head' }, key, slope),
    h('div', { class: 'profile-box' }, drawing.element, message),
    h('p', { class: 'profile-axis', 'aria-hidden': 'true' }, '← input · network order · output →'),
    spoken,
    tooltip,
  );
  parent.append(element);

  let state: State | null = null;
  let layers: readonly Shown[] = [];
  let variables: readonly Variable[] = [];
  let rows: readonly Row[] = [];
  let domain: Domain | null = null;
  /** Of the first run at the chosen step. */
  let levels: Levels = { usual: [], limits: [] };
  let axis: DepthAxis = { slots: [], modules: [] };
  let active = -1;

  const prepareRows = onChange(
    (
      joint: readonly Variable[],
      collapsed: ReadonlySet<string>,
      matches: (path: string) => boolean,
    ) => {
      variables = joint;
      rows = buildRows(joint, collapsed, matches);
      // Keys may come before the first drawing, which knows the width.
      axis = createDepthAxis(rows, 1);
      active = -1;
    },
  );
  const join = remember(jointVariables);
  const matcherOf = remember(rowMatcher);
  const cached = new WeakMap<object, Map<string, Profile>>();

  /** Profiles of a matrix are kept: moving the step must not sort all values again. */
  function profileAt(side: Side, step: number | null, range: State['stepRange']): Profile | null {
    const { matrix } = side;
    if (!matrix) return null;
    const { steps } = matrix.run;
    const { from, to } = shownFrames(steps, range);
    const frame = step === null ? to - 1 : frameAtStep(steps, step);
    const name = `${frame} ${from} ${to}`;
    let kept = cached.get(matrix);
    if (!kept || kept.size > 50) cached.set(matrix, (kept = new Map<string, Profile>()));
    let profile = kept.get(name);
    if (!profile) kept.set(name, (profile = profileOf(gridOf(matrix), frame, from, to)));
    return profile;
  }

  function layersOf(next: State): Shown[] {
    return shownSides(next).flatMap((side, which): Shown[] => {
      const { matrix } = side;
      const now = profileAt(side, next.selectedStep, next.stepRange);
      if (!matrix || !now) return [];
      const { steps } = matrix.run;
      const stepOf = (step: number | null): number => steps[shownFrame(matrix.run, step)] ?? 0;
      const common = {
        side,
        name: side.name,
        columns: columnsIn(matrix.run, variables),
        colour: side.colour,
        shift: 4 * which,
      };
      const shape = SHAPES[which] ?? 'dot';
      const chosen: Shown = {
        ...common,
        profile: now,
        shape,
        band: true,
        step: stepOf(next.selectedStep),
      };
      const second =
        next.compareStep === null ? null : profileAt(side, next.compareStep, next.stepRange);
      if (!second || which > 0) return [chosen];
      const other: Shown = {
        ...common,
        profile: second,
        shape: 'ring',
        band: false,
        step: stepOf(next.compareStep),
        shift: -4,
      };
      return [other, chosen];
    });
  }

  /** The limits that the rules have for the first run at the chosen step. */
  function limitsOf(matrix: MatrixData, { rules, selectedStep }: State): readonly number[] {
    const ranges = rangesOf(matrix, rules);
    const frame = shownFrame(matrix.run, selectedStep);
    const column = matrix.edges.findLastIndex((edge) => edge <= frame);
    return ranges ? limitsAt(gridOf(matrix), ranges, column) : [];
  }

  // --- Drawing ----------------------------------------------------------------------------

  function draw(context: Pen, width: number, height: number): void {
    if (!state || !domain) return;
    const palette = PALETTES[state.theme];
    const room = width - CHART_INSET - RIGHT;
    axis = createDepthAxis(rows, room);
    context.font = FONT;
    context.translate(CHART_INSET, 0);
    drawProfile(context, axis, layers, domain, levels, room, height, palette);
    drawFindings(context, height);
    drawFlagged(context, height);
    drawChosen(context, height);
  }

  /** Below each variable with a finding a bar: at 300 layers nobody finds a dot. */
  function drawFindings(context: Pen, height: number): void {
    if (!state) return;
    const palette = PALETTES[state.theme];
    const worst = new Map<string, Flag['severity']>();
    for (const flag of [...(shownRun(state)?.flags ?? [])].reverse()) {
      if (flag.open) for (const path of flag.variables) worst.set(path, flag.severity);
    }
    for (const { row, from, to } of axis.slots) {
      const [severity] = row.variables.flatMap((i) => worst.get(variables[i]?.path ?? '') ?? []);
      if (severity === undefined) continue;
      context.fillStyle = palette[severity];
      context.fillRect(from, height - DEPTH_LABELS, Math.max(2, to - from), 3);
    }
  }

  /** What the selected flag is about, and the selected variable. */
  function drawFlagged(context: Pen, height: number): void {
    if (!state) return;
    const palette = PALETTES[state.theme];
    const flag: Flag | null = selectedFlag(state);
    const faulty = new Set(flag?.variables);
    const y = profileHeights(domain ?? { kind: 'linear', low: 0, high: 1 }, height);
    const chosen = layers.find(({ shape }) => shape === 'dot');
    for (const { row, from, to } of axis.slots) {
      for (const i of row.variables) {
        const path = variables[i]?.path ?? '';
        const value = chosen?.profile.value[chosen.columns[i] ?? -1] ?? Number.NaN;
        const selected = path === state.selectedVariable;
        if (Number.isNaN(value) || (!faulty.has(path) && !selected)) continue;
        context.strokeStyle = selected ? palette.text : palette.outline;
        context.lineWidth = 2;
        context.beginPath();
        context.arc((from + to) / 2, y(value), selected ? 10 : 7.5, 0, 2 * Math.PI);
        context.stroke();
      }
    }
  }

  function drawChosen(context: Pen, height: number): void {
    const slot = axis.slots[active];
    if (!slot || !state || document.activeElement !== drawing.element) return;
    context.strokeStyle = PALETTES[state.theme].accent;
    context.lineWidth = 2;
    context.strokeRect(slot.from - 1, 1, slot.to - slot.from + 2, height - 36);
  }

  const drawKey = onChange((...[names, usual, limit]: [string, string, string, State['theme']]) => {
    const [mark, other] = [(shape: string) => h('span', { class: `mark mark-${shape}` }), layers];
    fill(
      key,
      names !== '' &&
        other.map(({ shape, name, step, side }) =>
          h(
            'li',
            { style: `--line-colour: ${side.colour}` },
            mark(shape),
            `${layers.some((layer) => layer.name !== name) ? `${name}, ` : ''}step ${formatCount(step)}`,
          ),
        ),
      h(
        'li',
        {},
        mark('band'),
        'range over the steps shown; thick: from the 25th to the 75th percentile',
      ),
      usual !== '' && h('li', {}, mark('guide'), usual),
      limit !== '' && h('li', {}, mark('limit'), limit),
    );
  });

  /** The slope in words, of the weights that pass the signal on. */
  function describeSlope(): string {
    const chosen = layers.find(({ shape }) => shape === 'dot');
    if (!chosen || domain?.kind !== 'log') return '';
    const values = rows.flatMap(({ kind, variables: [i = -1] }) => {
      const variable = variables[i];
      const at = chosen.columns[i] ?? -1;
      return kind === 'variable' && at >= 0 && (variable?.shape.length ?? 0) >= 2
        ? [chosen.profile.value[at] ?? Number.NaN]
        : [];
    });
    const growth = growthPerLayer(values);
    if (growth === null) return '';
    return `From layer to layer towards the input: ${formatRelation(1 / growth, 'ratio')} (least squares over ${formatCount(values.length)} weights)`;
  }

  // --- Pointer and keys -------------------------------------------------------------------

  function describe(index: number): Child[] {
    const slot = axis.slots[index];
    const statistic = layers[0]?.side.matrix;
    const column = statistic && columnOf(statistic.run, statistic.statistic);
    if (!slot || !column) return [];
    const { row } = slot;
    return [
      h('strong', {}, row.kind === 'variable' ? row.key : `${row.label} (closed)`),
      h('span', {}, title(column.name)),
      layers.map(({ profile, columns, name, step }) => {
        const own = row.variables.map((i) => columns[i] ?? -1).filter((i) => i >= 0);
        const values = own
          .map((i) => profile.value[i] ?? Number.NaN)
          .filter((value) => !Number.isNaN(value));
        const [low, high] = [Math.min(...values), Math.max(...values)];
        const text =
          own.length === 0
            ? 'not in this run'
            : values.length === 0
              ? 'not measured'
              : low === high
                ? formatValue(low, column.unit)
                : `${formatValue(low, column.unit)} to ${formatValue(high, column.unit)}`;
        const marked = own.reduce((mark, i) => mark | (profile.marked[i] ?? 0), 0);
        return h(
          'span',
          {},
          `${name}, step ${formatCount(step)}: ${text}${marked > 0 ? ` × ${markWords(marked)}` : ''}`,
        );
      }),
    ];
  }

  function choose(index: number): void {
    const row = axis.slots[index]?.row;
    if (!row) return;
    if (row.kind === 'module') actions.toggleModule(row.key);
    else actions.selectVariable(row.key);
  }

  const slotAt = (event: MouseEvent): number =>
    slotAtX(axis, event.clientX - drawing.element.getBoundingClientRect().left - CHART_INSET);

  drawing.element.addEventListener('pointermove', (event) => {
    const index = slotAt(event);
    tooltip.hidden = index < 0;
    if (index < 0) return;
    fill(tooltip, describe(index));
    const right = event.clientX + 14 + tooltip.offsetWidth > window.innerWidth;
    tooltip.style.left = `${Math.max(4, right ? event.clientX - tooltip.offsetWidth - 10 : event.clientX + 14)}px`;
    tooltip.style.top = `${event.clientY + 16}px`;
  });
  drawing.element.addEventListener('pointerleave', () => {
    tooltip.hidden = true;
  });
  drawing.element.addEventListener('click', (event) => {
    active = slotAt(event);
    choose(active);
    drawing.request();
  });
  drawing.element.addEventListener('keydown', (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (by !== undefined) {
      active = Math.max(0, Math.min(axis.slots.length - 1, active + by));
      fill(spoken, describe(active));
    } else if (event.key === 'Enter' || event.key === ' ') choose(active);
    else return;
    event.preventDefault();
    drawing.request();
  });
  for (const event of ['focus', 'blur']) {
    drawing.element.addEventListener(event, () => {
      drawing.request();
    });
  }

  return {
    update(next) {
      state = next;
      const companion = isSmall(next) && next.view === 'heatmap' && next.selectedVariable === null;
      element.hidden = next.view !== 'profile' && !companion;
      element.toggleAttribute('data-companion', companion);
      if (element.hidden) return;
      const [one, ...others] = shownSides(next);
      const matrix = one?.matrix ?? null;
      const column = matrix && columnOf(matrix.run, matrix.statistic);
      prepareRows(
        matrix ? join(matrix.run, ...others.map(({ run }) => run)) : NO_ROWS,
        next.collapsed,
        matcherOf(next.rowFilter, next.onlyFlagged, ...shownSides(next).map(({ run }) => run)),
      );
      layers = layersOf(next);
      const fit = next.valueScale === 'linear' ? fitLinear : fitChartDomain;
      const usual = usualOf(next.rules, matrix?.statistic ?? '') ?? [];
      const all = matrix ? limitsOf(matrix, next) : [];
      // A finding is about its limit; without one there is no need to make room for it.
      const needed = selectedFlag(next) === null ? [] : all;
      domain =
        column &&
        fit(
          column,
          ...layers.flatMap(({ profile }) => [profile.low, profile.high, profile.value]),
          Float32Array.from([...usual, ...needed]),
        );
      const limits = all.filter((limit) => domain && limit >= domain.low && limit <= domain.high);
      levels = { usual, limits };
      drawKey(
        layers.map(({ name, step, shape }) => `${name} ${step} ${shape}`).join('\n'),
        usual.length > 0 ? `healthy: ${usual.map((one) => formatNumber(one)).join(' to ')}` : '',
        limits.length > 0 ? `limit ${limits.map((one) => formatNumber(one)).join(', ')}` : '',
        next.theme,
      );
      slope.textContent = describeSlope();
      drawing.element.setAttribute(
        'aria-label',
        `${column ? title(column.name) : 'Values'} by depth, arrow keys move from variable to variable. ${slope.textContent}`,
      );
      message.textContent =
        failureOf(next, 'matrix') ??
        (matrix
          ? rows.length === 0
            ? nothingMatches('variable', next.rowFilter)
            : ''
          : 'Reading …');
      message.hidden = message.textContent === '';
      drawing.request();
    },
    destroy() {
      drawing.destroy();
      element.remove();
    },
  };
}
