// An engine with a server in memory, and time that passes when a test says so.

import { vi } from "vitest";
import type { TransportName } from "../api";
import { ChatEngine } from "../engine";
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

export interface World {
  server: FakeServer;
  keep: MemoryKeep;
  saved: string[];
  engine: ChatEngine;
  /** Another page of the same browser. */
  open(transports?: TransportName[]): ChatEngine;
}

export function makeWorld(transports: TransportName[] = ["websocket"]): World {
  const server = new FakeServer();
  const keep = new MemoryKeep();
  const saved: string[] = [];
  const open = (names: TransportName[] = transports) => {
    const openers = Object.fromEntries(names.map((name) => [name, server.opener(name)]));
    const dialer = new Dialer({ origin: "https://chat.example", shelf: memoryShelf(), openers });
    return new ChatEngine({ dialer, keep, drafts: memoryShelf(), save: (url) => saved.push(url) });
  };
  return { server, keep, saved, open, engine: open() };
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
