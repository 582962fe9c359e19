/** What the charts have in common: the step axis, what is marked along it, the pointer on it. */

import type { Flag, Run } from '../../api/types';
import { remember } from '../../dom';
import type { Pen } from '../../draw/pen';
import { drawStepLine, flagX } from '../../draw/steps';
import {
  frameAtX,
  jointSteps,
  runAxes,
  type Spacing,
  type StepAxis,
  type Track,
} from '../../scale/axis';
import type { Palette } from '../../scale/colour';
import type { Actions } from '../../store/actions';
import { selectedFlag, shownFrame, shownFrames, shownRun, type Side } from '../../store/selectors';
import type { State, StepRange } from '../../store/state';
import { attachBrush } from '../brush';
import { CHART_INSET } from '../layout';

export interface Panel {
  readonly element: HTMLElement;
  update(state: State, sides: readonly Side[]): void;
  destroy(): void;
}

/** The frames of each run on one axis, the same for all panels. */
export type Axes = (state: State, sides: readonly Side[], width: number) => readonly StepAxis[];

export function createAxes(): Axes {
  const shown = remember((range: StepRange | null, ...runs: readonly (readonly number[])[]) => {
    const steps = jointSteps(...runs);
    const { from, to } = shownFrames(steps, range);
    const whole = from === 0 && to === steps.length;
    return { steps: whole ? steps : steps.slice(from, to), after: steps[to] ?? null };
  });
  const place = remember(
    (
      steps: readonly number[],
      width: number,
      spacing: Spacing,
      after: number | null,
      ...tracks: readonly Track[]
    ) => runAxes(tracks, steps, after, width, spacing),
  );
  return (state, sides, width) => {
    const runs = sides.map(({ run }) => run ?? NO_TRACK);
    const { steps, after } = shown(state.stepRange, ...runs.map((run) => run.steps));
    return place(steps, Math.max(0, Math.floor(width)), state.spacing, after, ...runs);
  };
}

const NO_TRACK: Track = { steps: [], wallTimes: [] };

/** Height of the bar that says when a finding was so. */
const BAR = 3;

/** The ground, and when the variable was flagged: a bar on the axis, clear of the data. */
export function drawBackdrop(
  context: Pen,
  state: State,
  axis: StepAxis,
  height: number,
  palette: Palette,
): void {
  context.fillStyle = palette.sunken;
  context.fillRect(0, 0, axis.width, height);
  const chosen = selectedFlag(state);
  const path = state.selectedVariable ?? '';
  const own = (shownRun(state)?.flags ?? []).filter(
    (flag) => flag !== chosen && flag.variables.includes(path),
  );
  const mark = (flag: Flag, colour: string): void => {
    const interval = flagX(axis, flag);
    if (!interval) return;
    const [from, to] = interval;
    context.fillStyle = colour;
    context.fillRect(from, height - BAR, to - from, BAR);
  };
  for (const flag of own) mark(flag, palette[flag.severity]);
  if (chosen) mark(chosen, palette.outline);
}

export function drawSteps(
  context: Pen,
  state: State,
  run: Run,
  axis: StepAxis,
  height: number,
  palette: Palette,
): void {
  drawStepLine(context, axis, shownFrame(run, state.selectedStep), 0, height, palette);
  if (state.compareStep === null) return;
  drawStepLine(context, axis, shownFrame(run, state.compareStep), 0, height, palette, true);
}

/** Press to choose the step, drag to zoom. */
export function chooseByPointer(
  element: HTMLElement,
  actions: Actions,
  axis: () => StepAxis | null,
): void {
  attachBrush(element, actions, {
    axis,
    left: CHART_INSET,
    press: (event) => {
      const scale = axis();
      if (!scale) return;
      const x = event.clientX - element.getBoundingClientRect().left - CHART_INSET;
      const frame = frameAtX(scale, Math.max(0, Math.min(scale.width - 1, Math.floor(x))));
      actions.selectStep(scale.steps[frame] ?? null);
    },
  });
}
