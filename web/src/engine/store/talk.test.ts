import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { pass } from "../testing/world";
import { Batch } from "./batch";
import type { Entry } from "./entry";
import { Talk } from "./talk";

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

function entry(id: number, more: Partial<Entry> = {}): Entry {
  return {
    key: `#${id}`,
    id,
    order: id,
    from: 2,
    mine: false,
    time: id * 1000,
    parts: [{ kind: "text", text: `m${id}` }],
    plain: `m${id}`,
    state: "live",
    hubSeq: 0,
    ...more,
  };
}

const own = (id: number, more: Partial<Entry> = {}) => entry(id, { mine: true, from: 1, delivery: "sent", ...more });

interface Past {
  talk: Talk;
  asked: [number, number][];
  all: Entry[];
}

/** A talk with messages 1 to n on the server. */
function past(
  n: number,
  more: (id: number) => Partial<Entry> = () => ({}),
  key: `u${number}` | `g${number}` = "u2",
): Past {
  const all = Array.from({ length: n }, (_, i) => entry(i + 1, more(i + 1)));
  const asked: [number, number][] = [];
  const history = async (_: string, begin: number, count: number) => {
    asked.push([begin, count]);
    const upTo = all.filter((e) => begin === 0 || e.id <= begin);
    return upTo.slice(-count).reverse();
  };
  return { talk: new Talk(key, history, new Batch()), asked, all };
}

const ids = (talk: Talk) => talk.messages.value.map((m) => m.id);

test("pages are fetched from the newest down to the begin", async () => {
  const { talk, asked } = past(120);
  await talk.load();
  await pass();
  expect(ids(talk)).toEqual(Array.from({ length: 50 }, (_, i) => i + 71));
  expect(talk.atBegin.value).toBe(false);
  await Promise.all([talk.older(), talk.older()]); // one request
  await pass();
  expect(ids(talk)[0]).toBe(1);
  expect(talk.atBegin.value).toBe(true);
  await talk.older();
  expect(asked).toEqual([
    [0, 50],
    [70, 100],
  ]);
});

test("an empty conversation is at its begin", async () => {
  const { talk } = past(0);
  await talk.load();
  expect([talk.atBegin.value, talk.loading.value, talk.isLoaded]).toEqual([true, false, true]);
  talk.arrive(entry(1));
  await pass();
  expect(ids(talk)).toEqual([1]);
});

test("what comes while the first page is on its way is in its place, once", async () => {
  const { talk, all } = past(3);
  const loading = talk.load();
  talk.arrive(entry(3));
  talk.arrive(entry(4));
  all.push(entry(4));
  await loading;
  await pass();
  expect(ids(talk)).toEqual([1, 2, 3, 4]);
});

test("a repeated message is the same message", async () => {
  const { talk } = past(2);
  await talk.load();
  talk.arrive(entry(3));
  talk.arrive(entry(2));
  talk.arrive(entry(3));
  await pass();
  expect(ids(talk)).toEqual([1, 2, 3]);
});

test("a hole is filled", async () => {
  const { talk, all, asked } = past(2);
  await talk.load();
  all.push(entry(3), entry(4), entry(5));
  talk.arrive(entry(5));
  await pass();
  expect(asked.at(-1)).toEqual([4, 2]);
  expect(ids(talk)).toEqual([1, 2, 3, 4, 5]);
});

test("the place of the first unread message is found", async () => {
  const { talk } = past(10, (id) => (id % 2 === 0 ? { mine: true } : {}));
  talk.unread = () => 2;
  await talk.load();
  expect(talk.readUpTo.value).toBe(6); // 7 and 9 are of others
  expect(talk.unreadAfter(7)).toBe(1);
});

test("so are many, however far back", async () => {
  const some = past(120);
  some.talk.unread = () => 70;
  await some.talk.load();
  expect([some.asked[0], some.talk.readUpTo.value]).toEqual([[0, 71], 50]);
  const many = past(400);
  many.talk.unread = () => 250;
  await many.talk.load();
  expect(many.talk.readUpTo.value).toBe(0);
  await many.talk.older();
  expect(many.talk.readUpTo.value).toBe(150);
  await many.talk.older();
  expect(many.talk.readUpTo.value).toBe(150);
});

test("a page of another history is not taken", async () => {
  const { talk } = past(3);
  const loading = talk.load();
  talk.reset();
  await loading;
  await pass();
  expect([ids(talk), talk.isLoaded]).toEqual([[], false]);
});

test("what waits for its place is at the end, also before any has one [TT-FED-3]", async () => {
  const { talk } = past(2, (id) => (id === 2 ? { mine: true, delivery: "pending" } : {}), "g2");
  await talk.load();
  talk.arrive(entry(3));
  await pass();
  expect(ids(talk)).toEqual([1, 3, 2]);
});

test("what is not sent stands at the end, and moves to its place", async () => {
  const { talk } = past(2);
  await talk.load();
  talk.write(own(0, { key: "ca", delivery: "sending" }));
  talk.write(own(0, { key: "cb", delivery: "sending" }));
  talk.arrive(entry(3));
  await pass();
  expect(talk.messages.value.map((m) => m.key)).toEqual(["#1", "#2", "#3", "ca", "cb"]);
  talk.arrive(own(4, { key: "cb" }));
  await pass();
  expect(talk.messages.value.map((m) => [m.key, m.id])).toEqual([
    ["#1", 1],
    ["#2", 2],
    ["#3", 3],
    ["cb", 4],
    ["ca", 0],
  ]);
});

