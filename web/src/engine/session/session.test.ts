import { fromBinary } from "@bufbuild/protobuf";
import { effect } from "@preact/signals";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { IMLogoutRspSchema } from "../../pb/IM.Login_pb";
import { IMMsgDataSchema } from "../../pb/IM.Message_pb";
import {
  Code,
  CredentialSchema,
  CursorSchema,
  DrainSchema,
  ErrorSchema,
  QueueSchema,
  Verdict,
} from "../../pb/sessionpb/session_pb";
import { myId } from "../testing/fakeserver";
import { loggedIn, makeWorld, pass, type World } from "../testing/world";
import { Cmd } from "../wire/commands";
import { decryptText, passwordSum } from "../wire/crypt";

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

function texts(world: World, engine = world.engine): string[] {
  return engine.timeline("u2").messages.value.map((m) => m.plain);
}

/** Breaks the connection and lets the client come back. */
async function interrupt(world: World): Promise<void> {
  world.server.current.cut();
  await pass(2_000);
}

test("a login is HELLO, password, lists [TT-SESS-2]", async () => {
  const { server, engine, keep } = await loggedIn();
  expect(server.asked.slice(0, 2)).toEqual([Cmd.hello, Cmd.loginReq]);
  expect(server.hellos[0]).toMatchObject({ version: 1, clientType: 3, cursor: 0n });
  expect(engine.status.value).toEqual({ phase: "online", transport: "websocket" });
  expect(engine.me.value?.name).toBe("me");
  expect(engine.people.value.size).toBe(3);
  expect(keep.kept).toMatchObject({ user: myId, token: "Bw==", device: server.hellos[0]?.deviceId });
});

test("a wrong password is told, and not tried again", async () => {
  const { server, engine } = makeWorld();
  server.password = passwordSum("right");
  const failed = expect(engine.login("me", "wrong")).rejects.toMatchObject({ key: "problem.badPassword" });
  await pass(60_000);
  await failed;
  expect(engine.status.value.phase).toBe("out");
  expect(server.opened.length).toBe(1);
});

test("a login that waits says where it stands [TT-QUEUE-2]", async () => {
  const { server, engine } = makeWorld();
  server.intercept = (c, pdu) => {
    if (pdu.command === Cmd.loginReq) {
      c.push(Cmd.queue, 0, QueueSchema, { position: 3, etaS: 9 });
      return true;
    }
    return false;
  };
  void engine.login("me", "secret").catch(() => undefined);
  await pass(120_000); // longer than an answer may take otherwise
  expect(engine.status.value).toEqual({ phase: "queued", queue: { position: 3, etaSeconds: 9 } });
  expect(server.asked.filter((c) => c === Cmd.heartbeat).length).toBeGreaterThan(2);
});

test("after a break the session goes on where it was, without loss or duplicate [TT-SESS-3]", async () => {
  const world = await loggedIn();
  const { server, engine } = world;
  engine.show("u2");
  server.happen({ fromUserId: 2, toSessionId: myId, text: "one" });
  server.cursor();
  await pass();
  server.happen({ fromUserId: 2, toSessionId: myId, text: "two" }); // beyond the cursor: repeated
  await pass();
  server.current.cut();
  server.happen({ fromUserId: 2, toSessionId: myId, text: "three" });
  await pass(2_000);
  expect(server.hellos.at(-1)).toMatchObject({ cursor: 101n });
  expect(texts(world)).toEqual(["one", "two", "three"]);
  expect(engine.conversations.value[0]).toMatchObject({ unread: 0, key: "u2" });
});

