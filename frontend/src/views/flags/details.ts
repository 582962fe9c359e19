/**
 * The ranked list of findings: what is wrong, since when, on what evidence, what to try.
 *
 * One flag is open at a time and is the one outlined in the heat-map. Only the list scrolls:
 * its heading, and the filter, stay.
 */

import {
  SEVERITIES,
  type Cause,
  type Evidence,
  type Flag,
  type RuleBook,
  type RuleError,
  type Run,
} from '../../api/types';
import { breakable, fill, h, onChange, remember, type Child } from '../../dom';
import {
  formatCount,
  formatEvidence,
  formatFact,
  formatInterval,
  formatShare,
  plural,
  title,
} from '../../scale/format';
import { isPattern } from '../../scale/pattern';
import type { Actions } from '../../store/actions';
import {
  compareFlags,
  filterFlags,
  groupFlags,
  isSameTrouble,
  ruleTitle,
  shownSides,
  signsOfHealth,
  splitFlags,
  statisticNamed,
  verdictOf,
  type FlagGroup,
} from '../../store/selectors';
import type { FlagFilter } from '../../store/state';
import type { View } from '../view';
import { advice, prose } from '../code';
import { icon } from '../icons';
import { runName } from '../runs';

/** A flag of more variables than this names the first ones and counts the rest. */
const NAMED_VARIABLES = 8;
/** Room for the outline of a card. */
const CARD_EDGE = 3;
/** More flags than this can be filtered by rule and variable. */
const MANY_FLAGS = 4;

interface Context {
  readonly run: Run;
  /** The runs beside it that are read. */
  readonly others: readonly Run[];
  readonly selected: string | null;
  readonly variable: string | null;
  readonly rules: RuleBook | null;
  /** Nothing goes on any more: what ended is all there is to tell. */
  readonly allEnded: boolean;
  readonly actions: Actions;
}

