import { expect, test } from "vitest";
import type { Message } from "../../engine/api";
import { buildRows, lineFor, type Row } from "./rows";

const noon = new Date(2026, 10, 22, 12).getTime();

function message(id: number, values: Partial<Message> = {}): Message {
  const base: Message = {
    key: `k${id}`,
    id,
    order: id,
    from: 2,
    mine: false,
    time: noon + id * 1000,
    parts: [{ kind: "text", text: "x" }],
    plain: "x",
    state: "live",
  };
  return { ...base, ...values };
}

function shape(rows: Row[]): string {
  const of = (r: Row) =>
    r.kind === "message"
      ? `${r.first ? "(" : ""}${r.message.id}${r.last ? ")" : ""}`
      : { head: "^", day: "day", new: "new" }[r.kind];
  return rows.map(of).join(" ");
}

const build = (messages: Message[], readUpTo?: number) => buildRows({ messages, readUpTo, perLine: 60 });

test("runs of one author end with another one, a pause, a day, and a message without content", () => {
  expect(shape(build([message(1), message(2), message(3, { from: 3 }), message(4)]))).toBe("^ day (1 2) (3) (4)");
  expect(shape(build([message(1), message(2, { time: noon + 400_000 })]))).toBe("^ day (1) (2)");
  expect(shape(build([message(1), message(2, { time: noon + 86_400_000 })]))).toBe("^ day (1) day (2)");
  expect(shape(build([message(1), message(2, { state: "recalled" }), message(3)]))).toBe("^ day (1) (2) (3)");
});

test("the line before the new ones is where they begin, also within a run", () => {
  const four = [1, 2, 3, 4].map((id) => message(id));
  expect(shape(build(four, 2))).toBe("^ day (1 2) new (3 4)");
  expect(shape(build(four, 4))).toBe("^ day (1 2 3 4)");
  expect(shape(build(four, 0))).toBe("^ day new (1 2 3 4)");
  expect(shape(build(four))).toBe("^ day (1 2 3 4)");
});

test("own messages and such that are being sent are not new", () => {
  const mine = { mine: true, from: 1 };
  expect(shape(build([message(1), message(2, mine), message(0, mine)], 1))).toBe("^ day (1) (2 0)");
  expect(shape(build([message(1), message(2, mine), message(3)], 1))).toBe("^ day (1) (2) new (3)");
});

test("keys differ, and those of messages stay when older ones come", () => {
  const rows = build(Array.from({ length: 200 }, (_, i) => message(i + 1, { time: noon + i * 3_600_000 })));
  expect(new Set(rows.map((r) => r.key)).size).toBe(rows.length);
  expect(rows.filter((r) => r.kind === "message").map((r) => r.key)[150]).toBe("k151");
});

test("the line's place is counted from the end, over messages of others only", () => {
  const mine = { mine: true, from: 1 };
  const six = [message(1), message(2), message(3, mine), message(4), message(5), message(0, mine)];
  expect(lineFor(six, 0, true)).toBeUndefined();
  expect(lineFor(six, 2, false)).toBe(3);
  expect(lineFor(six, 3, false)).toBe(1);
  expect(lineFor(six, 9, false)).toBeUndefined();
  expect(lineFor(six, 9, true)).toBe(0);
  expect(lineFor([], 3, true)).toBeUndefined();
});
