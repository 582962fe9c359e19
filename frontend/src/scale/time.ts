/** Round places on an axis of time, with their names. Pure. */

const [MINUTE, HOUR, DAY] = [60, 3600, 86_400];

/** Distances between labels, in seconds; longer ones are whole days. */
const STRIDES = [
  ...[1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5],
  ...[1, 2, 5, 10, 15, 30].flatMap((count) => [count, MINUTE * count]),
  ...[1, 2, 3, 6, 12].map((count) => HOUR * count),
  ...[1, 2, 5, 10, 20, 50, 100].map((count) => DAY * count),
].sort((a, b) => a - b);

export interface TimeTick {
  readonly time: number;
  readonly label: string;
}

/**
 * At most about `most` labels from `low` to `high`, in seconds: since a start, or, with `clock`, since
 * the epoch, as the clock and the calendar of this browser show them.
 */
export function timeTicks(low: number, high: number, most: number, clock: boolean): TimeTick[] {
  if (!Number.isFinite(low) || !Number.isFinite(high)) return [];
  const wanted = (high - low) / Math.max(1, most - 1);
  const stride = STRIDES.find((one) => one >= wanted) ?? DAY * Math.ceil(wanted / DAY);
  // Whole hours and days are those of the place.
  const shift = clock ? -MINUTE * new Date(1000 * low).getTimezoneOffset() : 0;
  const ticks: TimeTick[] = [];
  let date = '';
  for (let i = Math.ceil((low + shift) / stride - 1e-9); i * stride - shift <= high; i++) {
    const time = i * stride - shift;
    if (!clock) {
      ticks.push({ time, label: durationLabel(time, stride) });
      continue;
    }
    const day = new Date(1000 * time).toLocaleDateString('en', { month: 'short', day: 'numeric' });
    const label = stride >= DAY ? day : clockLabel(time, stride);
    ticks.push({ time, label: stride >= DAY || day === date ? label : `${day}, ${label}` });
    date = day;
  }
  return ticks;
}

/** All labels of an axis have one unit. */
function durationLabel(time: number, stride: number): string {
  const [unit, name] =
    stride >= DAY
      ? [DAY, 'd']
      : stride >= HOUR
        ? [HOUR, 'h']
        : stride >= MINUTE
          ? [MINUTE, 'min']
          : [1, 's'];
  return `${Number((time / unit).toPrecision(6))} ${name}`;
}

function clockLabel(time: number, stride: number): string {
  return new Date(1000 * time).toLocaleTimeString('en-GB', {
    hour: '2-digit',
    minute: '2-digit',
    ...(stride < MINUTE ? { second: '2-digit' } : {}),
    ...(stride < 1 ? { fractionalSecondDigits: 3 } : {}),
  });
}
