/**
 * What the tab works with: the typed form of the server's answers.
 *
 * The wire shapes are described once, in `docs/http_api.md`; `decode.ts` turns
 * them into these. Nothing here knows about fetch, the DOM or drawing.
 */

export const SEVERITIES = ['critical', 'warning', 'info'] as const;
export type Severity = (typeof SEVERITIES)[number];
export type Verdict = Severity | 'healthy' | 'undecided';

export const RUN_STATES = ['judged', 'judging', 'empty', 'unreadable'] as const;
export type RunState = (typeof RUN_STATES)[number];

export interface RunSummary {
  readonly run: string;
  readonly firstStep: number;
  readonly lastStep: number;
  readonly frames: number;
  readonly variables: number;
  /** Why there is a verdict, or why there is none; `judging`: ask again. */
  readonly state: RunState;
  /** Why an unreadable run cannot be read, a sentence; empty for all others. */
  readonly error: string;
  readonly verdict: Verdict | null;
  readonly counts: Readonly<Record<Severity, number>>;
  /** Changes when the run does. */
  readonly mark: string;
  /** Wall time of the newest frame, in seconds since the epoch; NaN: there is none. */
  readonly newest: number;
  /** The last loss; NaN: none was measured. */
  readonly loss: number;
  /** What the program set, as texts, the most telling first. */
  readonly settings: Readonly<Record<string, string>>;
  /** The worst finding; null: there is none. */
  readonly leading: LeadingFinding | null;
  /** All findings. */
  readonly findings: readonly SummaryFinding[];
  /** Too little was seen to call the run healthy, whatever was found. */
  readonly undecided: boolean;
  /** How many more were put away by a person: see `muted.ts`. */
  readonly muted: number;
  /** The worst severity of each rule that found something. */
  readonly flagged: Readonly<Record<string, Severity>>;
}

export interface LeadingFinding {
  readonly rule: string;
  readonly severity: Severity;
  readonly firstStep: number;
  readonly open: boolean;
}

export interface SummaryFinding extends LeadingFinding {
  /** The first one; empty: it is about the run. */
  readonly variable: string;
}

/** One column of numbers: a statistic per variable, or a value per step. */
export interface Column {
  readonly name: string;
  readonly unit: string;
  readonly scope: 'step' | 'window';
  readonly scale: 'log' | 'linear' | 'count';
  readonly meaning: string;
  /** The magnitudes that the colours have for every run; null: those of the run itself. */
  readonly span: readonly [number, number] | null;
}

export interface Variable {
  readonly path: string;
  readonly shape: readonly number[];
  readonly dtype: string;
  readonly elements: number;
  readonly module: string;
  readonly layerClass: string;
  readonly role: string;
  readonly activation: string;
  readonly initializer: string;
  readonly regularizer: string;
  readonly constraint: string;
  readonly trainable: boolean;
  readonly units: number;
  readonly optimizer: string;
  readonly facts: Readonly<Record<string, string>>;
}

export interface Evidence {
  readonly name: string;
  readonly value: number;
  /** Null: the value speaks for itself. */
  readonly threshold: number | null;
}

export interface Cause {
  readonly id: string;
  readonly confidence: number;
  readonly summary: string;
}

export interface Advice {
  readonly text: string;
  /** Those of its code spans that can be pasted as they are. */
  readonly snippets: readonly string[];
}

/** The operation that a finding comes from, and the line of the program that made it. */
export interface Origin {
  readonly operation: string;
  readonly layer: string;
  readonly phase: string;
  /** Empty where no line of the program stands for the operation alone; the line is 0 then. */
  readonly file: string;
  readonly line: number;
  readonly code: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly exact: boolean;
  readonly onlyXla: boolean;
  readonly summary: string;
  /** From the loss on; empty where sizes were not measured. */
  readonly path: readonly PathRow[];
}

/** One place on the way of a gradient from the loss to a variable. */
export interface PathRow {
  readonly layer: string;
  readonly operation: string;
  readonly file: string;
  readonly line: number;
  /** Decimal logarithm of the gradient's root mean square behind it; -Infinity: exactly zero. */
  readonly logSize: number;
}

