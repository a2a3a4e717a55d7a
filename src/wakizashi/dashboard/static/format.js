// Numbers and times as people read them. Pure: values in, text out; nothing is summed or ranked here.
// Sizes and rates in SI units (1 kB = 1000 B), as the project's other outputs; three significant
// digits, so that a column can be compared at a glance. Times are in the reader's own time zone.

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
const NARROW = "\u202f"; // a narrow space that does not break, between number and unit
const grouped = new Intl.NumberFormat("en-GB");
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** [text, unit] of a size; three significant digits from 1 kB on. */
export function scaled(value) {
  let at = 0;
  let number = value;
  // 999.5 would be printed as 1000: the next unit takes over where rounding would.
  while (Math.abs(number) >= 999.5 && at < UNITS.length - 1) {
    number /= 1000;
    at += 1;
  }
  const digits = at === 0 || number >= 99.95 ? 0 : number >= 9.995 ? 1 : 2;
  return [number.toFixed(digits), UNITS[at]];
}

export function bytes(value) {
  const [number, unit] = scaled(value);
  return number + NARROW + unit;
}

/** [text, unit] of a rate, which is seldom whole: what is not quite nothing is never printed as 0. */
export function scaledRate(bytesPerSecond) {
  const [number, unit] = scaled(bytesPerSecond);
  if (bytesPerSecond <= 0 || bytesPerSecond >= 1) return [number, `${unit}/s`];
  return [bytesPerSecond < 0.01 ? `<${NARROW}0.01` : String(Number(bytesPerSecond.toPrecision(1))), `${unit}/s`];
}

export function rate(bytesPerSecond) {
  return scaledRate(bytesPerSecond).join(NARROW);
}

export function count(value) {
  return grouped.format(value);
}

/** A count of things: 1 probe, 2 probes. */
export function many(value, thing) {
  return `${count(value)} ${thing}${value === 1 ? "" : "s"}`;
}

/** A short count: 1.2 k, 34 M. */
export function countShort(value) {
  if (value < 10_000) return grouped.format(value);
  const [number, unit] = scaled(value);
  return number + NARROW + unit.replace("B", "");
}

/** A share in 0..1 as per cent. What is not quite all is never printed as 100 %, nor some as 0 %. */
export function percent(share, digits = 1) {
  if (share === null || share === undefined || !Number.isFinite(share)) return "–";
  const least = 10 ** -digits;
  const value = share * 100;
  if (value > 0 && value < least) return `<${NARROW}${least}${NARROW}%`;
  if (value < 100 && value > 100 - least) return `>${NARROW}${(100 - least).toFixed(digits)}${NARROW}%`;
  return `${value.toFixed(value === 100 || value === 0 ? 0 : digits)}${NARROW}%`;
}

/** A length of time in at most two units: 45 s, 3 min, 1 h 20 min, 2 d 3 h. */
export function length(ms) {
  const value = Math.max(0, ms);
  const two = (big, bigUnit, small, smallUnit) =>
    `${big}${NARROW}${bigUnit}${small ? ` ${small}${NARROW}${smallUnit}` : ""}`;
  if (value < 10_000 && value % 1000) return `${(value / 1000).toFixed(1)}${NARROW}s`;
  if (value < MINUTE) return `${Math.round(value / 1000)}${NARROW}s`;
  if (value < 10 * MINUTE) return two(Math.floor(value / MINUTE), "min", Math.floor((value % MINUTE) / 1000), "s");
  if (value < HOUR) return `${Math.round(value / MINUTE)}${NARROW}min`;
  if (value < DAY) return two(Math.floor(value / HOUR), "h", Math.floor((value % HOUR) / MINUTE), "min");
  return two(Math.floor(value / DAY), "d", Math.floor((value % DAY) / HOUR), "h");
}

/** How long ago, in one unit and whole numbers: it changes each second beside living charts. */
export function ago(ms) {
  const value = Math.max(0, ms);
  if (value < 90_000) return `${Math.floor(value / 1000)}${NARROW}s ago`;
  if (value < 90 * MINUTE) return `${Math.floor(value / MINUTE)}${NARROW}min ago`;
  if (value < 2 * DAY) return `${Math.floor(value / HOUR)}${NARROW}h ago`;
  return `${Math.floor(value / DAY)}${NARROW}d ago`;
}

const two = (value) => String(value).padStart(2, "0");
const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");

function clockOf(date, seconds) {
  return `${two(date.getHours())}:${two(date.getMinutes())}${seconds ? `:${two(date.getSeconds())}` : ""}`;
}

function dayOf(date) {
  return `${date.getDate()} ${MONTHS[date.getMonth()]}`;
}

/** A moment; with the day unless it is today's (`now`), with seconds if they say something. */
export function moment(ms, now = Date.now()) {
  const date = new Date(ms);
  const today = new Date(now);
  const clock = clockOf(date, ms % MINUTE !== 0);
  if (date.toDateString() === today.toDateString()) return clock;
  const year = date.getFullYear() === today.getFullYear() ? "" : ` ${date.getFullYear()}`;
  return `${dayOf(date)}${year} ${clock}`;
}

/** The label of an axis: a day at midnight, else the time of day. */
export function tick(ms, spanMs) {
  const date = new Date(ms);
  if (date.getHours() === 0 && date.getMinutes() === 0 && date.getSeconds() === 0) return dayOf(date);
  return clockOf(date, spanMs < 10 * MINUTE);
}

export function between(since, until, now = Date.now()) {
  const from = new Date(since);
  const to = new Date(until);
  const sameDay = from.toDateString() === to.toDateString();
  return `${moment(since, now)} – ${sameDay ? clockOf(to, until % MINUTE !== 0) : moment(until, now)}`;
}

/** The value of <input type=datetime-local>. */
export function forInput(ms) {
  const date = new Date(ms);
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}T${clockOf(date, true)}`;
}

export function zone(ms = Date.now()) {
  const minutes = -new Date(ms).getTimezoneOffset();
  if (minutes === 0) return "UTC";
  const hours = Math.floor(Math.abs(minutes) / 60);
  const rest = Math.abs(minutes) % 60;
  return `UTC${minutes < 0 ? "−" : "+"}${hours}${rest ? `:${two(rest)}` : ""}`;
}
