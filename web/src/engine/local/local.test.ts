import { create, toBinary } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { MarkSchema } from "../../pb/chatpb/chat_pb";
import { Code, ErrorSchema } from "../../pb/sessionpb/session_pb";
import type { ChatEngine } from "../engine";
import { myId } from "../testing/fakeserver";
import { loggedIn, pass, type World } from "../testing/world";
import { Cmd } from "../wire/commands";
import { decryptText } from "../wire/crypt";

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

const day = 24 * 3_600_000;

/** What somebody wrote while nothing got through; then the page went, without a word. */
async function writtenAndGone(world: World, ...texts: string[]): Promise<void> {
  world.server.intercept = () => true;
  world.server.current.cut();
  world.server.down = true;
  for (const text of texts) {
    await world.engine.send("u2", { text });
  }
  await pass();
  world.crash();
}

/** The page after that, with a network. */
async function reloaded(world: World): Promise<ChatEngine> {
  world.server.down = false;
  world.server.intercept = () => false;
  const engine = world.open();
  await engine.restore();
  await pass();
  return engine;
}

function sent(world: World): (string | undefined)[] {
  return world.server.messages.filter((m) => m.fromUserId === myId).map((m) => decryptText(m.msgData));
}

function states(engine: ChatEngine): unknown[] {
  return engine.timeline("u2").messages.value.map((m) => [m.plain, m.delivery, m.reason]);
}

test("what was not sent outlives the page, and goes once and in order [TT-WEB-3]", async () => {
  const world = await loggedIn();
  await writtenAndGone(world, "one", "two", "three");
  const engine = await reloaded(world);
  await engine.send("u2", { text: "four" });
  await pass();
  expect(sent(world)).toEqual(["one", "two", "three", "four"]);
  engine.timeline("u2");
  await pass();
  expect(states(engine)).toEqual(["one", "two", "three", "four"].map((text) => [text, "sent", undefined]));
  expect(world.browser.unsent.size).toBe(0);
});

test("what was stored, but its ack was lost with the page, is not sent twice", async () => {
  const world = await loggedIn();
  world.server.losesAcks = true;
  world.server.current.isLive = false; // nor does its event come
  await world.engine.send("u2", { text: "once" });
  await pass();
  expect(world.browser.unsent.size).toBe(1);
  world.crash();
  world.server.losesAcks = false;
  const engine = await reloaded(world);
  engine.timeline("u2");
  await pass();
  expect(sent(world)).toEqual(["once"]);
  expect(states(engine)).toEqual([["once", "sent", undefined]]);
  expect(world.browser.unsent.size).toBe(0);
});

test("what was written before goes before what is written now, however slow the browser is", async () => {
  const world = await loggedIn();
  await writtenAndGone(world, "before");
  let go: () => void = () => undefined;
  const slow = new Promise<void>((resolve) => {
    go = resolve;
  });
  const open = world.browser.open.bind(world.browser);
  world.browser.open = () => Object.assign(open(), { wait: slow });
  const engine = await reloaded(world);
  await engine.send("u2", { text: "now" });
  await pass(1_000);
  expect(sent(world)).toEqual([]);
  go();
  await pass();
  expect(sent(world)).toEqual(["before", "now"]);
});

test("a browser that never says what it keeps does not stop anybody from writing, or from logging out", async () => {
  const world = await loggedIn();
  const open = world.browser.open.bind(world.browser);
  world.browser.open = () =>
    Object.assign(open(), {
      wait: new Promise<void>(() => undefined),
      forget: () => new Promise<void>(() => undefined),
    });
  const engine = await reloaded(world);
  await engine.send("u2", { text: "now" });
  await pass(10_000);
  expect(sent(world)).toEqual(["now"]);
  const done = engine.logout();
  await pass(10_000);
  await done;
});

test("a page leaves another one that lives what that one has written", async () => {
  const world = await loggedIn();
  await writtenAndGone(world, "mine");
  world.browser.living.add(1); // it is still there
  const other = await reloaded(world);
  await pass(60_000);
  expect(sent(world)).toEqual([]);
  world.browser.living.delete(1);
  other.check();
  await pass();
  expect(sent(world)).toEqual(["mine"]);
});

test("reply, burn and what failed are as they were; discarding and sending again work", async () => {
  const world = await loggedIn();
  const { server } = world;
  server.intercept = (c, pdu) => {
    if (pdu.command === Cmd.message) {
      c.push(Cmd.error, 0, ErrorSchema, { command: Cmd.message, seq: pdu.seq, code: Code.FORBIDDEN });
    }
    return pdu.command === Cmd.message;
  };
  await world.engine.send("u2", { text: "refused" });
  await world.engine.send("u2", { text: "refused too" });
  await pass();
  server.intercept = () => true;
  await world.engine.send("u2", { text: "secret", replyTo: 7, burnSeconds: 30 });
  world.crash();
  const engine = await reloaded(world);
  expect(server.messages).toMatchObject([{ replyToMsgId: 7, burnAfterReadS: 30 }]);
  const failed = engine.timeline("u2").messages.value.filter((m) => m.delivery === "failed");
  expect(failed.map((m) => [m.plain, m.reason])).toEqual([
    ["refused", "problem.forbidden"],
    ["refused too", "problem.forbidden"],
  ]);
  engine.discard("u2", failed[0]?.key ?? "");
  await engine.retry("u2", failed[1]?.key ?? "");
  await pass();
  expect(sent(world)).toEqual(["secret", "refused too"]);
  expect(world.browser.unsent.size).toBe(0);
});