test("what was not acked is repeated with its id, in order, before anything new [TT-SESS-11]", async () => {
  const world = await loggedIn();
  const { server, engine } = world;
  server.losesAcks = true;
  server.intercept = (_, pdu) => pdu.command === Cmd.message && server.sent.push(fromMessage(pdu.body)) > 0; // lost on the way
  for (const text of ["a", "b", "c"]) {
    await engine.send("u2", { text });
  }
  await pass();
  const first = server.sent.map((m) => [...m.clientMsgId].join());
  server.intercept = () => false;
  server.sent.length = 0;
  server.current.cut();
  await engine.send("u2", { text: "d" });
  await pass(2_000);
  expect(server.sent.map((m) => decryptText(m.msgData))).toEqual(["a", "b", "c", "d"]);
  expect(server.sent.slice(0, 3).map((m) => [...m.clientMsgId].join())).toEqual(first);
  // Acks are lost all the same: the events serve as such [TT-SESS-13].
  expect(engine.timeline("u2").messages.value.map((m) => [m.plain, m.delivery, m.id])).toEqual([
    ["a", "sent", 1],
    ["b", "sent", 2],
    ["c", "sent", 3],
    ["d", "sent", 4],
  ]);
  await interrupt(world);
  expect(server.messages.length).toBe(4);
});

test("a message keeps its key when it is acked", async () => {
  const world = await loggedIn();
  await world.engine.send("u2", { text: "hi" });
  const sending = world.engine.timeline("u2").messages.value[0];
  expect(sending).toMatchObject({ delivery: "sending", id: 0 });
  await pass();
  expect(world.engine.timeline("u2").messages.value[0]).toMatchObject({
    key: sending?.key,
    delivery: "sent",
    id: 1,
  });
});

test("ERROR{UNAVAILABLE} puts off, ERROR{FORBIDDEN} fails [TT-SESS-14]", async () => {
  const { server, engine } = await loggedIn();
  const refuse = (code: Code) => {
    server.intercept = (c, pdu) => {
      if (pdu.command === Cmd.message) {
        c.push(Cmd.error, 0, ErrorSchema, { command: Cmd.message, seq: pdu.seq, code, retryAfterMs: 3_000 });
        return true;
      }
      return false;
    };
  };
  refuse(Code.UNAVAILABLE);
  await engine.send("u2", { text: "later" });
  await pass(2_000);
  expect(engine.status.value.stale).toBe(true);
  expect(server.asked.filter((c) => c === Cmd.message).length).toBe(1);
  server.intercept = () => false;
  await pass(500);
  expect(server.messages.length).toBe(0); // not before the time the server gave
  await pass(1_000);
  expect(server.messages.length).toBe(1);
  expect(engine.status.value.stale).toBeUndefined();
  refuse(Code.FORBIDDEN);
  await engine.send("u2", { text: "never" });
  await pass(10_000);
  const failed = engine.timeline("u2").messages.value.at(-1);
  expect(failed).toMatchObject({ plain: "never", delivery: "failed", reason: "problem.forbidden" });
  server.intercept = () => false;
  await engine.retry("u2", failed?.key ?? "");
  await pass();
  expect(engine.timeline("u2").messages.value.at(-1)).toMatchObject({ key: failed?.key, delivery: "sent", id: 2 });
});

test("a gap has the lists fetched again, and histories forgotten [TT-SESS-5]", async () => {
  const world = await loggedIn();
  const { server, engine } = world;
  engine.show("u2");
  server.happen({ fromUserId: 2, toSessionId: myId, text: "before" });
  await pass();
  server.verdict = Verdict.GAP;
  server.asked.length = 0;
  server.current.cut();
  server.messages.length = 0; // restored from a backup: another history
  server.happen({ fromUserId: 2, toSessionId: myId, text: "restored" });
  await pass(2_000);
  expect(server.asked.filter((c) => c === Cmd.recentReq).length).toBe(1);
  expect(server.asked).not.toContain(Cmd.loginReq);
  expect(texts(world)).toEqual(["restored"]);
});

test("after a gap what somebody looks at is there again, also in a window behind others", async () => {
  const world = await loggedIn();
  const { server, engine } = world;
  server.happen({ fromUserId: 2, toSessionId: myId, text: "kept" });
  const timeline = engine.timeline("u2");
  const stop = effect(() => void timeline.messages.value);
  await pass();
  server.verdict = Verdict.GAP;
  await interrupt(world);
  expect(timeline.messages.value.map((m) => m.plain)).toEqual(["kept"]);
  stop();
});

