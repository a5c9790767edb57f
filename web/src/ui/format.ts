import { locale, t } from "./i18n";

const formats = new Map<string, Intl.DateTimeFormat>();

function format(name: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = `${locale()} ${name}`;
  const known = formats.get(key) ?? new Intl.DateTimeFormat(locale(), options);
  formats.set(key, known);
  return known;
}

/** "14:05" */
export function clock(ms: number): string {
  return format("clock", { hour: "2-digit", minute: "2-digit", hour12: false }).format(ms);
}

/** The day by its number, in local time; two messages are of one day if these are equal. */
export function dayOf(ms: number): number {
  const d = new Date(ms);
  return d.getFullYear() * 10000 + (d.getMonth() + 1) * 100 + d.getDate();
}

function daysAgo(ms: number, now: number): number {
  return Math.round((new Date(now).setHours(12, 0, 0, 0) - new Date(ms).setHours(12, 0, 0, 0)) / 86_400_000);
}

/** The separator of a day: "Today", "Yesterday", "Monday", "3 March", "3 March 2024". */
export function dayLabel(ms: number, now = Date.now()): string {
  const ago = daysAgo(ms, now);
  if (ago === 0) {
    return t("chat.today");
  }
  if (ago === 1) {
    return t("chat.yesterday");
  }
  if (ago > 1 && ago < 7) {
    return format("weekday", { weekday: "long" }).format(ms);
  }
  return new Date(ms).getFullYear() === new Date(now).getFullYear()
    ? format("day", { day: "numeric", month: "long", weekday: "short" }).format(ms)
    : format("date", { day: "numeric", month: "long", year: "numeric" }).format(ms);
}

/** The time in a list: the clock today, then the day, as short as possible. */
export function listTime(ms: number, now = Date.now()): string {
  const ago = daysAgo(ms, now);
  if (ms <= 0) {
    return "";
  }
  if (ago <= 0) {
    return clock(ms);
  }
  if (ago === 1) {
    return t("chat.yesterday");
  }
  if (ago < 7) {
    return format("wd", { weekday: "short" }).format(ms);
  }
  return new Date(ms).getFullYear() === new Date(now).getFullYear()
    ? format("md", { day: "numeric", month: "short" }).format(ms)
    : format("ymd", { day: "numeric", month: "numeric", year: "numeric" }).format(ms);
}

/** Day and time in full, for hints and screen readers. */
export function fullTime(ms: number): string {
  return format("full", { dateStyle: "full", timeStyle: "medium", hour12: false }).format(ms);
}

/** "0:07", "12:30": of voice messages. */
export function minutes(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/** "30 s", "5 min", "1 h": of the time until something burns. Rounded up, so that it says 0 only when it is over. */
export function span(seconds: number): string {
  const s = Math.max(0, Math.ceil(seconds));
  if (s < 120) {
    return t("time.seconds", { n: s });
  }
  if (s < 7200) {
    return t("time.minutes", { n: Math.ceil(s / 60) });
  }
  return s < 172_800 ? t("time.hours", { n: Math.ceil(s / 3600) }) : t("time.days", { n: Math.ceil(s / 86_400) });
}

/** "1.2 MB" */
export function bytes(n: number): string {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let value = n;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit > 0 && value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}