test("a picture that was not uploaded is to be chosen again; its text is there", async () => {
  const world = await loggedIn();
  world.server.intercept = () => true;
  await world.engine.send("u2", { text: "the view", pictures: [new Blob(["x"], { type: "image/png" })] });
  world.crash();
  const engine = await reloaded(world);
  const [row] = engine.timeline("u2").messages.value;
  expect(row).toMatchObject({ delivery: "failed", reason: "problem.chooseAgain", lost: true });
  expect(row?.parts).toEqual([
    { kind: "text", text: "the view" },
    { kind: "file", name: "picture1.png", sizeText: "1 B", path: "" },
  ]);
  await engine.retry("u2", row?.key ?? "");
  await pass(1_000);
  expect(sent(world)).toEqual([]);
  engine.discard("u2", row?.key ?? "");
  expect(world.browser.unsent.size).toBe(0);
});

test("what waited for longer than the cluster knows its id asks first; a history that has it settles it", async () => {
  const world = await loggedIn();
  await writtenAndGone(world, "long ago");
  vi.setSystemTime(Date.now() + 7 * day);
  const engine = await reloaded(world);
  expect(states(engine)).toEqual([["long ago", "failed", "problem.waited"]]);
  expect(sent(world)).toEqual([]);
  const [item] = world.browser.unsent.values();
  const clientMsgId = Uint8Array.from(item?.id.match(/../g) ?? [], (b) => Number.parseInt(b, 16));
  world.server.messages.length = 0;
  world.server.happen({ fromUserId: myId, toSessionId: 2, text: "long ago", clientMsgId });
  world.crash();
  const next = await reloaded(world);
  next.timeline("u2");
  await pass();
  expect(states(next)).toEqual([["long ago", "sent", undefined]]);
  expect(world.browser.unsent.size).toBe(0);
});

test("logging out removes what was not sent, and what is known of who has read; an end by the server does not [TT-WEB-3]", async () => {
  const world = await loggedIn();
  const { server, engine, browser } = world;
  server.intercept = (_, pdu) => pdu.command === Cmd.message;
  await engine.send("u2", { text: "left behind" });
  mark(world, 2, 1, 1);
  await pass(1_000);
  server.current.bye(Code.KICKED);
  await pass();
  expect(engine.status.value.phase).toBe("out");
  expect([browser.unsent.size, browser.marks.size]).toEqual([1, 1]);
  const done = engine.login("me", "secret");
  await pass();
  await done;
  expect(states(engine)).toEqual([["left behind", "sending", undefined]]);
  await engine.logout();
  expect([browser.unsent.size, browser.marks.size]).toEqual([0, 0]);
});

test("what was not sent is removed at a logout that no server hears of, too [TT-WEB-3]", async () => {
  const world = await loggedIn();
  world.keep.drop = () => new Promise(() => undefined);
  world.server.intercept = () => true;
  await world.engine.send("u2", { text: "left behind" });
  void world.engine.logout();
  await pass(4_000);
  expect(world.browser.unsent.size).toBe(0);
});

function mark(world: World, userId: number, deliveredMsgId: number, readMsgId: number): void {
  const m = create(MarkSchema, { sessionType: 1, sessionId: userId, userId, deliveredMsgId, readMsgId });
  world.server.current.pushRaw(Cmd.mark, 0, toBinary(MarkSchema, m));
}

test("who has read what was written before a reload is known after it [TT-SESS-17]", async () => {
  const world = await loggedIn();
  for (const text of ["a", "b", "c"]) {
    await world.engine.send("u2", { text });
  }
  await pass();
  mark(world, 2, 2, 1);
  await pass(1_000);
  const engine = await reloaded(world);
  engine.timeline("u2");
  await pass();
  expect(engine.timeline("u2").messages.value.map((m) => m.delivery)).toEqual(["read", "delivered", "sent"]);
});

test("marks of before a backup was restored are of messages that are no more", async () => {
  const world = await loggedIn();
  await world.engine.send("u2", { text: "a" });
  await pass();
  mark(world, 2, 1, 1);
  await pass(1_000);
  const [kept] = world.browser.marks.values();
  world.browser.marks.set("1 u2", { ...(kept as NonNullable<typeof kept>), head: 10_000n });
  const engine = await reloaded(world);
  engine.timeline("u2");
  await pass();
  expect(engine.timeline("u2").messages.value.map((m) => m.delivery)).toEqual(["sent"]);
});
