// What lets the session go on after a reload: kept by the server in a cookie that no script can read, and handed back when asked for.

import type { Shelf } from "../net/dialer";
import { Backoff } from "./backoff";

/** Enough to resume: not the cursor, as what it was for is gone with the page. */
export interface Kept {
  device: string;
  token: string; // base64
  user: number;
  name: string;
}

export interface Keep {
  put(kept: Kept, seconds: number): Promise<void>;
  /** Rejects when the server did not answer: whether there is a session is not known then. */
  take(): Promise<Kept | undefined>;
  drop(): Promise<void>;
}

const path = "/web/session";
const owedKey = "teamtalk.dropOwed";
const answerTime = 10_000;

/** For so long a server that does not answer, as while it restarts, is asked again before the page turns to the login, ms. */
const patience = 20_000;

/** The keep of the page's own server. */
export class CookieKeep implements Keep {
  private readonly shelf: Shelf;
  private last = new AbortController(); // ends the change under way

  /** shelf: where it is marked that the server is still to be told to forget; it outlives the page, as the cookie does. */
  constructor(shelf: Shelf) {
    this.shelf = shelf;
  }

  async put(kept: Kept, seconds: number): Promise<void> {
    await this.change("", { value: JSON.stringify(kept), max_age: seconds });
    this.shelf.removeItem(owedKey); // what was to be forgotten has been overwritten
  }

  async take(): Promise<Kept | undefined> {
    if (this.shelf.getItem(owedKey)) {
      await this.drop(); // who logged out without a network is not to be logged in again
      return undefined;
    }
    const answer = await answered("/take");
    if (answer.status !== 200) {
      return undefined;
    }
    const { value } = (await answer.json()) as { value: string };
    const kept = JSON.parse(value) as Partial<Kept>;
    return kept.device && kept.token && kept.user ? (kept as Kept) : undefined;
  }

  async drop(): Promise<void> {
    this.shelf.setItem(owedKey, "1");
    await this.change("/drop");
    this.shelf.removeItem(owedKey);
  }

  /** Gives up the change before it: an answer that comes late is not to undo this one. */
  private async change(end: string, body?: object): Promise<void> {
    this.last.abort();
    this.last = new AbortController();
    const answer = await ask(end, body, this.last.signal);
    if (!answer.ok) {
      throw new Error(`the server answers ${answer.status}`);
    }
  }
}

/** The first answer that is the server's own, not that of a proxy in front of a server that is away. */
async function answered(end: string): Promise<Response> {
  const until = Date.now() + patience;
  const backoff = new Backoff();
  for (;;) {
    const answer = await ask(end).catch((error: Error) => error);
    if (answer instanceof Response && answer.status < 500) {
      return answer;
    }
    const wait = backoff.next(0);
    if (Date.now() + wait > until) {
      throw answer instanceof Error ? answer : new Error(`the server answers ${answer.status}`);
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

function ask(end: string, body?: object, signal?: AbortSignal): Promise<Response> {
  const timeout = AbortSignal.timeout(answerTime);
  return fetch(path + end, {
    method: "POST",
    cache: "no-store",
    credentials: "same-origin",
    signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
    headers: { "Teamtalk-Web": "1", "Content-Type": "application/json" },
    ...(body && { body: JSON.stringify(body) }),
  });
}
