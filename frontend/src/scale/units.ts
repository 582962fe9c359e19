/** Units in words: `loss/weight` is read by nobody who sees it for the first time. Pure. */

const WORDS: Readonly<Record<string, string>> = {
  'loss/weight': 'loss per unit of weight',
  '1/step': 'per step',
  weight: 'in units of the weights',
  activation: 'in units of the activations',
  input: 'in units of the inputs',
  target: 'in units of the targets',
};

/** Empty for what needs none: shares, ratios, names. */
export const unitWords = (unit: string): string =>
  /^(|share|ratio|id)$/.test(unit) ? '' : (WORDS[unit] ?? unit);