test("lists that do not come are asked for again", async () => {
  const { server, engine } = makeWorld();
  server.intercept = (_, pdu) => pdu.command === Cmd.unreadReq;
  await Promise.all([engine.login("me", "secret"), pass()]);
  expect(engine.status.value.phase).toBe("online");
  await pass(31_000);
  server.intercept = () => false;
  await pass(6_000);
  expect(server.asked.filter((c) => c === Cmd.unreadReq).length).toBe(2);
});

test("a replay that stands still is left", async () => {
  const world = await loggedIn();
  const { server } = world;
  server.stalls = true;
  await interrupt(world);
  await pass(50_000);
  expect(server.opened.length).toBe(2);
  await pass(15_000);
  expect(server.opened.length).toBeGreaterThan(2);
});

test("a token that is refused ends the session [TT-SESS-6]", async () => {
  const world = await loggedIn();
  world.server.verdict = Verdict.REFUSED;
  await interrupt(world);
  expect(world.engine.status.value).toEqual({ phase: "out", ended: "expired" });
  expect(world.keep.kept).toBeUndefined();
  expect(world.engine.people.value.size).toBe(0);
});

test("a reload resumes with the token and no cursor [TT-WEB-2] [TT-SESS-5]", async () => {
  const world = await loggedIn();
  const { server } = world;
  server.happen({ fromUserId: 2, toSessionId: myId, text: "old" });
  await pass();
  const page = world.open();
  expect(await page.restore()).toBe(true);
  await pass();
  expect(server.hellos.at(-1)).toMatchObject({ cursor: 2n ** 64n - 1n, deviceId: server.hellos[0]?.deviceId });
  expect(page.status.value.phase).toBe("online");
  expect(page.me.value?.name).toBe("me");
  await interrupt(world);
  expect(server.hellos.at(-1)?.cursor).toBe(server.head); // where the gap had it begin
  await page.logout();
  expect(server.asked).toContain(Cmd.logoutReq);
  expect(await world.open().restore()).toBe(false);
});

test("logging out hides everything soon on a network that swallows everything, and at once without one", async () => {
  const silent = await loggedIn();
  silent.keep.drop = () => new Promise(() => undefined);
  silent.server.intercept = () => true;
  void silent.engine.logout();
  await pass(3_000);
  expect(silent.engine.status.value).toEqual({ phase: "out", ended: "loggedOut" });
  expect(silent.engine.people.value.size).toBe(0);
  expect(silent.server.asked.filter((c) => c === Cmd.logoutReq).length).toBe(1);

  const cut = await loggedIn();
  cut.keep.drop = () => Promise.reject(new Error("no network"));
  cut.server.down = true;
  cut.server.current.cut();
  await cut.engine.logout();
  expect(cut.engine.status.value).toEqual({ phase: "out", ended: "loggedOut" });
  await pass(60_000);
  expect(cut.server.opened.length).toBe(1); // nor does it come back
});

test("a logout that the server can't carry out now is asked for again, for 5 s at most [TT-SESS-7]", async () => {
  const refusing = async (times: number) => {
    const world = await loggedIn();
    world.server.intercept = (c, pdu) => {
      const isRefused = pdu.command === Cmd.logoutReq && times-- > 0;
      if (isRefused) {
        c.push(Cmd.credential, 0, CredentialSchema, { resumeToken: new Uint8Array([8]), expiresS: 600 });
        c.push(Cmd.logoutRes, pdu.seq, IMLogoutRspSchema, { resultCode: 1 });
      }
      return isRefused;
    };
    return world;
  };
  const asks = ({ server }: World) => server.asked.filter((c) => c === Cmd.logoutReq).length;
  const late = await refusing(2);
  const done = late.engine.logout();
  await pass(2_000);
  await done;
  expect(asks(late)).toBe(3);
  expect(late.engine.status.value).toEqual({ phase: "out", ended: "loggedOut" });
  expect(late.keep.kept).toBeUndefined();

  const never = await refusing(Number.POSITIVE_INFINITY);
  const both = Promise.all([never.engine.logout(), never.engine.logout()]);
  await pass(4_000);
  expect(never.engine.status.value.phase).toBe("online");
  await pass(1_000);
  await both;
  expect(never.engine.status.value.phase).toBe("out");
  expect(asks(never)).toBeLessThanOrEqual(10);
  expect(never.server.asked.at(-1)).toBe(Cmd.bye);
});

