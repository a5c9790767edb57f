// An engine with a server in memory, and time that passes when a test says so.

import { vi } from "vitest";
import type { TransportName } from "../api";
import { ChatEngine } from "../engine";
import type { KeptMarks, MarksShelf } from "../local/marks";
import type { Unsent, UnsentShelf } from "../local/unsent";
import type { Route } from "../net/connection";
import { Dialer, type Shelf } from "../net/dialer";
import type { Keep, Kept } from "../session/keep";
import { FakeServer } from "./fakeserver";

export function memoryShelf(): Shelf {
  const kept = new Map<string, string>();
  return {
    getItem: (key) => kept.get(key) ?? null,
    setItem: (key, value) => void kept.set(key, value),
    removeItem: (key) => void kept.delete(key),
  };
}

export class MemoryKeep implements Keep {
  kept: Kept | undefined;

  async put(kept: Kept): Promise<void> {
    this.kept = kept;
  }

  async take(): Promise<Kept | undefined> {
    return this.kept;
  }

  async drop(): Promise<void> {
    this.kept = undefined;
  }
}

/** What is kept in a browser, as its pages share it. */
export class MemoryBrowser {
  readonly unsent = new Map<string, Unsent & { owner: number }>();
  readonly marks = new Map<string, KeptMarks>();
  readonly living = new Set<number>();
  private pages = 0;

  open(): MemoryUnsent {
    return new MemoryUnsent(this, ++this.pages);
  }

  marksShelf(): MarksShelf {
    const { marks } = this;
    return {
      load: async (user) => [...marks.values()].filter((m) => m.user === user),
      save: (all) => {
        for (const m of all) {
          marks.set(`${m.user} ${m.key}`, m);
        }
      },
      forget: async (user) => {
        for (const [name, m] of marks) {
          m.user === user && marks.delete(name);
        }
      },
    };
  }
}

export class MemoryUnsent implements UnsentShelf {
  /** The browser is slow. */
  wait: Promise<void> = Promise.resolve();
  private readonly browser: MemoryBrowser;
  private readonly page: number;

  constructor(browser: MemoryBrowser, page: number) {
    this.browser = browser;
    this.page = page;
    browser.living.add(page);
  }

  put(item: Unsent): void {
    this.browser.unsent.set(item.id, { ...item, owner: this.page });
  }

  drop(id: string): void {
    this.browser.unsent.delete(id);
  }

  async adopt(user: number): Promise<Unsent[]> {
    await this.wait;
    this.browser.living.add(this.page);
    const mine = [...this.browser.unsent.values()].filter(
      (i) => i.user === user && (i.owner === this.page || !this.browser.living.has(i.owner)),
    );
    for (const item of mine) {
      this.put(item);
    }
    return mine.sort((a, b) => a.order - b.order).map(({ owner: _, ...item }) => item);
  }

  leave(): void {
    this.browser.living.delete(this.page);
  }

  async forget(user: number): Promise<void> {
    for (const item of this.browser.unsent.values()) {
      item.user === user && this.drop(item.id);
    }
  }
}

export interface World {
  server: FakeServer;
  keep: MemoryKeep;
  browser: MemoryBrowser;
  saved: string[];
  engine: ChatEngine;
  /** Another page of the same browser. */
  open(transports?: TransportName[]): ChatEngine;
  /** All pages that there are end without a word. */
  crash(): void;
}

export function makeWorld(transports: TransportName[] = ["websocket"]): World {
  const server = new FakeServer();
  const keep = new MemoryKeep();
  const saved: string[] = [];
  const browser = new MemoryBrowser();
  let crashes = 0;
  const open = (names: TransportName[] = transports) => {
    const born = crashes;
    const openers = Object.fromEntries(
      names.map((name) => {
        const opener = server.opener(name);
        return [
          name,
          (r: Route, s: AbortSignal) => (born < crashes ? Promise.reject(new Error("gone")) : opener(r, s)),
        ];
      }),
    );
    const dialer = new Dialer({ origin: "https://chat.example", shelf: memoryShelf(), openers });
    const unsent = browser.open();
    const save = (url: string) => saved.push(url);
    return new ChatEngine({ dialer, keep, drafts: memoryShelf(), unsent, marks: browser.marksShelf(), save });
  };
  const crash = () => {
    crashes++;
    browser.living.clear();
    for (const c of server.opened) {
      c.cut();
    }
  };
  return { server, keep, browser, saved, open, crash, engine: open() };
}

/** Lets everything happen that is due within some time. */
export async function pass(ms = 1): Promise<void> {
  await vi.advanceTimersByTimeAsync(ms);
}

export async function loggedIn(transports?: TransportName[]): Promise<World> {
  const world = makeWorld(transports);
  const done = world.engine.login("me", "secret");
  await pass();
  await done;
  await pass();
  return world;
}
