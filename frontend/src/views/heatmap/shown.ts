/** What the heat-map shows of a state: rows over steps, in the colours of one scale. */

import type { Flag, RuleBook, Run, Variable } from '../../api/types';
import { onChange, remember } from '../../dom';
import { jointSteps } from '../../scale/axis';
import { scaleMap, type MapFit, type MapScale, type Source } from '../../scale/map';
import { buildRows, sharedPrefix, type Row } from '../../scale/rows';
import { healthyOf, healthyStart } from '../../store/judgement';
import {
  columnOf,
  columnsIn,
  jointVariables,
  rowMatcher,
  shownFrames,
  shownSides,
  type Side,
} from '../../store/selectors';
import { gridOf, type MatrixData, type State, type StepRange } from '../../store/state';

export interface Shown {
  state: State | null;
  sides: readonly Side[];
  scale: MapScale | null;
  /** The values themselves, also while a change is drawn. */
  plain: readonly (Source | null)[];
  variables: readonly Variable[];
  rows: readonly Row[];
  /** What the names of all modules begin with, and no row repeats; may be empty. */
  prefix: string;
  /** Where a row is, by its key. */
  indexOf: ReadonlyMap<string, number>;
  /** Steps of all runs within the zoom. */
  steps: readonly number[];
  /** The first step after them; null: there is none. */
  after: number | null;
  /** Of each run, by the path of a variable. */
  flagsOf: readonly ReadonlyMap<string, readonly Flag[]>[];
  /** The key of the row that the keyboard is on. */
  active: string | null;
}

const NO_STEPS: readonly number[] = [];
const NO_ROWS: readonly Variable[] = [];

/** `forget` is called when what has been computed of the rows does not hold any more. */
export function createShown(forget: () => void): {
  readonly shown: Shown;
  readonly update: (next: State) => void;
} {
  const shown: Shown = {
    state: null,
    sides: [],
    scale: null,
    plain: [],
    variables: [],
    rows: [],
    prefix: '',
    indexOf: new Map(),
    steps: [],
    after: null,
    flagsOf: [],
    active: null,
  };
  const join = remember(jointVariables);
  const matcherOf = remember(rowMatcher);
  const prepareRows = onChange(
    (
      joint: readonly Variable[],
      collapsed: ReadonlySet<string>,
      matches: (path: string) => boolean,
    ) => {
      forget();
      shown.variables = joint;
      shown.rows = buildRows(joint, collapsed, matches);
      shown.prefix = sharedPrefix(joint).join('/');
      shown.indexOf = new Map(shown.rows.map(({ key }, i) => [key, i]));
    },
  );
  const prepareScale = onChange(
    (
      joint: readonly Variable[],
      encoding: State['encoding'],
      fit: MapFit,
      rules: RuleBook | null,
      ...matrices: readonly (MatrixData | null)[]
    ) => {
      forget();
      const [first] = matrices;
      const column = first ? columnOf(first.run, first.statistic) : null;
      shown.plain = matrices.map(
        (matrix) =>
          matrix && {
            grid: gridOf(matrix),
            columns: columnsIn(matrix.run, joint),
            start: healthyStart(matrix.run),
            healthy: healthyOf(matrix, rules),
          },
      );
      shown.scale = column && scaleMap(column, shown.plain, encoding, fit);
    },
  );
  const prepareSteps = onChange(
    (range: StepRange | null, ...runs: readonly (readonly number[])[]) => {
      const all = jointSteps(...runs);
      const { from, to } = shownFrames(all, range);
      shown.steps = from === 0 && to === all.length ? all : all.slice(from, to);
      shown.after = all[to] ?? null;
    },
  );
  const prepareFlags = onChange((...all: readonly (Run | null)[]) => {
    shown.flagsOf = all.map((run) => {
      const found = new Map<string, Flag[]>();
      for (const flag of run?.flags ?? []) {
        for (const path of flag.variables) found.set(path, [...(found.get(path) ?? []), flag]);
      }
      return found;
    });
  });

  return {
    shown,
    update(next) {
      shown.state = next;
      shown.sides = shownSides(next);
      const { sides } = shown;
      const matrices = sides.map(({ matrix }) => matrix);
      const [first = null, ...others] = matrices;
      const joint = first ? join(first.run, ...sides.slice(1).map(({ run }) => run)) : NO_ROWS;
      // Until another run is there, the first one is shown as it is.
      const alone = others.every((matrix) => matrix === null);
      const encoding = next.encoding === 'difference' && alone ? 'health' : next.encoding;
      const runs = sides.map(({ run }) => run);
      prepareRows(joint, next.collapsed, matcherOf(next.rowFilter, next.onlyFlagged, ...runs));
      prepareScale(joint, encoding, fitOf(next), next.rules, ...matrices);
      prepareSteps(next.stepRange, ...sides.map(({ run }) => run?.steps ?? NO_STEPS));
      prepareFlags(...runs);
    },
  };
}

const fitOf = ({ colourRange, valueScale }: State): MapFit =>
  colourRange === 'fixed' ? 'fixed' : valueScale === 'linear' ? 'run linear' : 'run';

export const isDifference = ({ scale }: Shown): boolean => scale?.encoding === 'difference';

/** The run whose steps and flags a pane shows; a difference is about the other one. */
export const indexOfSide = (shown: Shown, which: number): number =>
  isDifference(shown) ? which + 1 : which;

export const sideOf = (shown: Shown, which: number): Side | undefined =>
  shown.sides[indexOfSide(shown, which)];

export const indexOfActive = ({ active, indexOf }: Shown): number =>
  active === null ? -1 : (indexOf.get(active) ?? -1);

export function flagsOfRow({ flagsOf, variables }: Shown, row: Row, side: number): readonly Flag[] {
  const flags = flagsOf[side];
  if (!flags || flags.size === 0) return [];
  if (row.kind === 'variable') return flags.get(row.key) ?? [];
  return [...new Set(row.variables.flatMap((i) => flags.get(variables[i]?.path ?? '') ?? []))];
}