export function createFlags(parent: HTMLElement, actions: Actions): View {
  const filter = createFlagFilter(actions);
  const body = h('div', { class: 'flags-body' });
  const element = h(
    'section',
    { class: 'flags', 'aria-labelledby': 'findings' },
    h('h2', { id: 'findings' }, 'Findings'),
    filter.element,
    body,
  );
  parent.append(element);
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
      const shown = filterFlags(run.flags, wanted);
      const { open, closed } = splitFlags(shown);
      const allEnded = run.flags.every((flag) => !flag.open);
      const context: Context = { run, others, selected, variable, rules, allEnded, actions };
      fill(
        body,
        run.flags.length === 0 &&
          verdictOf(run) !== null &&
          healthyNote(run, signs.split('\n'), rules, actions),
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
        others.map((other) => onlyInOther(run, other, context)),
        run.errors.length > 0 && errorList(run.errors),
        aboutRun(run),
      );
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

interface FlagFilterView {
  readonly element: HTMLElement;
  update(run: Run | null, filter: FlagFilter, rules: RuleBook | null): void;
}

function createFlagFilter(actions: Actions): FlagFilterView {
  const severities = h('span', { class: 'severities', role: 'group', 'aria-label': 'Severities' });
  const rule = h('select', {
    'aria-label': 'Only findings of this rule',
    onchange: () => {
      actions.setFlagFilter({ rule: rule.value });
    },
  });
  const variable = h('input', {
    type: 'search',
    placeholder: 'Variable (regex)',
    'aria-label': 'Only findings of variables that match this regular expression',
    oninput: () => {
      actions.setFlagFilter({ variable: variable.value });
    },
  });
  const more = h('div', { class: 'list-tools' }, variable, rule);

  const draw = onChange((run: Run | null, filter: FlagFilter, rules: RuleBook | null) => {
    const flags = run?.flags ?? [];
    const focus = focusKey(severities);
    fill(
      severities,
      SEVERITIES.map((severity) => {
        const count = flags.filter((flag) => flag.severity === severity).length;
        if (count === 0) return null;
        const shown = !filter.hidden.has(severity);
        return h(
          'button',
          {
            type: 'button',
            class: 'severity-chip',
            'data-severity': severity,
            'data-focus': severity,
            'aria-pressed': String(shown),
            'aria-label': plural(count, severity),
            title: shown ? `Hide ${severity}` : `Show ${severity}`,
            onclick: () => {
              const hidden = new Set(filter.hidden);
              if (!hidden.delete(severity)) hidden.add(severity);
              actions.setFlagFilter({ hidden });
            },
          },
          icon(severity),
          formatCount(count),
        );
      }),
    );
    if (focus !== null) severities.querySelector<HTMLElement>(`[data-focus="${focus}"]`)?.focus();
    const names = [...new Set([...flags.map((flag) => flag.rule), filter.rule])]
      .filter((name) => name !== '')
      .map((name) => ({ name, text: ruleTitle(rules, name) }));
    fill(
      rule,
      h('option', { value: '' }, 'All rules'),
      names.map(({ name, text }) => h('option', { value: name }, text)),
    );
    rule.value = filter.rule;
    more.hidden = flags.length <= MANY_FLAGS && filter.rule === '' && filter.variable === '';
    if (document.activeElement !== variable) variable.value = filter.variable;
    variable.setAttribute('aria-invalid', String(!isPattern(filter.variable)));
  });

  return {
    element: h('div', { class: 'flag-filter' }, severities, more),
    update: draw,
  };
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

/** Redrawing must not throw the keyboard back to the start of the page. */
function focusKey(body: HTMLElement): string | null {
  const active = document.activeElement;
  if (!(active instanceof HTMLElement) || !body.contains(active)) return null;
  return active.dataset.focus === undefined ? null : CSS.escape(active.dataset.focus);
}

function flagCard(flag: Flag, context: Context): HTMLElement {
  const { run, others, selected, variable, rules, allEnded, actions } = context;
  const open = flag.id === selected;
  const details = `flag-${flag.id}`;
  return h(
    'article',
    {
      class: 'flag',
      'data-severity': flag.severity,
      'data-ended': !flag.open,
      'data-full': flag.open || allEnded,
      'data-open': open,
      'data-flag': flag.id,
    },
    h(
      'button',
      {
        class: 'flag-head',
        type: 'button',
        'aria-expanded': String(open),
        'aria-controls': open ? details : null,
        'data-focus': `flag ${flag.id}`,
        onclick: () => {
          actions.toggleFlag(flag.id);
        },
      },
      icon(flag.severity),
      h(
        'span',
        { class: 'flag-title' },
        h('span', { class: 'flag-severity' }, flag.severity),
        h('span', { class: 'flag-rule' }, ruleTitle(rules, flag.rule)),
        h(
          'span',
          { class: 'flag-since' },
          formatInterval(flag.firstStep, flag.lastStep, flag.open),
        ),
      ),
      !open && variableLine(flag),
      !open && (flag.open || allEnded) && outlook(flag, rules),
      h('span', { class: 'flag-summary' }, flag.summary),
      others.length > 0 &&
        h(
          'span',
          { class: 'flag-elsewhere' },
          others.map((other) => h('span', {}, elsewhere(flag, other))),
        ),
    ),
    open &&
      h(
        'div',
        { class: 'flag-details', id: details },
        causeList(flag.causes, rules),
        fixList(flag.fixes),
        evidenceTable(flag.evidence, run, actions),
        followUpList(flag.followUps, rules),
        variableList(flag, variable, actions),
        h(
          'button',
          {
            class: 'link',
            type: 'button',
            'data-focus': `rule ${flag.id}`,
            onclick: () => {
              actions.openRule(flag.rule);
            },
          },
          'About this rule',
        ),
      ),
  );
}

/** Why, and what to change, in a line each: the details are one click away. */
function outlook(flag: Flag, rules: RuleBook | null): Child {
  const [cause] = flag.causes;
  const fix = firstLine(flag.fixes[0] ?? '');
  return [
    cause &&
      h(
        'span',
        { class: 'flag-outlook' },
        h('b', {}, 'Why: '),
        `${rules?.causes.get(cause.id)?.title ?? title(cause.id)} (${formatShare(cause.confidence)})`,
      ),
    fix !== '' && h('span', { class: 'flag-outlook flag-try' }, h('b', {}, 'Try: '), prose(fix)),
  ];
}

/** Up to the first line break outside of code; a block of code is for the details. */
const firstLine = (fix: string): string => (fix.split(/\n|```/)[0] ?? '').trim();

function elsewhere(flag: Flag, other: Run): string {
  const same = other.flags.find((candidate) => isSameTrouble(flag, candidate));
  return same
    ? `Also in ${runName(other.run)}, ${formatInterval(same.firstStep, same.lastStep, same.open)}`
    : `Not in ${runName(other.run)}`;
}

function variableLine(flag: Flag): Child {
  const [first, ...others] = flag.variables;
  if (first === undefined) return null;
  return h(
    'span',
    { class: 'flag-where' },
    h('code', {}, breakable(first)),
    others.length > 0 && ` and ${formatCount(others.length)} more`,
  );
}

function variableList(flag: Flag, selected: string | null, actions: Actions): Child {
  if (flag.variables.length === 0) return null;
  const item = (path: string): HTMLElement =>
    h(
      'li',
      {},
      h(
        'button',
        {
          class: 'variable-link',
          type: 'button',
          'aria-current': path === selected,
          'data-focus': `variable ${flag.id} ${path}`,
          onclick: () => {
            actions.selectVariable(path);
          },
        },
        breakable(path),
      ),
    );
  const rest = flag.variables.slice(NAMED_VARIABLES);
  return section(
    plural(flag.variables.length, 'variable'),
    h('ul', { class: 'variable-list' }, flag.variables.slice(0, NAMED_VARIABLES).map(item)),
    rest.length > 0 &&
      h(
        'details',
        {},
        h('summary', {}, `${formatCount(rest.length)} more`),
        h('ul', { class: 'variable-list' }, rest.map(item)),
      ),
  );
}

function evidenceTable(evidence: readonly Evidence[], run: Run, actions: Actions): Child {
  const label = (name: string): Child => {
    const statistic = statisticNamed(name, run);
    if (statistic === null) return title(name);
    return h(
      'button',
      {
        class: 'variable-link evidence-link',
        type: 'button',
        title: `Show ${title(statistic).toLowerCase()} in the heat-map`,
        'data-focus': `evidence ${name}`,
        onclick: () => {
          actions.selectStatistic(statistic);
        },
      },
      title(name),
    );
  };
  if (evidence.length === 0) return null;
  return section(
    'Evidence',
    h(
      'table',
      { class: 'evidence' },
      h(
        'thead',
        {},
        h(
          'tr',
          {},
          h('th', { scope: 'col' }, 'Number'),
          h('th', { scope: 'col' }, 'Value'),
          h('th', { scope: 'col' }, 'Limit'),
        ),
      ),
      h(
        'tbody',
        {},
        evidence.map(({ name, value, threshold }) =>
          h(
            'tr',
            {},
            h('th', { scope: 'row' }, label(name)),
            h('td', {}, formatEvidence(name, value)),
            h('td', {}, threshold === null ? '–' : formatEvidence(name, threshold)),
          ),
        ),
      ),
    ),
  );
}

function causeList(causes: readonly Cause[], rules: RuleBook | null): Child {
  if (causes.length === 0) return null;
  return section(
    'Likely causes',
    h(
      'ol',
      { class: 'causes' },
      causes.map(({ id, confidence, summary }) =>
        h(
          'li',
          {},
          h(
            'span',
            { class: 'cause-head' },
            h('span', { class: 'cause-title' }, rules?.causes.get(id)?.title ?? title(id)),
            h('span', { class: 'cause-confidence' }, formatShare(confidence)),
          ),
          h('meter', { min: 0, max: 1, value: confidence, 'aria-hidden': 'true' }),
          h('span', { class: 'cause-summary' }, prose(summary)),
        ),
      ),
    ),
  );
}

function fixList(fixes: readonly string[]): Child {
  if (fixes.length === 0) return null;
  return section('What to change', h('ol', { class: 'fixes' }, fixes.map(advice)));
}

/** Written `rule: sentence`; here the rule has its title. */
function symptomOf(text: string, rules: RuleBook | null): Child {
  const [, rule, sentence] = /^(\w+): ([\s\S]*)$/.exec(text) ?? [];
  if (rule === undefined || sentence === undefined) return prose(text);
  return [h('strong', {}, ruleTitle(rules, rule)), ': ', prose(sentence)];
}

function followUpList(followUps: readonly string[], rules: RuleBook | null): Child {
  if (followUps.length === 0) return null;
  return section(
    'Follows from it',
    h(
      'ul',
      { class: 'follow-ups' },
      followUps.map((symptom) => h('li', {}, symptomOf(symptom, rules))),
    ),
  );
}

function section(heading: string, ...children: readonly Child[]): HTMLElement {
  return h('section', {}, h('h3', {}, heading), ...children);
}

/** Silence, and why to believe it: how much was looked at, and for what. */
function healthyNote(
  run: Run,
  signs: readonly string[],
  rules: RuleBook | null,
  actions: Actions,
): HTMLElement {
  const failed = new Set(run.errors.map(({ rule }) => rule));
  const asked = [...(rules?.rules.values() ?? [])].filter(({ id }) => !failed.has(id));
  return h(
    'div',
    { class: 'healthy-note' },
    h(
      'p',
      {},
      icon('healthy'),
      h('strong', {}, 'Nothing found. '),
      `${failed.size > 0 ? 'The rules that could be run' : 'All rules'} looked at ${run.glance ? 'all frames' : plural(run.steps.length, 'frame')} of ${plural(run.variables.length, 'variable')} and stayed silent.`,
    ),
    signs.map((sign) => sign !== '' && h('p', { class: 'sign' }, sign)),
    asked.length > 0 && h('h3', {}, 'What they looked for'),
    h(
      'ul',
      { class: 'asked' },
      asked.map((card) =>
        h(
          'li',
          {},
          icon('check'),
          h(
            'button',
            {
              class: 'variable-link',
              type: 'button',
              'data-focus': `asked ${card.id}`,
              onclick: () => {
                actions.openRule(card.id);
              },
            },
            card.title,
          ),
        ),
      ),
    ),
  );
}

function judgingNote(): HTMLElement {
  return h(
    'p',
    { class: 'judging', role: 'status' },
    h('span', { class: 'pulse', 'aria-hidden': 'true' }),
    'The writer stored no verdict for the whole run: the rules are looking at its frames now.',
  );
}

function errorList(errors: readonly RuleError[]): HTMLElement {
  return h(
    'section',
    { class: 'errors' },
    h('h3', {}, 'Not judged'),
    h(
      'ul',
      {},
      errors.map(({ rule, step, message }) =>
        h(
          'li',
          {},
          rule !== '' && h('strong', {}, title(rule)),
          rule !== '' &&
            ` failed${step === null ? '' : ` at step ${formatCount(step)}`} and was switched off: `,
          message,
        ),
      ),
    ),
  );
}

function aboutRun(run: Run): Child {
  const facts = Object.entries(run.context).filter(([, value]) => value !== '' && value !== 'None');
  if (facts.length === 0) return null;
  return h(
    'details',
    { class: 'about-run' },
    h('summary', {}, 'About this run'),
    h(
      'dl',
      { class: 'facts' },
      facts.map(([name, value]) => [h('dt', {}, title(name)), h('dd', {}, formatFact(value))]),
      h('dt', {}, 'Judged'),
      h('dd', {}, run.judged === 'live' ? 'while training' : 'from the recorded frames'),
    ),
  );
}
