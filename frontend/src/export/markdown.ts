/** A finding as Markdown, for an issue or a chat. Pure. */

import type { Flag, RuleBook, Run } from '../api/types';
import { formatEvidence, formatInterval, formatShare, title } from '../scale/format';
import { ruleTitle } from '../store/selectors';

/** A finding of more variables names the first ones and counts the rest. */
const NAMED_VARIABLES = 8;

/** `address`: where the finding can be seen; empty: nowhere but here. */
export function findingMarkdown(
  flag: Flag,
  run: Run,
  rules: RuleBook | null,
  address: string,
): string {
  const { variables, causes, fixes, evidence, origin } = flag;
  const rest = variables.length - NAMED_VARIABLES;
  const interval = formatInterval(flag.firstStep, flag.lastStep, flag.open);
  const parts = [
    `### ${ruleTitle(rules, flag.rule)}`,
    `**${flag.severity}**, ${interval}, run \`${run.run}\` (rule \`${flag.rule}\`)`,
    plain(flag.summary),
    variables.length > 0 &&
      `**Variables:** ${variables
        .slice(0, NAMED_VARIABLES)
        .map((path) => `\`${path}\``)
        .join(', ')}${rest > 0 ? ` and ${rest} more` : ''}`,
    origin !== null &&
      origin.file !== '' &&
      `**Where:** \`${origin.file}:${origin.line}\`${origin.code === '' ? '' : `\n\n\`\`\`python\n${origin.code}\n\`\`\``}`,
    causes.length > 0 &&
      `**Likely causes:**\n${causes
        .map(({ id, confidence, summary }) => {
          const name = rules?.causes.get(id)?.title ?? title(id);
          return `- ${name} (${formatShare(confidence)}): ${summary}`;
        })
        .join('\n')}`,
    fixes.length > 0 &&
      `**What to change:**\n${fixes.map(({ text }) => `- ${indented(text)}`).join('\n')}`,
    evidence.length > 0 &&
      [
        '| number | value | limit |',
        '|---|---|---|',
        ...evidence.map(
          ({ name, value, threshold }) =>
            `| ${title(name)} | ${formatEvidence(name, value)} | ${threshold === null ? '–' : formatEvidence(name, threshold)} |`,
        ),
      ].join('\n'),
    address !== '' && `[Show it in TensorBoard](${address})`,
  ];
  return `${parts.filter((part) => part !== false).join('\n\n')}\n`;
}

/** A line of a summary must not become a heading or a list. */
const plain = (text: string): string => text.replace(/^([#>*+-])/gm, '\\$1');
/** A block of code stays within its item. */
const indented = (text: string): string => text.replace(/\n/g, '\n  ');
