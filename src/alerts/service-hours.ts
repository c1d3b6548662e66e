/**
 * The hours in which somebody reads what does not page (HM-16): weekly spans in a time zone, by its wall clocks, daylight
 * saving included. A span that a change of the clocks swallows in part is as long as the clocks on the wall say.
 */

/** Minutes since Monday 00:00, local; `toMinute` is excluded and may be the week's last, 10080. */
export interface HourSpan {
  readonly fromMinute: number;
  readonly toMinute: number;
}

const minuteMs = 60_000;
const dayMinutes = 24 * 60;
const weekMinutes = 7 * dayMinutes;
const days = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'];
/** A span that a change of the clocks swallows whole begins a week later; no zone has moved its clocks by more than a day. */
const triesMax = weekMinutes + 2 * dayMinutes;

const spanPattern = /^\s*([a-z]{3})(?:\s*-\s*([a-z]{3}))?\s+(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})\s*$/i;

/** `mon-fri 08:00-18:00`, `sat 22:00-06:00` (into the next day), `mon-sun 00:00-24:00`; null for anything else. */
export function parseHourSpans(text: string): readonly HourSpan[] | null {
  const match = spanPattern.exec(text);
  if (match === null) return null;
  const [first, last = first] = [match[1], match[2]].map((day) =>
    day === undefined ? undefined : days.indexOf(day.toLowerCase()),
  );
  const from = minuteOf(match[3], match[4]);
  const to = minuteOf(match[5], match[6]);
  if (first === undefined || last === undefined || first < 0 || last < 0) return null;
  if (from === null || to === null || from === to || from === dayMinutes) return null;
  const count = ((last - first + 7) % 7) + 1;
  return Array.from({ length: count }, (_, index) => (first + index) % 7).flatMap((day) => {
    const start = day * dayMinutes + from;
    const end = day * dayMinutes + (to > from ? to : to + dayMinutes);
    if (end <= weekMinutes) return [{ fromMinute: start, toMinute: end }];
    return [
      { fromMinute: start, toMinute: weekMinutes },
      { fromMinute: 0, toMinute: end - weekMinutes },
    ];
  });
}

function minuteOf(hour = '', minute = ''): number | null {
  const result = Number(hour) * 60 + Number(minute);
  return Number(minute) < 60 && result <= dayMinutes ? result : null;
}

/** Whether this machine knows the zone: a name of the IANA time zone database, such as `Europe/Berlin`, or `UTC`. */
export function isTimeZone(zone: string): boolean {
  try {
    new Intl.DateTimeFormat('en-GB', { timeZone: zone });
    return true;
  } catch {
    return false;
  }
}

export class ServiceHours {
  readonly #spans: readonly HourSpan[];
  readonly #format: Intl.DateTimeFormat;

  /** @param spans none: service at any hour. @param zone one that `isTimeZone`. */
  constructor(spans: readonly HourSpan[], zone: string) {
    this.#spans = spans;
    this.#format = new Intl.DateTimeFormat('en-GB', {
      timeZone: zone,
      weekday: 'short',
      hour: '2-digit',
      minute: '2-digit',
      hourCycle: 'h23',
    });
  }

  isOpen(wallMs: number): boolean {
    return this.#spans.length === 0 || this.#covers(this.#minuteOfWeek(wallMs));
  }

  /** The next moment of service, `wallMs` itself where that is one. Exact to the minute. */
  nextOpenMs(wallMs: number): number {
    if (this.isOpen(wallMs)) return wallMs;
    const thisMinuteMs = Math.floor(wallMs / minuteMs) * minuteMs;
    const now = this.#minuteOfWeek(wallMs);
    // By the clock as it goes now; where the clocks change before then, the moment is off by as much.
    const distances = this.#spans.map(({ fromMinute }) => (fromMinute - now + weekMinutes) % weekMinutes);
    const distance = Math.min(...distances);
    const guessMs = thisMinuteMs + distance * minuteMs;
    const off = this.#minuteOfWeek(guessMs) - ((now + distance) % weekMinutes);
    const shift = ((off + weekMinutes * 1.5) % weekMinutes) - weekMinutes / 2;
    // Never into the past; and a beginning that the clocks jumped over is where they landed.
    let momentMs = Math.max(guessMs - Math.abs(shift) * minuteMs, thisMinuteMs);
    for (let tries = 0; tries <= triesMax && !this.isOpen(momentMs); tries++) momentMs += minuteMs;
    return momentMs;
  }

  #covers(minute: number): boolean {
    return this.#spans.some(({ fromMinute, toMinute }) => minute >= fromMinute && minute < toMinute);
  }

  #minuteOfWeek(wallMs: number): number {
    const parts = this.#format.formatToParts(wallMs);
    const part = (type: Intl.DateTimeFormatPartTypes): string => parts.find((one) => one.type === type)?.value ?? '';
    const day = days.indexOf(part('weekday').toLowerCase());
    return day * dayMinutes + Number(part('hour')) * 60 + Number(part('minute'));
  }
}
