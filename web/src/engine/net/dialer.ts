// Which way to the server: only connections race, HELLO goes on the first that opens [TT-SESS-23].

import type { TransportName } from "../api";
import type { Connection, Opener, Route } from "./connection";

const stagger = 250; // ms between the beginnings
const openWithin = 10_000;
const rememberFor = 3_600_000;
const winnerKey = "teamtalk.transport";
const choiceKey = "teamtalk.transports";

/** The best first: what a session that idles on a lesser one moves to. */
const ranks: readonly TransportName[] = ["webtransport", "websocket", "longpoll"];

/** Where something small is kept beyond the page: localStorage, if the browser allows it. */
export interface Shelf {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

export interface DialerConfig {
  origin: string; // of the page
  openers: Partial<Record<TransportName, Opener>>;
  shelf: Shelf;
}

export class Dialer {
  private readonly config: DialerConfig;
  private endpoints: readonly string[] = [];

  constructor(config: DialerConfig) {
    this.config = config;
  }

  /** Notes where the server says that it, and the rest of its cluster, can be found. */
  prefer(endpoints: readonly string[]): void {
    this.endpoints = endpoints;
  }

  /** Opens connections, one after the other and the next while one is slow. */
  race(avoid: readonly Route[] = []): Race {
    const routes = this.routes();
    const later = (r: Route) => avoid.some((a) => a.url === r.url);
    return new Race([...routes.filter((r) => !later(r)), ...routes.filter(later)], (r, s) => this.open(r, s));
  }

  /** Opens a better connection than one there is; undefined: there is none. */
  async better(than: Route, signal: AbortSignal): Promise<Connection | undefined> {
    const candidates = this.routes().filter((r) => ranks.indexOf(r.transport) < ranks.indexOf(than.transport));
    candidates.sort((a, b) => ranks.indexOf(a.transport) - ranks.indexOf(b.transport));
    for (const route of candidates) {
      try {
        return await this.open(route, AbortSignal.any([signal, AbortSignal.timeout(openWithin)]));
      } catch {
        // the next one
      }
    }
    return undefined;
  }

  /** A better way than this one may be found. */
  hasBetter(than: Route): boolean {
    return this.routes().some((r) => ranks.indexOf(r.transport) < ranks.indexOf(than.transport));
  }

  /** The origin of the server at the end of a route; "": the page's own. */
  baseOf(route: Route): string {
    const { origin } = new URL(route.url.replace(/^ws/, "http"));
    return origin === this.config.origin ? "" : origin;
  }

  /** Tries what worked first next time, for an hour. */
  remember(route: Route): void {
    this.config.shelf.setItem(
      winnerKey,
      JSON.stringify({ transport: route.transport, until: Date.now() + rememberFor }),
    );
  }

  private open(route: Route, signal: AbortSignal): Promise<Connection> {
    const opener = this.config.openers[route.transport];
    return opener ? opener(route, signal) : Promise.reject(new Error(`no ${route.transport}`));
  }

  /** The ways there are, in the order to try them: to the page's own server, then to others of its cluster. */
  private routes(): Route[] {
    const { origin, shelf, openers } = this.config;
    const chosen = shelf.getItem(choiceKey)?.split(",");
    const order: TransportName[] = (chosen as TransportName[] | undefined) ?? ["websocket", "webtransport", "longpoll"];
    const winner = chosen ? undefined : this.winner();
    if (winner) {
      order.sort((a, b) => Number(b === winner) - Number(a === winner));
    }
    const own = order.filter((t) => openers[t]).map((t) => ({ transport: t, url: urlAt(origin, t) }));
    return [...own.filter((r) => r.url !== ""), ...this.elsewhere(order)].filter(unique);
  }

  private elsewhere(order: readonly TransportName[]): Route[] {
    const routes: Route[] = [];
    for (const endpoint of this.endpoints) {
      const transport = endpoint.startsWith("wss://")
        ? "websocket"
        : endpoint.startsWith("https://")
          ? "longpoll"
          : undefined;
      if (transport && order.includes(transport) && this.config.openers[transport]) {
        routes.push({ transport, url: endpoint });
      }
    }
    return routes.sort((a, b) => order.indexOf(a.transport) - order.indexOf(b.transport));
  }

  private winner(): TransportName | undefined {
    try {
      const kept = JSON.parse(this.config.shelf.getItem(winnerKey) ?? "{}") as {
        transport?: TransportName;
        until?: number;
      };
      return (kept.until ?? 0) > Date.now() ? kept.transport : undefined;
    } catch {
      return undefined;
    }
  }
}

function unique(route: Route, index: number, all: readonly Route[]): boolean {
  return all.findIndex((r) => r.url === route.url) === index;
}

function urlAt(origin: string, transport: TransportName): string {
  switch (transport) {
    case "websocket":
      return `${origin.replace(/^http/, "ws")}/ws`;
    case "longpoll":
      return `${origin}/lp`;
    case "webtransport":
      return origin.startsWith("https:") ? `${origin}/wt` : "";
  }
}

/** One race. What opens is handed out in that order; stop gives the rest up. */
export class Race {
  private readonly giveUp = new AbortController();
  private readonly opened: Connection[] = [];
  private waiter: (() => void) | undefined;
  private running = 0;
  private readonly left: Route[];
  private readonly openRoute: Opener;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(routes: Route[], open: Opener) {
    this.left = routes;
    this.openRoute = open;
    this.begin();
  }

  /** The next connection that opens; undefined: there are no more. */
  async next(): Promise<Connection | undefined> {
    for (;;) {
      const first = this.opened.shift();
      if (first || this.giveUp.signal.aborted) {
        return first;
      }
      if (this.running === 0) {
        if (this.left.length === 0) {
          return undefined;
        }
        this.begin(); // what opened before this has come to nothing
      }
      await new Promise<void>((resolve) => {
        this.waiter = resolve;
      });
    }
  }

  stop(): void {
    this.giveUp.abort();
    clearTimeout(this.timer);
    this.left.length = 0;
    for (const connection of this.opened.splice(0)) {
      connection.close();
    }
    this.waiter?.();
  }

  /** Starts the next route: when its turn has come, or the one before has failed. */
  private begin(): void {
    clearTimeout(this.timer);
    const route = this.left.shift();
    if (!route) {
      return;
    }
    this.running++;
    const signal = AbortSignal.any([this.giveUp.signal, AbortSignal.timeout(openWithin)]);
    this.openRoute(route, signal).then(
      (connection) => this.ended(connection),
      () => this.ended(undefined),
    );
    if (this.left.length > 0) {
      this.timer = setTimeout(() => this.begin(), stagger);
    }
  }

  private ended(connection: Connection | undefined): void {
    this.running--;
    if (connection && this.giveUp.signal.aborted) {
      connection.close();
    } else if (connection) {
      this.opened.push(connection);
      clearTimeout(this.timer); // nobody else starts while there is one to try
    } else {
      this.begin();
    }
    this.waiter?.();
  }
}
