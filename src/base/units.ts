/**
 * Sizes, durations and rates as people write and read them. Sizes are binary: `64MiB`, `64M` and `64m` are the same
 * 67108864 bytes. Readers return null for anything else than one whole, non-negative amount; the caller knows the
 * place to blame and words the error.
 */

const sizeUnits = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;

/** `1GiB`, `10G`, `1.5 TiB`, `4096`: whole bytes, at most 2^53 - 1. */
export function parseSize(text: string): number | null {
  const match = /^\s*(\d+(?:\.\d+)?)\s*(?:([kmgtp])(?:i?b)?|b)?\s*$/i.exec(text);
  if (match === null) return null;
  const exponent = match[2] === undefined ? 0 : 'kmgtp'.indexOf(match[2].toLowerCase()) + 1;
  const bytes = Number(match[1]) * 1024 ** exponent;
  return Number.isSafeInteger(bytes) ? bytes : null;
}

/** Exact where a unit divides the size (`64 MiB`), else with up to two decimals (`1.46 GiB`). */
export function formatSize(bytes: number): string {
  let exponent = 0;
  let amount = bytes;
  // What would be rounded to 1024 of a unit is 1 of the next.
  while (Math.abs(amount) >= 1023.995 && exponent < sizeUnits.length - 1) {
    amount /= 1024;
    exponent++;
  }
  return `${trimmed(amount)} ${sizeUnits[exponent] ?? 'B'}`;
}

/** `12.5 MiB/s` */
export function formatRate(bytesPerSecond: number): string {
  return `${formatSize(Math.round(bytesPerSecond))}/s`;
}

const durationUnits: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  min: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** `200ms`, `5s`, `1.5 min`, `2h`, `1d`: whole milliseconds. A unit is needed, except for 0. */
export function parseDurationMs(text: string): number | null {
  const match = /^\s*(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|d)?\s*$/i.exec(text);
  if (match === null) return null;
  const amount = Number(match[1]);
  if (match[2] === undefined) return amount === 0 ? 0 : null;
  const durationMs = Math.round(amount * (durationUnits[match[2].toLowerCase()] ?? 0) * 1e6) / 1e6;
  return Number.isSafeInteger(durationMs) ? durationMs : null;
}

/** The two largest units that matter: `200 ms`, `4.5 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`. */
export function formatDuration(durationMs: number): string {
  if (durationMs < 999.5) return `${Math.round(durationMs)} ms`;
  if (durationMs < 9950) return `${trimmed(Math.round(durationMs / 100) / 10)} s`;
  const seconds = Math.round(durationMs / 1000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return pair(Math.floor(seconds / 60), 'min', seconds % 60, 's');
  const minutes = Math.round(durationMs / 60_000);
  if (minutes < 1440) return pair(Math.floor(minutes / 60), 'h', minutes % 60, 'min');
  const hours = Math.round(durationMs / 3_600_000);
  return pair(Math.floor(hours / 24), 'd', hours % 24, 'h');
}

/** `2026-11-20 12:31 UTC` */
export function formatTime(wallMs: number): string {
  return `${new Date(wallMs).toISOString().slice(0, 16).replace('T', ' ')} UTC`;
}

function pair(large: number, largeUnit: string, small: number, smallUnit: string): string {
  return small === 0 ? `${large} ${largeUnit}` : `${large} ${largeUnit} ${small} ${smallUnit}`;
}

function trimmed(amount: number): string {
  return String(Math.round(amount * 100) / 100);
}