export interface Flag {
  readonly id: string;
  readonly rule: string;
  readonly severity: Severity;
  readonly variables: readonly string[];
  readonly firstStep: number;
  readonly lastStep: number;
  readonly open: boolean;
  readonly summary: string;
  readonly evidence: readonly Evidence[];
  readonly causes: readonly Cause[];
  readonly fixes: readonly Advice[];
  /** What other rules found that this finding explains, a sentence each. */
  readonly followUps: readonly string[];
  /** Null: not found. */
  readonly origin: Origin | null;
  /** So at every step so far, which are too few for the rule to be sure. */
  readonly provisional: boolean;
}

export const RULE_STATES = ['failed', 'flagged', 'not_yet', 'not_seen', 'passed'] as const;

/** How far a rule has judged a run. */
export interface RuleState {
  readonly rule: string;
  readonly state: (typeof RULE_STATES)[number];
  /** What was judged, what is missing and how to give it; may be empty. */
  readonly reason: string;
}

/** A rule that raised, or a sentence about data that could not be read. */
export interface RuleError {
  readonly rule: string;
  readonly step: number | null;
  readonly message: string;
}

/** Fixed log2 bins; see `histogram` in the design picture for their order. */
export interface HistogramBins {
  readonly lowestExponent: number;
  readonly octaves: number;
}

export interface Run {
  readonly run: string;
  /** Names this state of the run; numbers asked for with it fit its steps and variables. */
  readonly revision: string;
  readonly steps: readonly number[];
  /** Of each step, in seconds since the epoch. */
  readonly wallTimes: readonly number[];
  readonly variables: readonly Variable[];
  readonly statistics: readonly Column[];
  readonly contextColumns: readonly Column[];
  readonly context: Readonly<Record<string, string>>;
  readonly flags: readonly Flag[];
  /** Findings that a person has put away, and that are not among `flags`: see `muted.ts`. */
  readonly muted: readonly Flag[];
  /** Why too little was seen to call the run healthy, a sentence; empty: enough was. */
  readonly undecided: string;
  /** Of every rule; empty where the verdict was stored by an older version. */
  readonly rules: readonly RuleState[];
  /** The pages of rules that the training added; the rule book may not have them. */
  readonly ownRules: readonly RuleCard[];
  readonly errors: readonly RuleError[];
  readonly sampled: boolean;
  /** A first look at a large run: only some of its frames, the rest is being read. */
  readonly glance: boolean;
  /** Null: not yet; the flags come later. */
  readonly judged: 'live' | 'offline' | null;
  readonly histogramSteps: readonly number[];
  readonly histogram: HistogramBins;
}

/** What a run that is still being judged lacks. */
export type RunVerdict = Pick<
  Run,
  'flags' | 'undecided' | 'rules' | 'ownRules' | 'errors' | 'judged'
>;

/** What shows a finding of a rule best, as the rule itself names it. */
export interface RulePicture {
  readonly view: 'over_steps' | 'by_depth';
  /** Empty: what the evidence is named after. */
  readonly statistic: string;
  /** Columns of the variable or of the run; null: those that the evidence names. */
  readonly chart: readonly string[] | null;
  /** Number of the evidence whose threshold is drawn; empty: the one named like the first column. */
  readonly limit: string;
}

/** The manual page of a rule, written in the rule's own source. */
export interface RuleCard {
  readonly id: string;
  readonly title: string;
  readonly severity: string;
  readonly summary: string;
  readonly why: string;
  readonly definition: string;
  readonly fixes: readonly Advice[];
  readonly silentWhen: string;
  readonly picture: RulePicture;
}

export interface CauseCard {
  readonly id: string;
  readonly title: string;
  readonly summary: string;
}

/** Which values of a statistic the rules call healthy. */
export interface HealthyRange {
  readonly statistic: string;
  /** The value itself, or its ratio to that at the start, or in the last layers. */
  readonly against: '' | 'start' | 'last_layers';
  /** A rule reports what is not above, or not below; null: there is no such limit. */
  readonly above: number | null;
  readonly below: number | null;
  /** Within the limits, what most trainings have; null: not known. */
  readonly usual: readonly [number, number] | null;
  readonly kernelsOnly: boolean;
}

export interface RuleBook {
  readonly rules: ReadonlyMap<string, RuleCard>;
  readonly causes: ReadonlyMap<string, CauseCard>;
  readonly ranges: readonly HealthyRange[];
}
