import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { language } from "../i18n";
import { enterDoes, type Stroke } from "./keys";
import { filesOf, isPicture, refusal } from "./staged";
import { TypingNotice } from "./typing";

const enter: Stroke = {
  key: "Enter",
  shiftKey: false,
  ctrlKey: false,
  metaKey: false,
  altKey: false,
  isComposing: false,
};

describe("Enter", () => {
  test("sends, and begins a line with a modifier", () => {
    expect(enterDoes(enter, false, "enter")).toBe("send");
    expect(enterDoes({ ...enter, shiftKey: true }, false, "enter")).toBe("default");
    expect(enterDoes({ ...enter, ctrlKey: true }, false, "enter")).toBe("line");
    expect(enterDoes({ ...enter, key: "a" }, false, "enter")).toBe("default");
  });
  test("the other way round if so chosen", () => {
    expect(enterDoes(enter, false, "ctrlEnter")).toBe("default");
    expect(enterDoes({ ...enter, ctrlKey: true }, false, "ctrlEnter")).toBe("send");
    expect(enterDoes({ ...enter, metaKey: true }, false, "ctrlEnter")).toBe("send");
  });
  test("never sends while an input method composes", () => {
    for (const mode of ["enter", "ctrlEnter"] as const) {
      const e = { ...enter, ctrlKey: mode === "ctrlEnter" };
      expect(enterDoes(e, true, mode)).toBe("default");
      expect(enterDoes({ ...e, isComposing: true }, false, mode)).toBe("default");
      expect(enterDoes({ ...e, keyCode: 229 }, false, mode)).toBe("default");
    }
  });
});

describe("typing", () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });
  test("is told once in a while, not with every letter, and its end once", () => {
    const told: boolean[] = [];
    const notice = new TypingNotice((w) => told.push(w));
    for (let i = 0; i < 50; i++) {
      notice.changed("x".repeat(i + 1));
      vi.advanceTimersByTime(100);
    }
    expect(told).toEqual([true, true]);
    vi.advanceTimersByTime(10_000);
    notice.stop();
    expect(told).toEqual([true, true, false]);
  });
  test("an empty box is no writing", () => {
    const told: boolean[] = [];
    const notice = new TypingNotice((w) => told.push(w));
    notice.changed("  ");
    notice.changed("x");
    notice.changed("");
    expect(told).toEqual([true, false]);
  });
});

describe("files", () => {
  test("too large and empty ones are refused with the reason", () => {
    language.value = "en";
    expect(refusal({ name: "a", size: 5 }, 10)).toBeUndefined();
    expect(refusal({ name: "a", size: 0 }, 10)).toBe("a is empty.");
    expect(refusal({ name: "a", size: 2_097_152 }, 1_048_576)).toBe("a is too large: at most 1.0 MB.");
    expect(refusal({ name: "a", size: 1e12 }, 0)).toBeUndefined();
  });
  test("pictures are what browsers show without running anything", () => {
    expect(["image/png", "image/webp"].every(isPicture)).toBe(true);
    expect(["image/svg+xml", "image/tiff", "text/html", ""].some(isPicture)).toBe(false);
  });
  test("a paste of text with its picture is a text", () => {
    const data = (types: string[], type: string) =>
      ({ types, files: [new File(["x"], "x", { type })] }) as unknown as DataTransfer;
    expect(filesOf(data(["Files"], "image/png"))).toHaveLength(1);
    expect(filesOf(data(["text/plain", "Files"], "image/png"))).toHaveLength(0);
    expect(filesOf(data(["text/plain", "Files"], "application/pdf"))).toHaveLength(1);
    expect(filesOf(null)).toEqual([]);
  });
});