test("KICKED stops, REPLACED waits to be asked, others come back [TT-SESS-22]", async () => {
  const kicked = await loggedIn();
  kicked.server.current.bye(Code.KICKED);
  await pass(120_000);
  expect(kicked.engine.status.value).toEqual({ phase: "out", ended: "kicked" });
  expect(kicked.server.opened.length).toBe(1);

  const replaced = await loggedIn();
  replaced.server.current.bye(Code.REPLACED);
  await pass(120_000);
  expect(replaced.engine.status.value).toEqual({ phase: "offline", reason: "problem.replaced" });
  expect(replaced.server.opened.length).toBe(1);
  replaced.engine.retryNow();
  await pass();
  expect(replaced.engine.status.value.phase).toBe("online");

  const drained = await loggedIn();
  drained.server.current.bye(Code.OVERLOADED, 7_000);
  await pass(6_900);
  expect(drained.engine.status.value).toMatchObject({ phase: "offline", reason: "problem.full" });
  await pass(1_000);
  expect(drained.engine.status.value.phase).toBe("online");
});

test("attempts are spread and get rarer [TT-SESS-22]", async () => {
  const world = await loggedIn();
  const { server, engine } = world;
  server.down = true;
  server.current.cut();
  const waits = [];
  vi.spyOn(Math, "random").mockReturnValue(0.999);
  for (let i = 0; i < 10; i++) {
    await pass();
    const { retryAt } = engine.status.value;
    waits.push(Math.round(((retryAt ?? 0) - Date.now()) / 100));
    await pass((retryAt ?? 0) - Date.now());
  }
  expect(waits[0]).toBeLessThanOrEqual(4);
  expect(waits.at(-1)).toBeGreaterThanOrEqual(250);
  expect(Math.max(...waits)).toBeLessThanOrEqual(300);
  server.down = false;
  engine.retryNow();
  await pass();
  expect(engine.status.value.phase).toBe("online");
  vi.restoreAllMocks();
});

test("a connection on which nothing comes back is left [TT-HB-1]", async () => {
  const { server } = await loggedIn();
  await pass(100_000);
  expect(server.opened.length).toBe(1); // heartbeats are answered
  const first = server.current;
  server.intercept = (c) => c === first;
  await pass(50_000);
  expect(server.opened.length).toBe(2);
});

test("after sleep the connection has to prove itself", async () => {
  const { server, engine } = await loggedIn();
  const first = server.current;
  server.intercept = (c) => c === first;
  engine.check();
  await pass(6_000);
  expect(server.opened.length).toBe(2);
  expect(engine.status.value.phase).toBe("online");
});

test("without WELCOME in 2 s the next way is tried; never two HELLOs at once [TT-SESS-23]", async () => {
  const world = makeWorld(["websocket", "longpoll"]);
  const { server, engine } = world;
  server.intercept = (c) => c.route.transport === "websocket";
  void engine.login("me", "secret");
  await pass(1_900);
  expect(server.hellos.length).toBe(0);
  expect(server.opened.map((c) => c.route.transport)).toEqual(["websocket"]);
  await pass(200);
  expect(engine.status.value).toEqual({ phase: "online", transport: "longpoll" });
  expect(server.opened[0]?.isClosed).toBe(true);
});

test("an idle session moves to a better transport and loses nothing [TT-SESS-23]", async () => {
  const world = makeWorld(["websocket", "longpoll"]);
  const { server, engine } = world;
  server.intercept = (c) => c.route.transport === "websocket";
  void engine.login("me", "secret");
  await pass(2_500);
  server.intercept = () => false;
  engine.show("u2");
  await pass(3_000);
  server.happen({ fromUserId: 2, toSessionId: myId, text: "while polling" });
  await pass(6_000);
  await pass(5_000);
  expect(engine.status.value).toEqual({ phase: "online", transport: "websocket" });
  server.happen({ fromUserId: 2, toSessionId: myId, text: "on the socket" });
  await pass();
  expect(texts(world)).toEqual(["while polling", "on the socket"]);
  expect(server.asked.filter((c) => c === Cmd.recentReq).length).toBe(1); // resumed: nothing is fetched again
});

