import { describe, expect, it } from "vitest";
import { offsets, rowAt, scrollFor, visible } from "./window";

const starts = offsets([10, 20, 10, 20, 10]); // 0 10 30 40 60 70

describe("a long list", () => {
  it("draws what is on screen and a little more", () => {
    expect(visible(starts, 0, 10, 0)).toEqual({ first: 0, last: 2 });
    expect(visible(starts, 31, 5, 0)).toEqual({ first: 2, last: 3 });
    expect(visible(starts, 31, 5, 10)).toEqual({ first: 1, last: 4 });
    expect(visible(starts, 500, 50, 0)).toEqual({ first: 4, last: 5 });
    expect(visible(offsets([]), 0, 100, 10)).toEqual({ first: 0, last: 0 });
  });

  it("finds rows by height", () => {
    expect([0, 9, 10, 29, 30, 59, 60, 69, 70, 1000].map((y) => rowAt(starts, y))).toEqual([
      0, 0, 1, 1, 2, 3, 4, 4, 4, 4,
    ]);
  });

  it("scrolls no more than is needed", () => {
    expect(scrollFor(starts, 1, 0, 40)).toBeUndefined();
    expect(scrollFor(starts, 3, 0, 40)).toBe(20);
    expect(scrollFor(starts, 0, 15, 40)).toBe(0);
  });
});
