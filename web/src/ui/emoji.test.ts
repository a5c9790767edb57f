import { describe, expect, test } from "vitest";
import { classic, drawn, onlyEmoji, written } from "./emoji";

describe("old names", () => {
  test("are drawn, wherever they stand", () => {
    expect(drawn("早[呵呵]好[ok]")).toBe("早🙂好👌");
    expect(drawn("[牙牙牙买碟]")).toBe("💿");
    expect(drawn("[[呵呵]]")).toBe("[🙂]");
  });
  test("unknown ones and things in brackets stay as they are", () => {
    for (const text of ["[图片]", "[文件] a.txt", "[]", "[ ok ]", "[constructor]", "[", "]["]) {
      expect(drawn(text)).toBe(text);
    }
  });
  test("digits are drawn, indices of code are not", () => {
    expect(drawn("[1][2]")).toBe("1️⃣[2]");
    expect(drawn("房间 [3]")).toBe("房间 3️⃣");
    expect(drawn("a[0] = f()[1]")).toBe("a[0] = f()[1]");
  });
  test("every classic one is written under its name and drawn again", () => {
    expect(classic).toHaveLength(45);
    for (const [name, emoji] of classic) {
      expect(written(`x ${emoji} y`)).toBe(`x [${name}] y`);
      expect(drawn(`x [${name}] y`)).toBe(`x ${emoji} y`);
    }
  });
  test("other emoji, and parts of larger ones, are written as they are", () => {
    for (const text of ["🚀", "👨‍👩‍👧", "👍🏽", "plain", "中文"]) {
      expect(written(text)).toBe(text);
    }
  });
});

test("only emoji", () => {
  expect(onlyEmoji("🙂")).toBe(1);
  expect(onlyEmoji("👨‍👩‍👧 👍🏽 1️⃣")).toBe(3);
  expect(onlyEmoji("🙂🙂🙂🙂🙂🙂🙂")).toBe(0);
  expect(onlyEmoji("1 2 3")).toBe(0);
  expect(onlyEmoji("ok 🙂")).toBe(0);
  expect(onlyEmoji("  ")).toBe(0);
});
