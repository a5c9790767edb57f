import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { pass } from "../testing/world";
import { encode } from "../wire/pdu";
import type { Connection } from "./connection";
import { openLongPoll } from "./longpoll";

// The server's half, as docs/PROTOCOL.md has it: numbered, repeatable, ended by 410.
class Polls {
  readonly accepted: number[] = []; // commands, once each
  readonly posts: number[] = []; // numbers, repeats included
  readonly polls: number[] = []; // after
  batches: Uint8Array<ArrayBuffer>[] = [];
  last = 0;
  closed = false;
  over = false;
  /** Does something to the next answers: "lost" after it was carried out, "damaged", "old". */
  faults: string[] = [];
  private held: (() => void)[] = [];

  fetch = async (url: string, init: RequestInit): Promise<Response> => {
    const { pathname, searchParams } = new URL(url);
    if (pathname === "/lp") {
      return Response.json({ id: "1-abc", token: "t0ken", poll_s: 25 });
    }
    if ((init.headers as Record<string, string>).Authorization !== "Bearer t0ken") {
      return new Response(null, { status: 404 });
    }
    if (this.over) {
      return new Response(null, { status: 410 });
    }
    if (pathname.endsWith("/close")) {
      this.closed = true;
      return new Response(null, { status: 204 });
    }
    const answer =
      init.method === "POST" ? this.post(init) : await this.poll(Number(searchParams.get("after")), init.signal);
    switch (this.faults.shift()) {
      case "lost":
        throw new TypeError("network");
      case "old": // out of somebody's cache
        return new Response(pdu(99), { headers: { "Teamtalk-Seq": String(searchParams.get("after")) } });
      case "damaged":
        return new Response(new Uint8Array(20), { headers: { "Teamtalk-Seq": String(searchParams.get("after")) } });
    }
    return answer;
  };

  add(...pdus: Uint8Array<ArrayBuffer>[]): void {
    this.batches.push(...pdus);
    for (const wake of this.held.splice(0)) {
      wake();
    }
  }

  private post(init: RequestInit): Response {
    const seq = Number((init.headers as Record<string, string>)["Teamtalk-Seq"]);
    this.posts.push(seq);
    if (seq > this.last + 1) {
      return new Response(null, { status: 409 });
    }
    if (seq === this.last + 1) {
      this.last = seq;
      const bytes = init.body as Uint8Array;
      for (let at = 0; at < bytes.length; ) {
        const view = new DataView(bytes.buffer, bytes.byteOffset + at);
        this.accepted.push(view.getUint16(10));
        at += view.getUint32(0);
      }
    }
    return new Response(null, { status: 204 });
  }

  private async poll(after: number, signal?: AbortSignal | null): Promise<Response> {
    this.polls.push(after);
    if (this.batches.length <= after) {
      await new Promise<void>((resolve, reject) => {
        this.held.push(resolve);
        setTimeout(resolve, 25_000);
        signal?.addEventListener("abort", () => reject(new DOMException("aborted", "AbortError")));
      });
    }
    const batch = this.batches[after];
    return batch
      ? new Response(batch, { headers: { "Teamtalk-Seq": String(after + 1) } })
      : new Response(null, { status: 204 });
  }
}

let server: Polls;

beforeEach(() => {
  vi.useFakeTimers();
  server = new Polls();
  vi.stubGlobal("fetch", server.fetch);
});

afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

async function open(): Promise<{ connection: Connection; got: number[]; ends: string[] }> {
  const got: number[] = [];
  const ends: string[] = [];
  const route = { transport: "longpoll", url: "https://chat.example/lp" } as const;
  const connection = await openLongPoll(route, new AbortController().signal);
  connection.open({ pdu: (p) => got.push(p.command), lost: (why) => ends.push(why) });
  return { connection, got, ends };
}

const pdu = (command: number) => encode(command, 0, new Uint8Array(0));

test("batches come once, in order, and are confirmed by the next poll [TT-LP-4]", async () => {
  const { got, connection } = await open();
  server.add(pdu(1));
  server.add(pdu(2));
  await pass(10);
  expect(got).toEqual([1, 2]);
  expect(server.polls).toEqual([0, 1, 2]);
  connection.close();
});

test("an answer that is lost, damaged or an old one is asked for again, and handed out once [TT-LP-4]", async () => {
  const { got, connection } = await open();
  server.faults = ["lost", "damaged", "old"];
  server.add(pdu(1));
  await pass(5_000);
  expect(got).toEqual([1]);
  expect(server.polls).toEqual([0, 0, 0, 0, 1]);
  connection.close();
});

test("a POST is repeated with its number until it was accepted, and applied once [TT-LP-3]", async () => {
  const { connection } = await open();
  await pass(1);
  server.faults = ["lost", "lost"];
  connection.send(pdu(5));
  connection.send(pdu(6));
  await pass(1);
  connection.send(pdu(7)); // waits for its turn
  await pass(5_000);
  expect(server.accepted).toEqual([5, 6, 7]);
  expect(server.posts).toEqual([1, 1, 1, 2]);
  connection.close();
});

test("410 ends the connection [TT-LP-8]", async () => {
  const { connection, ends } = await open();
  server.over = true;
  connection.send(pdu(5));
  await pass(10);
  expect(ends.length).toBe(1);
});

test("an empty poll is followed by another [TT-LP-5]", async () => {
  const { got, connection } = await open();
  await pass(26_000);
  server.add(pdu(3));
  await pass(10);
  expect(server.polls).toEqual([0, 0, 1]);
  expect(got).toEqual([3]);
  connection.close();
});

test("close sends what waits, and then says so [TT-LP-8]", async () => {
  const { connection, ends } = await open();
  connection.send(pdu(9));
  connection.close();
  await pass(100);
  expect(server.accepted).toEqual([9]);
  expect(server.closed).toBe(true);
  expect(ends).toEqual([]);
});

test("what answers in the place of a server is no session", async () => {
  vi.stubGlobal("fetch", async () => Response.json({ id: "../x", token: "t", poll_s: 1 }));
  await expect(open()).rejects.toThrow("no long-poll session");
});

test("after 15 s of failures the session is given up", async () => {
  const { ends } = await open();
  vi.stubGlobal("fetch", async () => {
    throw new TypeError("network");
  });
  server.add(pdu(1)); // ends the poll that is held
  await pass(12_000);
  expect(ends).toEqual([]);
  await pass(15_000);
  expect(ends.length).toBe(1);
});
