/**
 * The ranked list of findings: what is wrong, since when, on what evidence, what to try.
 *
 * One flag is open at a time and is the one outlined in the heat-map.
 */

import type { Cause, Evidence, Flag, RuleBook, RuleError, Run } from '../api/types';
import { fill, h, onChange, type Child } from '../dom';
import {
  formatCount,
  formatEvidence,
  formatFact,
  formatInterval,
  formatShare,
  plural,
  title,
} from '../scale/format';
import type { Actions } from '../store/actions';
import { ruleTitle, splitFlags } from '../store/selectors';
import type { View } from './view';
import { copyable, copyButton, prose } from './code';
import { icon } from './icons';

/** A flag of more variables than this names the first ones and counts the rest. */
const NAMED_VARIABLES = 8;

export function createFlags(parent: HTMLElement, actions: Actions): View {
  const heading = h('h2', { id: 'findings' }, 'Findings');
  const body = h('div', { class: 'flags-body' });
  const element = h('section', { class: 'flags', 'aria-labelledby': 'findings' }, heading, body);
  parent.append(element);

  const draw = onChange(
    (run: Run | null, selected: string | null, variable: string | null, rules: RuleBook | null) => {
      if (!run) {
        fill(body);
        return;
      }
      const focus = focusKey(body);
      const { open, closed } = splitFlags(run.flags);
      const card = (flag: Flag): HTMLElement =>
        flagCard(flag, flag.id === selected, variable, rules, actions);
      fill(
        body,
        run.flags.length === 0 && healthyNote(run),
        open.map(card),
        closed.length > 0 && h('h3', {}, 'Ended'),
        closed.map(card),
        run.errors.length > 0 && errorList(run.errors),
        aboutRun(run),
      );
      if (focus !== null) body.querySelector<HTMLElement>(`[data-focus="${focus}"]`)?.focus();
    },
  );
  let shown: string | null = null;

  return {
    update(state) {
      draw(state.run, state.selectedFlag, state.selectedVariable, state.rules);
      const card = element.querySelector('[data-open]');
      // Bring a flag into view when it gets selected, not at every redraw.
      if (card && shown !== state.selectedFlag) card.scrollIntoView({ block: 'nearest' });
      if (card || state.selectedFlag === null) shown = state.selectedFlag;
    },
    destroy() {
      element.remove();
    },
  };
}

/** Redrawing must not throw the keyboard back to the start of the page. */
function focusKey(body: HTMLElement): string | null {
  const active = document.activeElement;
  if (!(active instanceof HTMLElement) || !body.contains(active)) return null;
  return active.dataset.focus === undefined ? null : CSS.escape(active.dataset.focus);
}

function flagCard(
  flag: Flag,
  open: boolean,
  variable: string | null,
  rules: RuleBook | null,
  actions: Actions,
): HTMLElement {
  const details = `flag-${flag.id}`;
  return h(
    'article',
    {
      class: 'flag',
      'data-severity': flag.severity,
      'data-ended': !flag.open,
      'data-open': open,
      'data-flag': flag.id,
    },
    h(
      'button',
      {
        class: 'flag-head',
        type: 'button',
        'aria-expanded': String(open),
        'aria-controls': details,
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
      h('span', { class: 'flag-summary' }, flag.summary),
      !open && variableLine(flag),
    ),
    open &&
      h(
        'div',
        { class: 'flag-details', id: details },
        variableList(flag, variable, actions),
        evidenceTable(flag.evidence),
        causeList(flag.causes, rules),
        fixList(flag.fixes),
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

function variableLine(flag: Flag): Child {
  const [first, ...others] = flag.variables;
  if (first === undefined) return null;
  return h(
    'span',
    { class: 'flag-where' },
    h('code', {}, first),
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
        path,
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

function evidenceTable(evidence: readonly Evidence[]): Child {
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
            h('th', { scope: 'row' }, title(name)),
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
  return section(
    'What to change',
    h(
      'ol',
      { class: 'fixes' },
      fixes.map((fix) =>
        h('li', {}, h('span', { class: 'fix' }, prose(fix)), copyButton(copyable(fix))),
      ),
    ),
  );
}

function section(heading: string, ...children: readonly Child[]): HTMLElement {
  return h('section', {}, h('h4', {}, heading), ...children);
}

function healthyNote(run: Run): HTMLElement {
  return h(
    'p',
    { class: 'healthy-note' },
    icon('healthy'),
    h(
      'span',
      {},
      h('strong', {}, 'Nothing found. '),
      `${run.errors.length > 0 ? 'The rules that could be run' : 'All rules'} looked at ${plural(run.steps.length, 'frame')} of ${plural(run.variables.length, 'variable')} and stayed silent.`,
    ),
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
