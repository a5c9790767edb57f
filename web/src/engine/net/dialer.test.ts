import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { TransportName } from "../api";
import { memoryShelf, pass } from "../testing/world";
import type { Connection, Opener, Route } from "./connection";
import { Dialer } from "./dialer";

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

/** Openers that take some time, or fail after it; negative: fail. */
function dialer(times: Partial<Record<TransportName, number>>, origin = "https://chat.example") {
  const begun: { transport: string; at: number }[] = [];
  const closed: string[] = [];
  const start = Date.now();
  const opener: Opener = (route: Route) => {
    begun.push({ transport: route.transport, at: Date.now() - start });
    const time = times[route.transport] ?? 0;
    const connection = { route, close: () => closed.push(route.transport) } as unknown as Connection;
    return new Promise((resolve, reject) => {
      setTimeout(() => (time < 0 ? reject(new Error("no")) : resolve(connection)), Math.abs(time));
    });
  };
  const openers = Object.fromEntries(Object.keys(times).map((name) => [name, opener]));
  const shelf = memoryShelf();
  return { dialer: new Dialer({ origin, shelf, openers }), begun, closed, shelf };
}

async function winner(d: Dialer, within = 5_000): Promise<string | undefined> {
  let name: string | undefined;
  const race = d.race();
  void race.next().then((c) => {
    name = c?.route.transport;
    race.stop();
  });
  await pass(within);
  return name;
}

test("each begins 250 ms after the one before, or as soon as that has failed [TT-SESS-23]", async () => {
  const slow = dialer({ websocket: 3_000, webtransport: 3_000, longpoll: 3_000 });
  await winner(slow.dialer);
  expect(slow.begun.map((b) => b.at)).toEqual([0, 250, 500]);
  const failing = dialer({ websocket: -10, webtransport: -20, longpoll: 5 });
  expect(await winner(failing.dialer)).toBe("longpoll");
  expect(failing.begun.map((b) => b.at)).toEqual([0, 10, 30]);
});

test("what is not there costs no time", async () => {
  const d = dialer({ websocket: 100, webtransport: -60_000, longpoll: 50 });
  expect(await winner(d.dialer)).toBe("websocket");
  expect(d.begun.length).toBe(1);
});

test("losers are closed", async () => {
  const d = dialer({ websocket: 400, longpoll: 10 });
  expect(await winner(d.dialer)).toBe("longpoll");
  expect(d.closed).toEqual(["websocket"]);
});

test("while one that opened is being tried, no other begins; what opens all the same waits, and is closed", async () => {
  const quick = dialer({ websocket: 100, longpoll: 100 });
  const tried = quick.dialer.race();
  void tried.next();
  await pass(1_000);
  expect(quick.begun.length).toBe(1);
  const both = dialer({ websocket: 300, longpoll: 10 });
  const race = both.dialer.race();
  expect((await Promise.all([race.next(), pass(1_000)]))[0]?.route.transport).toBe("longpoll");
  race.stop();
  expect(both.closed).toEqual(["websocket"]);
});

test("the winner is tried first, for an hour", async () => {
  const d = dialer({ websocket: 3_000, longpoll: 10 });
  await winner(d.dialer);
  d.dialer.remember({ transport: "longpoll", url: "" });
  d.begun.length = 0;
  await winner(d.dialer);
  expect(d.begun.map((b) => b.transport)).toEqual(["longpoll"]);
  await pass(3_600_000);
  d.begun.length = 0;
  await winner(d.dialer);
  expect(d.begun[0]?.transport).toBe("websocket");
});

test("WebTransport is for pages by HTTPS only", async () => {
  const d = dialer({ webtransport: 1, longpoll: 1 }, "http://127.0.0.1:8080");
  expect(await winner(d.dialer)).toBe("longpoll");
});

test("the transports can be chosen", async () => {
  const d = dialer({ websocket: 1, longpoll: 1 });
  d.shelf.setItem("teamtalk.transports", "longpoll");
  expect(await winner(d.dialer)).toBe("longpoll");
  expect(d.dialer.hasBetter({ transport: "longpoll", url: "https://chat.example/lp" })).toBe(false);
});

test("when the first to open comes to nothing, the next is there", async () => {
  const d = dialer({ websocket: 5, longpoll: 5 });
  const race = d.dialer.race();
  const got: (string | undefined)[] = [];
  void (async () => {
    for (let c = await race.next(); ; c = await race.next()) {
      got.push(c?.route.transport);
      if (!c) {
        return;
      }
    }
  })();
  await pass(1_000);
  expect(got).toEqual(["websocket", "longpoll", undefined]);
});