test("a group of several offices is shown in the order of its hub [TT-FED-3]", async () => {
  const hub: Record<number, number> = { 2: 10, 3: 12, 5: 11 };
  const { talk } = past(
    6,
    (id) => ({ hubSeq: hub[id] ?? 0, ...(id === 6 && { mine: true, delivery: "pending" }) }),
    "g2",
  );
  await talk.load();
  await pass();
  // 1 came before all that has a place, 4 behind 12, 6 waits for its place.
  expect(ids(talk)).toEqual([1, 2, 5, 3, 4, 6]);
  talk.arrive(entry(7, { hubSeq: 13 }));
  await pass();
  expect(ids(talk)).toEqual([1, 2, 5, 3, 4, 7, 6]);
  const mine = talk.get(6);
  expect(mine).toBeDefined();
  if (mine) {
    talk.change(mine, { hubSeq: 14, delivery: "sent" });
  }
  talk.arrive(entry(8, { hubSeq: 9 })); // late
  talk.arrive(entry(9));
  await pass();
  expect(ids(talk)).toEqual([1, 8, 2, 5, 3, 4, 7, 6, 9]);
});

test("marks: delivered, read, and never back [TT-SESS-17]", async () => {
  const { talk } = past(4, (id) => (id === 3 ? {} : { mine: true, delivery: "sent" }));
  await talk.load();
  const deliveries = async () => {
    await pass();
    return talk.messages.value.map((m) => m.delivery);
  };
  talk.mark(2, 2, 1);
  expect(await deliveries()).toEqual(["read", "delivered", undefined, "sent"]);
  talk.mark(2, 4, 0);
  talk.mark(2, 0, 2);
  expect(await deliveries()).toEqual(["read", "read", undefined, "delivered"]);
  talk.arrive(own(5));
  talk.mark(2, 0, 5);
  talk.mark(2, 5, 0);
  talk.arrive(own(5)); // repeated after a break
  expect(await deliveries()).toEqual(["read", "read", undefined, "read", "read"]);
});

test("a mark may come before its message", async () => {
  const { talk } = past(1);
  await talk.load();
  talk.mark(2, 2, 2);
  talk.arrive(own(2));
  await pass();
  expect(talk.messages.value[1]?.delivery).toBe("read");
});

test("in a group it is counted who has read", async () => {
  const { talk } = past(2, () => ({ mine: true, delivery: "sent" }), "g2");
  await talk.load();
  talk.mark(2, 0, 1);
  talk.mark(3, 0, 2);
  talk.mark(3, 0, 2);
  await pass();
  expect(talk.messages.value.map((m) => m.readBy)).toEqual([2, 1]);
});

test("a countdown begins when it was read, and ends without the server [TT-DEL-3]", async () => {
  const { talk } = past(2, (id) => ({ burnSeconds: 10, ...(id === 2 && { mine: true, delivery: "sent" }) }));
  talk.unread = () => 1;
  await talk.load();
  talk.readByMe(2);
  talk.mark(2, 2, 2);
  await pass();
  const due = Date.now() + 10_000;
  for (const m of talk.messages.value) {
    expect(Math.abs((m.burnsAt ?? 0) - due)).toBeLessThan(10);
  }
  await pass(12_000);
  expect(talk.messages.value.map((m) => [m.state, m.plain, m.parts])).toEqual([
    ["burned", "", []],
    ["burned", "", []],
  ]);
});

test("what was deleted stays deleted, whatever is repeated [TT-DEL-4]", async () => {
  const { talk } = past(1);
  await talk.load();
  talk.deleted(1, "recalled");
  talk.arrive(entry(1));
  await pass();
  expect(talk.messages.value[0]).toMatchObject({ state: "recalled", plain: "", parts: [], id: 1 });
});

test("an original far back is reached, one that is not there is not", async () => {
  const { talk } = past(400);
  expect(await talk.reach(30)).toBe(true);
  expect(talk.get(30)).toBeDefined();
  expect(await talk.reach(1_000)).toBe(false);
});

test("after a gap only what is not sent is left", async () => {
  const { talk, all } = past(3);
  await talk.load();
  talk.write(own(0, { key: "ca", delivery: "sending" }));
  all.length = 0;
  talk.reset();
  await pass();
  expect(talk.messages.value.map((m) => m.key)).toEqual(["ca"]);
  await talk.load();
  await pass();
  expect(ids(talk)).toEqual([0]);
});

test("ten thousand messages, one by one, take no more than moments", async () => {
  vi.useRealTimers();
  const { talk } = past(1);
  await talk.load();
  const start = performance.now();
  for (let id = 2; id <= 10_000; id++) {
    talk.arrive(id % 3 === 0 ? own(id) : entry(id));
    if (id % 10 === 0) {
      talk.mark(2, id, id);
    }
  }
  await Promise.resolve();
  expect(talk.messages.value.length).toBe(10_000);
  expect(performance.now() - start).toBeLessThan(5_000); // about 50 ms on a quiet machine
});
