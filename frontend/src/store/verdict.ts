/** From the findings of a run to its verdict. Pure. */

import type { Severity, Verdict } from '../api/types';

/** `worst`: of its findings, null where there is none; `undecided`: too little was seen. */
export function worstVerdict(worst: Severity | null, undecided: boolean): Verdict {
  if (worst === 'critical' || worst === 'warning') return worst;
  return undecided ? 'undecided' : (worst ?? 'healthy');
}
