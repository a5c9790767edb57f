import { afterEach, expect, test } from "vitest";
import { bytes, dayLabel, dayOf, listTime, minutes, span } from "./format";
import { language } from "./i18n";

afterEach(() => {
  language.value = "en";
});

const now = new Date(2026, 10, 22, 9, 30).getTime();
const at = (...d: [number, number, number, number?]) => new Date(d[0], d[1] - 1, d[2], d[3] ?? 12).getTime();

test("days", () => {
  language.value = "en";
  expect(dayLabel(at(2026, 11, 22, 0), now)).toBe("Today");
  expect(dayLabel(at(2026, 11, 21, 23), now)).toBe("Yesterday");
  expect(dayLabel(at(2026, 11, 17), now)).toBe("Tuesday");
  expect(dayLabel(at(2025, 11, 17), now)).toBe("17 November 2025");
  language.value = "zh";
  expect(dayLabel(at(2026, 11, 21), now)).toBe("昨天");
  expect(dayOf(at(2026, 1, 2, 0))).toBe(20260102);
});

test("times in a list", () => {
  language.value = "en";
  expect(listTime(at(2026, 11, 22, 8), now)).toBe("08:00");
  expect(listTime(at(2026, 11, 18), now)).toBe("Wed");
  expect(listTime(at(2026, 3, 8), now)).toBe("8 Mar");
  expect(listTime(at(2024, 3, 8), now)).toBe("08/03/2024");
  expect(listTime(0, now)).toBe("");
});

test("durations and sizes", () => {
  language.value = "en";
  expect([0, 7, 61, 754].map(minutes)).toEqual(["0:00", "0:07", "1:01", "12:34"]);
  expect([0.2, 30, 300, 7200, 604_800].map(span)).toEqual(["1 s", "30 s", "5 min", "2 h", "7 d"]);
  expect([0, 999, 1000, 1_250_000, 4 * 2 ** 30].map(bytes)).toEqual(["0 B", "999 B", "1.0 KB", "1.2 MB", "4.0 GB"]);
});
