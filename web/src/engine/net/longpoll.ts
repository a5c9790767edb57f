// Plain requests and complete responses, for networks where nothing else passes. Each half is numbered by who sends it, repeated until the
// other side has confirmed it, and ignored when it comes again [TT-LP-3] [TT-LP-4].

import { split } from "../wire/pdu";
import type { Connection, Route } from "./connection";
import { Base } from "./connection";
import { pause } from "./pause";

const postMost = 1 << 20; // bytes of one POST [TT-LP-6]
const pollMargin = 10_000; // for the answer to a poll beyond the time that it is held
const postTime = 20_000; // for the answer to a POST; the server may take ten
const openTime = 10_000;
const firstPause = 100; // after a request that failed; doubles
const mostPause = 5_000;
/** For how long requests may fail in a row: then another way may do better, and resumes what there was. */
const patience = 15_000;

interface Ticket {
  id: string;
  token: string;
  poll_s: number;
}

export async function openLongPoll(route: Route, signal: AbortSignal): Promise<Connection> {
  const timed = AbortSignal.any([signal, AbortSignal.timeout(openTime)]);
  const answer = await fetch(route.url, { method: "POST", cache: "no-store", credentials: "omit", signal: timed });
  const ticket: unknown = answer.ok ? await answer.json() : undefined;
  if (!isTicket(ticket)) {
    throw new Error("no long-poll session");
  }
  return new Polling(route, ticket);
}

function isTicket(value: unknown): value is Ticket {
  const t = value as Partial<Ticket> | undefined;
  return (
    typeof t?.id === "string" && /^[\w.~-]+$/.test(t.id) && typeof t.token === "string" && typeof t.poll_s === "number"
  );
}

/** The server's word that a session is over, as a status. */
function isOver(status: number): boolean {
  return [400, 403, 404, 409, 410, 413].includes(status);
}

/** A row of requests that failed. */
class Failures {
  private since = 0;
  private pause = 0;

  over(): void {
    this.pause = 0;
  }

  /** Waits before the next attempt; false: it makes no sense any more. */
  async again(life: AbortSignal): Promise<boolean> {
    if (this.pause === 0) {
      this.since = Date.now();
      this.pause = firstPause;
    }
    if (Date.now() - this.since >= patience) {
      return false;
    }
    const wait = this.pause / 2 + Math.random() * this.pause;
    this.pause = Math.min(2 * this.pause, mostPause);
    return pause(wait, life);
  }
}

class Polling extends Base {
  private readonly url: string;
  private readonly token: string;
  private readonly hold: number; // ms that the server holds a poll
  private readonly life = new AbortController();
  private queue: Uint8Array<ArrayBuffer>[] = [];
  private posted = 0; // number of the last POST accepted
  private posting = false;
  private closing = false;

  constructor(route: Route, ticket: Ticket) {
    super(route);
    this.url = `${route.url}/${ticket.id}`;
    this.token = ticket.token;
    this.hold = Math.min(Math.max(ticket.poll_s, 1), 120) * 1000;
    void this.poll();
  }

  waiting(): number {
    return this.queue.reduce((sum, b) => sum + b.length, 0);
  }

  send(bytes: Uint8Array<ArrayBuffer>): void {
    if (this.ended || this.closing) {
      return;
    }
    this.queue.push(bytes);
    if (!this.posting) {
      this.posting = true;
      // What is sent in one go is posted together.
      queueMicrotask(() => void this.post());
    }
  }

  close(): void {
    this.ended = true;
    this.closing = true;
    if (!this.posting) {
      void this.leave();
    }
  }

  private ask(method: string, path: string, within: number, more: RequestInit = {}): Promise<Response> {
    return fetch(this.url + path, {
      method,
      cache: "no-store",
      credentials: "omit",
      signal: AbortSignal.any([this.life.signal, AbortSignal.timeout(within)]),
      ...more,
      headers: { Authorization: `Bearer ${this.token}`, ...more.headers },
    });
  }

  /** Asks for one batch after the other; after=N also says that all up to N have come. */
  private async poll(): Promise<void> {
    const failures = new Failures();
    let after = 0;
    while (!this.ended) {
      let status = 0;
      try {
        const answer = await this.ask("GET", `?after=${after}`, this.hold + pollMargin);
        status = answer.status;
        const batch = status === 200 ? new Uint8Array(await answer.arrayBuffer()) : undefined;
        this.alive();
        if (batch) {
          const seq = Number(answer.headers.get("Teamtalk-Seq"));
          const pdus = split(batch); // a damaged batch is asked for again: it has not been confirmed
          if (seq !== after + 1) {
            throw new Error(`batch ${seq} after ${after}`);
          }
          after = seq;
          failures.over();
          this.came(pdus);
          continue;
        }
        if (status === 204) {
          failures.over();
          continue;
        }
      } catch {
        status = 0; // not known whether the server got it: the same request again does no harm
      }
      if (isOver(status) || !(await failures.again(this.life.signal))) {
        this.over(`long-poll: ${status || "no answer"}`);
        return;
      }
    }
  }

  /** Posts what waits, one request at a time, each repeated with its number until it was accepted. */
  private async post(): Promise<void> {
    const failures = new Failures();
    while (this.queue.length > 0 && !this.life.signal.aborted) {
      const { body, count } = this.nextBody();
      for (;;) {
        const status = await this.postOnce(body);
        if (status === 204) {
          failures.over();
          break;
        }
        if (isOver(status) || !(await failures.again(this.life.signal))) {
          this.over(`long-poll: ${status || "no answer"}`);
          return;
        }
      }
      this.posted++;
      this.queue.splice(0, count);
    }
    this.posting = false;
    if (this.closing) {
      await this.leave();
    }
  }

  private async postOnce(body: Uint8Array<ArrayBuffer>): Promise<number> {
    try {
      const answer = await this.ask("POST", "", postTime, {
        body,
        headers: { "Content-Type": "application/octet-stream", "Teamtalk-Seq": String(this.posted + 1) },
      });
      this.alive();
      return answer.status;
    } catch {
      return 0;
    }
  }

  private nextBody(): { body: Uint8Array<ArrayBuffer>; count: number } {
    let size = 0;
    let count = 0;
    for (const part of this.queue) {
      if (count > 0 && size + part.length > postMost) {
        break;
      }
      size += part.length;
      count++;
    }
    const body = new Uint8Array(size);
    let at = 0;
    for (const part of this.queue.slice(0, count)) {
      body.set(part, at);
      at += part.length;
    }
    return { body, count };
  }

  private over(why: string): void {
    this.broken(why);
    this.life.abort();
  }

  /** Tells the server, which would wait a minute otherwise. */
  private async leave(): Promise<void> {
    try {
      await this.ask("POST", "/close", 2_000, { keepalive: true });
    } catch {
      // It notices by itself.
    }
    this.life.abort();
  }
}