test("DRAIN has the session go elsewhere in time [TT-SESS-24]", async () => {
  const { server, engine } = await loggedIn();
  server.current.push(Cmd.drain, 0, DrainSchema, { withinS: 10 });
  await pass(7_000);
  expect(server.opened.length).toBe(2);
  expect(server.opened[0]?.isClosed).toBe(true);
  expect(engine.status.value.phase).toBe("online");
});

test("a question that changes something is not repeated after a break, others are", async () => {
  const world = await loggedIn();
  const { server, engine } = world;
  server.intercept = (_, pdu) => pdu.command === Cmd.createGroupReq || pdu.command === Cmd.shieldReq;
  const created = expect(engine.createGroup("g", [2])).rejects.toMatchObject({ key: "problem.closed" });
  const muted = expect(engine.muteGroup(1, true)).rejects.toMatchObject({ key: "problem.timeout" });
  await pass();
  await interrupt(world);
  await created;
  expect(server.asked.filter((c) => c === Cmd.createGroupReq).length).toBe(1);
  expect(server.asked.filter((c) => c === Cmd.shieldReq).length).toBe(2);
  await pass(30_000);
  await muted;
});

test("ACK says how far things are safe here, at most once a second [TT-SESS-17]", async () => {
  const { server } = await loggedIn();
  for (let i = 0; i < 5; i++) {
    server.happen({ fromUserId: 2, toSessionId: myId, text: "x" });
    server.cursor();
  }
  await pass(900);
  expect(server.asked).not.toContain(Cmd.ack);
  await pass(300);
  expect(server.asked.filter((c) => c === Cmd.ack).length).toBe(1);
});

test("what is shown is read, and told again after a break [TT-MSG-8]", async () => {
  const world = await loggedIn();
  const { server, engine } = world;
  server.happen({ fromUserId: 2, toSessionId: myId, text: "one" });
  await pass();
  expect(engine.unread.value).toBe(1);
  engine.show("u2");
  await pass();
  expect(engine.unread.value).toBe(0);
  expect(server.reads).toEqual([{ session: 2, id: 1 }]);
  await interrupt(world);
  expect(server.reads).toEqual([
    { session: 2, id: 1 },
    { session: 2, id: 1 },
  ]);
});

test("endpoints of the cluster are tried when the page's own server is gone", async () => {
  const world = await loggedIn();
  const { server, engine } = world;
  server.endpoints = ["wss://two.example/ws", "quic://two.example:443"];
  await interrupt(world); // learns of the other node
  server.intercept = (c) => c.route.url === "wss://chat.example/ws"; // its node hangs
  server.current.cut();
  await pass(10_000);
  expect(engine.status.value.phase).toBe("online");
  expect(server.current.route.url).toBe("wss://two.example/ws");
});

test("a CURSOR tells where the cluster has moved to; one that does not leaves things as they are [TT-SESS-25]", async () => {
  const world = await loggedIn();
  const { server, engine } = world;
  server.endpoints = ["wss://two.example/ws"];
  await interrupt(world);
  server.current.push(Cmd.cursor, 0, CursorSchema, { cursor: server.head, endpoints: ["wss://three.example/ws"] });
  server.cursor();
  await pass();
  server.intercept = (c) => c.route.url === "wss://chat.example/ws"; // its node hangs
  server.current.cut();
  await pass(10_000);
  expect(engine.status.value.phase).toBe("online");
  expect(server.current.route.url).toBe("wss://three.example/ws");
  expect(server.opened.map((c) => c.route.url)).not.toContain("wss://two.example/ws");
});

function fromMessage(body: Uint8Array) {
  return fromBinary(IMMsgDataSchema, body);
}
