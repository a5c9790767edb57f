import { beforeEach, describe, expect, test } from "vitest";
import { DemoEngine } from "../../demo/engine";
import type { Group, Message, Status } from "../../engine/api";
import { actionsFor, recallFor } from "../chat/actions";
import { deliveryText } from "../chat/delivery";
import { boxOf, extension } from "../chat/parts";
import { language } from "../i18n";
import { initials } from "../kit/avatar";
import { placed } from "../kit/menu";
import { discreet, preview } from "../names";
import { conversationOf, neighbour } from "./open";
import { sayStatus } from "./status";

beforeEach(() => {
  language.value = "en";
});

const now = 1_800_000_000_000;
const message = (values: Partial<Message>): Message => ({
  key: "k",
  id: 7,
  order: 7,
  from: 2,
  mine: false,
  time: now,
  parts: [{ kind: "text", text: "[哈哈] hi" }],
  plain: "[哈哈] hi",
  state: "live",
  ...values,
});
const group = (values: Partial<Group>): Group => ({
  id: 1,
  name: "g",
  creator: 9,
  members: [1, 2],
  muted: false,
  fixed: false,
  remote: false,
  gone: false,
  ...values,
});

describe("what can be done with a message", () => {
  const actions = (m: Partial<Message>, g?: Group, at = now) => actionsFor(message(m), g, 1, at);
  test("recall: own ones for two minutes, all of them by whoever made the group [TT-DEL-1]", () => {
    expect(actions({ mine: true, delivery: "sent" })).toContain("recall");
    expect(actions({ mine: true, delivery: "sent" }, undefined, now + recallFor)).not.toContain("recall");
    expect(actions({}, group({}))).not.toContain("recall");
    expect(actions({}, group({ creator: 1 }), now + 1e9)).toContain("recall");
  });
  test("what burns can be burned, and is not to be copied [TT-DEL-2]", () => {
    expect(actions({ burnSeconds: 30 })).toEqual(["reply", "burn"]);
    expect(actions({})).toEqual(["reply", "copy"]);
  });
  test("what failed can be tried again or thrown away; it has no id to reply to", () => {
    expect(actions({ mine: true, id: 0, delivery: "failed" })).toEqual(["retry", "copy", "discard"]);
    expect(actions({ mine: true, id: 0, delivery: "failed", lost: true })).toEqual(["copy", "discard"]);
    // For good: the same again would come to the same.
    expect(actions({ mine: true, delivery: "undeliverable" }, undefined, now + 1e9)).toEqual(["reply", "copy"]);
  });
  test("nothing with what is gone, and nothing new in a group one has left", () => {
    expect(actions({ state: "recalled" })).toEqual([]);
    expect(actions({}, group({ gone: true, creator: 1 }))).toEqual(["copy"]);
  });
});

describe("words", () => {
  test("of the connection: none when all is well", () => {
    const say = (s: Partial<Status>) => sayStatus({ phase: "online", ...s }, now)?.text;
    expect(say({})).toBeUndefined();
    expect(say({ stale: true })).toBe("Read only for the moment");
    expect(say({ phase: "offline", retryAt: now + 2100 })).toBe("Offline – next try in 3 s");
    expect(say({ phase: "offline" })).toBe("Offline");
    expect(say({ phase: "offline", reason: "problem.replaced" })).toBe("TeamTalk is in use in another window.");
    expect(say({ phase: "queued", queue: { position: 12, etaSeconds: 3 } })).toBe("Waiting in line: 12");
  });
  test("of a delivery: a reason is a key or the server's own text", () => {
    const say = (m: Partial<Message>) => deliveryText(message({ mine: true, ...m }));
    expect(say({ delivery: "failed", reason: "problem.timeout" })).toBe("Not sent: The server did not answer in time.");
    expect(say({ delivery: "undeliverable", reason: "no such user" })).toBe("Could not be delivered: no such user");
    expect(say({ delivery: "delivered", readBy: 3 })).toBe("Read by 3");
  });
  test("of a message in one line; what is to be burned is not shown where others look on", () => {
    expect(preview(message({}))).toBe("😄 hi");
    expect(discreet(message({ burnSeconds: 5 }))).toBe("Burns after reading");
    expect(preview(message({ state: "recalled", parts: [] }))).toBe("Message recalled");
    expect(preview(message({ parts: [{ kind: "file", name: "a.pdf", sizeText: "1 B", path: "p" }] }))).toBe(
      "[File] a.pdf",
    );
  });
  test("of an avatar", () => {
    const names = ["林晓雨", "Maria Huber", "wang.wei", "Release 2.0", "x", " "];
    expect(names.map(initials)).toEqual(["晓雨", "MH", "WW", "R2", "X", ""]);
  });
});

test("pictures keep their shape in a box, whatever their size", () => {
  expect(boxOf(1600, 1000)).toEqual({ width: 320, height: 200 });
  expect(boxOf(100, 50)).toEqual({ width: 100, height: 50 });
  expect(boxOf(10_000, 1)).toEqual({ width: 320, height: 40 });
  expect(boxOf(undefined, undefined)).toEqual({ width: 240, height: 180 });
});

test("endings of file names", () => {
  expect(["a.pdf", "a.tar.gz", ".profile", "README", "x.verylong"].map(extension)).toEqual(["PDF", "GZ", "", "", ""]);
});

test("a menu stays on the screen", () => {
  const screen = { width: 360, height: 640 };
  expect(placed({ x: 350, y: 630 }, { width: 168, height: 120 }, screen)).toEqual({ left: 184, top: 510 });
  expect(placed({ x: 20, y: 20 }, { width: 168, height: 120 }, screen)).toEqual({ left: 20, top: 20 });
});

describe("conversations", () => {
  test("one that there is not yet can be opened, one of nobody can't", () => {
    const engine = new DemoEngine({ empty: true });
    expect(conversationOf(engine, "u3")).toMatchObject({ kind: "person", title: "Maria Huber", unread: 0 });
    expect(conversationOf(engine, "g2")?.title).toBe("Release 2.0");
    expect(conversationOf(engine, "u999")).toBeUndefined();
  });
  test("the next one and the one before, not beyond the ends", () => {
    const all = new DemoEngine().conversations.value;
    const [first, second] = all;
    expect(neighbour(all, first?.key, 1)).toBe(second?.key);
    expect(neighbour(all, first?.key, -1)).toBe(first?.key);
    expect(neighbour(all, undefined, 1)).toBe(first?.key);
    expect(neighbour([], undefined, 1)).toBeUndefined();
  });
});
