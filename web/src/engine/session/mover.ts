// Finds the connection that a session goes on with, while it lives: a better one when it idles, another one when its node drains.

import type { Connection } from "../net/connection";
import type { Dialer } from "../net/dialer";
import type { Session } from "./session";

const idle = 5_000; // nothing said or heard but heartbeats, before a better transport is looked for
const probeEvery = 60_000;
const probeRarely = 3_600_000; // once a few probes have failed
const probesOften = 5;
const moveWithin = 10_000; // for a connection that was found to be taken
const defaultDrain = 10_000;

export class Mover {
  private readonly dialer: Dialer;
  private readonly move: (connection: Connection) => void;
  private session: Session | undefined;
  private tick: ReturnType<typeof setInterval> | undefined;
  private look: AbortController | undefined;
  private found: { connection: Connection; until: number } | undefined;
  private failed = 0;
  private last = 0; // when a better one was last looked for
  private drainAt = 0; // when to look for another node; 0: no need
  private drainBy = 0;

  constructor(dialer: Dialer, move: (connection: Connection) => void) {
    this.dialer = dialer;
    this.move = move;
  }

  /** A session is live. */
  watch(session: Session): void {
    this.stop();
    this.session = session;
    this.tick = setInterval(() => this.turn(), 1_000);
  }

  /** The network has changed: what was in vain may not be any more. */
  reset(): void {
    this.failed = 0;
    this.last = 0;
  }

  /** What was moved to did no better: not to be tried again soon. */
  distrust(): void {
    this.failed = probesOften;
    this.last = Date.now();
  }

  /** Goes elsewhere at some time in the first half of what the server gives, so that not all go at once [TT-SESS-24]. */
  drain(withinSeconds: number): void {
    const within = withinSeconds * 1_000 || defaultDrain;
    this.drainAt = Date.now() + (Math.random() * within) / 2;
    this.drainBy = Date.now() + within;
  }

  stop(): void {
    clearInterval(this.tick);
    this.look?.abort();
    this.look = undefined;
    this.found?.connection.close();
    this.found = undefined;
    this.session = undefined;
    this.drainAt = 0;
    this.drainBy = 0;
  }

  private turn(): void {
    const now = Date.now();
    if (this.found) {
      this.settle(now);
    } else if (!this.look && this.drainAt > 0 && now >= this.drainAt) {
      this.drainAt = now + 1_000; // if it comes to nothing
      void this.search((signal) => this.another(signal));
    } else if (!this.look && this.isDue(now)) {
      this.last = now;
      this.failed++;
      const route = this.session?.connection.route;
      if (route) {
        void this.search((signal) => this.dialer.better(route, signal));
      }
    }
  }

  private isDue(now: number): boolean {
    const session = this.session;
    if (!session || this.drainBy > 0 || !this.dialer.hasBetter(session.connection.route)) {
      return false;
    }
    const pause = this.last === 0 ? 0 : this.failed >= probesOften ? probeRarely : probeEvery;
    return now >= session.spoke + idle && now >= this.last + pause;
  }

  private async another(signal: AbortSignal): Promise<Connection | undefined> {
    const race = this.dialer.race();
    signal.addEventListener("abort", () => race.stop(), { once: true });
    const connection = await race.next();
    race.stop();
    return connection;
  }

  private async search(find: (signal: AbortSignal) => Promise<Connection | undefined>): Promise<void> {
    const look = new AbortController();
    this.look = look;
    const connection = await find(look.signal).catch(() => undefined);
    if (this.look !== look) {
      connection?.close();
      return;
    }
    this.look = undefined;
    if (connection) {
      this.found = { connection, until: this.drainBy || Date.now() + moveWithin };
      this.settle(Date.now());
    }
  }

  /** Moves once the session is quiet; a node that drains is left in time even if it is not. */
  private settle(now: number): void {
    const found = this.found;
    if (!found || !this.session) {
      return;
    }
    const expired = now >= found.until;
    if (this.session.isQuiet || (expired && this.drainBy > 0)) {
      this.found = undefined;
      if (this.drainBy === 0) {
        this.failed = 0;
      }
      this.stop();
      this.move(found.connection);
    } else if (expired) {
      this.found = undefined;
      found.connection.close();
    }
  }
}
