import { describe, expect, test } from "vitest";
import { anchorAt, Offsets, positionOf, type Slot } from "./virtual";

const rows = (from: number, to: number, estimate = 50): Slot[] =>
  Array.from({ length: to - from }, (_, i) => ({ key: `m${from + i}`, estimate }));

function filled(slots: Slot[]): Offsets {
  const o = new Offsets();
  o.set(slots);
  return o;
}

describe("offsets", () => {
  test("tops are sums of measured heights and estimates", () => {
    const o = filled(rows(0, 5));
    expect(o.total).toBe(250);
    expect(o.measure("m1", 80)).toBe(true);
    expect(o.measure("m1", 80.2)).toBe(false);
    expect(o.measure("nobody", 10)).toBe(false);
    expect([0, 1, 2, 5].map((i) => o.top(i))).toEqual([0, 50, 130, 280]);
  });
  test("a measurement far down does not touch what is above, one far up moves all below", () => {
    const o = filled(rows(0, 1000));
    expect(o.top(900)).toBe(45_000);
    o.measure("m950", 1);
    expect(o.top(900)).toBe(45_000);
    o.measure("m3", 60);
    expect(o.top(900)).toBe(45_010);
    expect(o.total).toBe(50_000 + 10 - 49);
  });
  test("the row at a height, checked against a search one by one", () => {
    const o = filled(rows(0, 300));
    for (let i = 0; i < 300; i += 3) {
      o.measure(`m${i}`, 1 + ((i * 37) % 190));
    }
    for (let y = -10; y < o.total + 100; y += 17) {
      let slow = 0;
      while (slow + 1 < o.length && o.top(slow + 1) <= y) {
        slow++;
      }
      expect(o.at(y)).toBe(slow);
    }
  });
  test("the window covers the screen and its margins, and no more than it has to", () => {
    const o = filled(rows(0, 10_000));
    const { first, last } = o.window(250_000, 800, 400);
    expect(o.top(first)).toBeLessThanOrEqual(249_600);
    expect(o.top(last)).toBeGreaterThanOrEqual(251_200);
    expect(last - first).toBeLessThan(40);
    expect(o.window(0, 800, 400).first).toBe(0);
    expect(o.window(1e9, 800, 400).last).toBe(10_000);
    expect(new Offsets().window(0, 800, 400)).toEqual({ first: 0, last: 0 });
  });
  test("measured heights stay with their keys when rows are put before", () => {
    const o = filled(rows(100, 200));
    o.measure("m150", 333);
    o.set(rows(0, 200));
    expect(o.height(150)).toBe(333);
    expect(o.top(151) - o.top(150)).toBe(333);
  });
});

describe("anchors", () => {
  const keyAt = (slots: Slot[]) => (i: number) => slots[i]?.key;
  test("what is on screen stays there when history is put before it", () => {
    const slots = rows(100, 200);
    const o = filled(slots);
    const anchor = anchorAt(o, 1010, 600, keyAt(slots));
    expect(anchor).toEqual({ end: false, key: "m120", delta: 10 });
    o.set(rows(0, 200));
    expect(positionOf(o, anchor, 600)).toBe(100 * 50 + 1010);
  });
  test("and when estimates above it turn out wrong", () => {
    const slots = rows(0, 200);
    const o = filled(slots);
    const anchor = anchorAt(o, 5020, 600, keyAt(slots));
    o.measure("m7", 250);
    expect(positionOf(o, anchor, 600)).toBe(5220);
  });
  test("at the end it follows what is appended; above the end it does not", () => {
    const slots = rows(0, 100);
    const o = filled(slots);
    const end = anchorAt(o, 4390, 600, keyAt(slots));
    const above = anchorAt(o, 4300, 600, keyAt(slots));
    o.set(rows(0, 110));
    expect(end).toEqual({ end: true });
    expect(positionOf(o, end, 600)).toBe(4900);
    expect(positionOf(o, above, 600)).toBe(4300);
  });
  test("rows that move, such as the day's, are no anchors; a row that is gone is none any more", () => {
    const slots = rows(0, 100);
    const o = filled(slots);
    const anchor = anchorAt(o, 510, 600, (i) => (i % 10 === 3 ? slots[i]?.key : undefined));
    expect(anchor).toEqual({ end: false, key: "m13", delta: -140 });
    o.set(rows(50, 100));
    expect(positionOf(o, anchor, 600)).toBeUndefined();
  });
  test("less than a screen is never scrolled", () => {
    const o = filled(rows(0, 3));
    expect(positionOf(o, { end: true }, 600)).toBe(0);
    expect(positionOf(o, { end: false, key: "m2", delta: 0 }, 600)).toBe(0);
  });
});
