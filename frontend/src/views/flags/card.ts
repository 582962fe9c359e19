/**
 * The card of one finding: closed, what is wrong since when; open, its details too.
 */

import type { Flag, RuleBook, Run } from '../../api/types';
import { breakable, h, type Child } from '../../dom';
import { formatCount, formatInterval, formatShare, title } from '../../scale/format';
import type { Actions } from '../../store/actions';
import { findingMarkdown } from '../../export/markdown';
import type { Link } from '../../host';
import { findingLink } from '../../store/findingpicture';
import { isSameTrouble, ruleTitle } from '../../store/selectors';
import { copyButton, prose } from '../code';
import { icon } from '../icons';
import { runName } from '../runs';
import { causeList, evidenceTable, fixList, followUpList, originOf, variableList } from './details';

export interface Context {
  readonly run: Run;
  /** The runs beside it that are read. */
  readonly others: readonly Run[];
  readonly selected: string | null;
  readonly variable: string | null;
  readonly rules: RuleBook | null;
  /** Nothing goes on any more: what ended is all there is to say. */
  readonly allEnded: boolean;
  readonly actions: Actions;
  /** The address of a view. */
  readonly addressOf: (link: Link) => string;
}

export function flagCard(flag: Flag, context: Context): HTMLElement {
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
          flag.provisional && ', provisional',
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
        originOf(flag.origin),
        causeList(flag.causes, rules),
        fixList(flag.fixes),
        evidenceTable(flag.evidence, run, actions),
        followUpList(flag.followUps, rules),
        variableList(flag, variable, actions),
        tools(flag, context),
      ),
  );
}

/** What can be done with a finding beside reading it. */
function tools(flag: Flag, { run, rules, actions, addressOf }: Context): HTMLElement {
  const address = addressOf(findingLink(flag, run, rules));
  const quiet = run.muted.includes(flag);
  return h(
    'div',
    { class: 'flag-tools' },
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
    copyButton(address, 'Link'),
    copyButton(findingMarkdown(flag, run, rules, address), 'Markdown'),
    h(
      'button',
      {
        class: 'copy',
        type: 'button',
        'data-focus': `mute ${flag.id}`,
        title: quiet
          ? 'Show it among the findings again'
          : 'Put it away for this run, in this browser',
        onclick: () => {
          actions.muteFlag(flag, !quiet);
        },
      },
      quiet ? 'Unmute' : 'Mute',
    ),
  );
}

/** Why, and what to change, in a line each: the details are one click away. */
function outlook(flag: Flag, rules: RuleBook | null): Child {
  const [cause] = flag.causes;
  const fix = firstLine(flag.fixes[0]?.text ?? '');
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
