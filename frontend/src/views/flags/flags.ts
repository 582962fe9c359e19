/**
 * The ranked list of findings.
 *
 * One flag is open at a time and is the one outlined in the heat-map. Only the list scrolls:
 * its heading, and the filter, stay.
 */

import type { Flag, RuleBook, Run } from '../../api/types';
import { fill, h, onChange, remember, type Child } from '../../dom';
import { formatInterval, title } from '../../scale/format';
import type { Actions } from '../../store/actions';
import {
  compareFlags,
  filterFlags,
  groupFlags,
  ruleTitle,
  shownSides,
  signsOfHealth,
  splitFlags,
  verdictOf,
  type FlagGroup,
} from '../../store/selectors';
import type { FlagFilter } from '../../store/state';
import type { View } from '../view';
import { icon } from '../icons';
import { runName } from '../runs';
import { focusKey, foldsOf, restoreFolds } from '../focus';
import { createRoving } from '../roving';
import { flagCard, type Context } from './card';
import { copyButton } from '../code';
import { rulesSetting } from '../../store/muted';
import { createFlagFilter } from './filter';
import { aboutRun, errorList, healthyNote, judgingNote, undecidedNote } from './notes';
import { createRuleStates } from './states';

/** Room for the outline of a card. */
const CARD_EDGE = 3;

export function createFlags(
  parent: HTMLElement,
  actions: Actions,
  addressOf: Context['addressOf'],
): View {
  const filter = createFlagFilter(actions);
  const ruleStates = createRuleStates(actions);
  const body = h('div', { class: 'flags-body' });
  const element = h(
    'section',
    { class: 'flags', 'aria-labelledby': 'findings' },
    h('h2', { id: 'findings' }, 'Findings'),
    filter.element,
    body,
  );
  parent.append(element);
  const heads = createRoving(body, '.flag-head');
  let showEnded = true;
  const signsOf = remember(signsOfHealth);

  const draw = onChange(
    (
      run: Run | null,
      wanted: FlagFilter,
      selected: string | null,
      variable: string | null,
      rules: RuleBook | null,
      signs: string,
      ...others: readonly Run[]
    ) => {
      if (!run) {
        fill(body);
        return;
      }
      const focus = focusKey(body);
      const folds = foldsOf(body);
      const shown = filterFlags(run.flags, wanted);
      const { open, closed } = splitFlags(shown);
      const allEnded = run.flags.every((flag) => !flag.open);
      const context: Context = {
        run,
        others,
        selected,
        variable,
        rules,
        allEnded,
        actions,
        addressOf,
      };
      fill(
        body,
        verdictOf(run) === 'healthy' && healthyNote(run, signs.split('\n')),
        verdictOf(run) === 'undecided' && undecidedNote(run),
        run.judged === null && judgingNote(),
        run.flags.length > 0 &&
          shown.length === 0 &&
          h('p', { class: 'nothing' }, 'No finding matches the filter.'),
        groupFlags(open).map((group) => flagGroup(group, context)),
        closed.length > 0 &&
          h(
            'details',
            {
              class: 'ended',
              open: showEnded || closed.some(({ id }) => id === selected),
              ontoggle: (event: Event) => {
                showEnded = (event.currentTarget as HTMLDetailsElement).open;
              },
            },
            h('summary', { 'data-focus': 'ended' }, h('h3', {}, `Ended (${closed.length})`)),
            closed.map((flag) => flagCard(flag, context)),
          ),
        run.muted.length > 0 && mutedList(run.muted, context),
        others.map((other) => onlyInOther(run, other, context)),
        ruleStates(run, rules),
        run.errors.length > 0 && errorList(run.errors),
        aboutRun(run),
      );
      restoreFolds(body, folds);
      heads.update();
      for (const list of body.querySelectorAll<HTMLElement>('.rule-states ul')) {
        createRoving(list, 'button').update();
      }
      if (focus !== null) body.querySelector<HTMLElement>(`[data-focus="${focus}"]`)?.focus();
    },
  );
  let shown: string | null = null;

  return {
    update(state) {
      const [selected, ...compared] = shownSides(state);
      filter.update(selected?.run ?? null, state.flagFilter, state.rules);
      draw(
        selected?.run ?? null,
        state.flagFilter,
        state.selectedFlag,
        state.selectedVariable,
        state.rules,
        selected?.run?.flags.length === 0
          ? signsOf(selected.run, selected.context, selected.matrix).join('\n')
          : '',
        ...compared.flatMap(({ run }) => run ?? []),
      );
      const card = body.querySelector('[data-open]');
      // Bring a flag into view when it gets selected, not at every redraw.
      if (card && shown !== state.selectedFlag) revealIn(body, card);
      if (card || state.selectedFlag === null) shown = state.selectedFlag;
    },
    destroy() {
      element.remove();
    },
  };
}

/** Scroll the list alone, and no further than the card's own head: what is above stays. */
function revealIn(list: HTMLElement, card: Element): void {
  const [frame, box] = [list.getBoundingClientRect(), card.getBoundingClientRect()];
  const above = box.top - frame.top - CARD_EDGE;
  if (above < 0) list.scrollTop += above;
  else if (box.bottom > frame.bottom)
    list.scrollTop += Math.min(above, box.bottom - frame.bottom + CARD_EDGE);
}

/** Flags with one likeliest cause, under its name; a flag that stands alone needs none. */
function flagGroup({ cause, flags }: FlagGroup, context: Context): Child {
  const cards = flags.map((flag) => flagCard(flag, context));
  if (cause === null || flags.length < 2) return cards;
  const name = context.rules?.causes.get(cause)?.title ?? title(cause);
  return h(
    'section',
    { class: 'flag-group', 'aria-label': `Likely one cause: ${name}` },
    h('h3', {}, 'Likely one cause: ', h('strong', {}, name)),
    cards,
  );
}

/** What was put away, how to bring it back, and how to switch it off for good. */
function mutedList(flags: readonly Flag[], context: Context): HTMLElement {
  return h(
    'details',
    { class: 'ended muted', 'data-fold': 'muted' },
    h('summary', { 'data-focus': 'muted' }, h('h3', {}, `Muted (${flags.length})`)),
    h(
      'p',
      { class: 'note' },
      'Put away in this browser only. Of all runs, with tb-gradients check --rules FILE: ',
      copyButton(rulesSetting(flags), 'Copy the FILE'),
    ),
    flags.map((flag) => flagCard(flag, context)),
  );
}

/** What the second run has and the first one has not; a click goes there. */
function onlyInOther(run: Run, other: Run, { rules, actions }: Context): Child {
  const { added } = compareFlags(run.flags, other.flags);
  if (added.length === 0) return null;
  return h(
    'section',
    { class: 'only-other' },
    h('h3', {}, 'Only in ', h('strong', {}, runName(other.run))),
    h(
      'ul',
      {},
      added.map((flag) =>
        h(
          'li',
          {},
          h(
            'button',
            {
              class: 'flag-chip',
              type: 'button',
              'data-severity': flag.severity,
              'data-focus': `other ${flag.id}`,
              title: `${flag.summary} Opens it; the runs change places.`,
              onclick: () => {
                actions.swapRuns(other.run);
                actions.toggleFlag(flag.id);
              },
            },
            icon(flag.severity),
            `${ruleTitle(rules, flag.rule)} · ${formatInterval(flag.firstStep, flag.lastStep, flag.open)}`,
          ),
        ),
      ),
    ),
  );
}
