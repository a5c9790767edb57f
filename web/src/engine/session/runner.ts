// Keeps the session going: one connection at a time, each ended before the next has anything to say, so that there are never two HELLOs
// outstanding [TT-SESS-23].

import { signal } from "@preact/signals";
import type { UserInfo } from "../../pb/IM.BaseDefine_pb";
import { Code, type Drain, type Welcome } from "../../pb/sessionpb/session_pb";
import type { Status } from "../api";
import type { Connection, Route } from "../net/connection";
import type { Dialer, Race } from "../net/dialer";
import { keyOf, problem } from "../problems";
import { fromBase64, toBase64 } from "../wire/crypt";
import type { Pdu } from "../wire/pdu";
import { Backoff } from "./backoff";
import type { Calls } from "./calls";
import type { Keep } from "./keep";
import { Mover } from "./mover";
import { type Outbox, toHex } from "./outbox";
import { type Ending, type Host, type Identity, Session } from "./session";

/** What the rest of the engine does with the session. */
export interface World {
  loggedIn(user: number, info?: UserInfo): void;
  /** The lists are to be fetched: nothing before now, a place in the cluster's log, will be told. */
  fresh(head: bigint): void;
  live(): void;
  event(pdu: Pdu): void;
  lost(): void;
  loggedOut(): void;
}

export interface RunnerConfig {
  dialer: Dialer;
  keep: Keep;
  calls: Calls;
  outbox: Outbox;
  world: World;
}

/** The cursor of a page that was reloaded: the server has nothing to repeat, and the session is live from now on [TT-SESS-5]. */
const holdsNothing = 2n ** 64n - 1n;

/** For so long a server may still take a HELLO that was given up, and end what came after it with REPLACED. */
const lateHello = 60_000;

interface Waiter {
  resolve(): void;
  reject(error: Error): void;
}

export class Runner implements Host {
  readonly status = signal<Status>({ phase: "out" });
  readonly calls: Calls;
  readonly outbox: Outbox;
  /** The origin of the node that the session is on, or was last; "": the page's own. */
  base = "";
  /** What the last WELCOME said. */
  welcome: Welcome | undefined;
  private readonly config: RunnerConfig;
  private readonly mover: Mover;
  private readonly backoff = new Backoff();
  private me: Identity = { device: "", cursor: 0n };
  private user = 0;
  private login: { name: string; sum: string } | undefined;
  private name = "";
  private waiter: Waiter | undefined; // of the login
  private session: Session | undefined;
  private race: Race | undefined;
  private avoid: Route[] = [];
  private retry: ReturnType<typeof setTimeout> | undefined;
  private unheard = 0; // when a HELLO was last left without its answer

  constructor(config: RunnerConfig) {
    this.config = config;
    this.calls = config.calls;
    this.outbox = config.outbox;
    const poke = () => this.session?.fill();
    config.calls.poke = poke;
    config.outbox.poke = poke;
    this.mover = new Mover(config.dialer, (connection) => this.moveTo(connection));
  }

  // What the engine asks for.

  start(name: string, sum: string): Promise<void> {
    this.stop("loggedOut");
    this.name = name;
    this.login = { name, sum };
    this.me = { device: toHex(crypto.getRandomValues(new Uint8Array(16))), cursor: 0n };
    const done = new Promise<void>((resolve, reject) => {
      this.waiter = { resolve, reject };
    });
    this.connect();
    return done;
  }

  async restore(): Promise<boolean> {
    const kept = await this.config.keep.take().catch(() => undefined);
    const token = kept && fromBase64(kept.token);
    if (!kept || !token || this.status.value.phase !== "out") {
      return false;
    }
    this.name = kept.name;
    this.user = kept.user;
    this.me = { device: kept.device, token, cursor: holdsNothing };
    this.config.world.loggedIn(kept.user);
    this.connect();
    return true;
  }

  /** Ends the session for good, here and on the server; here alone, and soon, if the server does not answer. Who calls drops what is kept. */
  async logout(): Promise<void> {
    const session = this.session;
    if (session?.isLive) {
      this.mover.stop(); // it is to end, not to go on elsewhere
      await session.logout();
    }
    this.stop("loggedOut");
  }

  retryNow(): void {
    if (this.status.value.phase === "offline") {
      clearTimeout(this.retry);
      this.backoff.reset();
      this.mover.reset();
      this.connect();
    }
  }

  /** The network may have changed, or the machine has slept. */
  check(): void {
    this.mover.reset();
    if (this.session?.isLive) {
      this.session.prove();
    } else if (this.status.value.retryAt) {
      this.retryNow();
    }
  }

  say: Session["say"] = (command, schema, init) => this.session?.say(command, schema, init);

  get isLive(): boolean {
    return this.session?.isLive ?? false;
  }

  // Connecting.

  private connect(): void {
    this.status.value = { phase: "connecting", ...(this.status.value.reason && { reason: this.status.value.reason }) };
    this.race = this.config.dialer.race(this.avoid);
    this.avoid = [];
    void this.nextRoute(this.race);
  }

  private async nextRoute(race: Race): Promise<void> {
    const connection = await race.next();
    if (race !== this.race) {
      connection?.close();
      return;
    }
    if (!connection) {
      this.race = undefined;
      this.offline("problem.network", 0);
      return;
    }
    this.greet(connection);
  }

  private greet(connection: Connection): void {
    this.session = new Session(connection, this);
    this.session.begin();
  }

  /** Goes on with another connection; the one there was has nothing to say any more. */
  private moveTo(connection: Connection): void {
    const former = this.session;
    this.session = undefined;
    former?.leave();
    this.interrupted(former);
    this.greet(connection);
  }

  private interrupted(former: Session | undefined): void {
    this.backoff.wasLive(former?.since ? Date.now() - former.since : 0);
    this.outbox.lost();
    this.calls.lost();
    this.config.world.lost();
  }

  // What sessions say.

  identity(): Identity {
    return this.me;
  }

  password(): { name: string; sum: string } | undefined {
    return this.login;
  }

  welcomed(welcome: Welcome): void {
    this.welcome = welcome;
    this.config.dialer.prefer(welcome.endpoints);
  }

  queued(position: number, etaSeconds: number): void {
    this.status.value = { phase: "queued", queue: { position, etaSeconds } };
  }

  loggedIn(info: UserInfo): void {
    this.user = info.userId;
    this.config.world.loggedIn(info.userId, info);
  }

  credential(token: Uint8Array, expires: number): void {
    this.me = { ...this.me, token };
    this.login = undefined; // from now on the token does
    const kept = { device: this.me.device, token: toBase64(token), user: this.user, name: this.name };
    this.config.keep.put(kept, expires).catch(() => undefined); // then a reload means another login
  }

  cursor(at: bigint, fresh: boolean): void {
    if (fresh || at > this.me.cursor) {
      this.me = { ...this.me, cursor: at };
    }
    if (fresh) {
      this.config.world.fresh(at);
    }
  }

  live(session: Session): void {
    this.race?.stop();
    this.race = undefined;
    this.config.dialer.remember(session.connection.route);
    this.base = this.config.dialer.baseOf(session.connection.route);
    this.status.value = { phase: "online", transport: session.connection.route.transport };
    this.mover.watch(session);
    this.config.world.live();
    this.waiter?.resolve();
    this.waiter = undefined;
  }

  event(pdu: Pdu): void {
    this.config.world.event(pdu);
  }

  moved(endpoints: readonly string[]): void {
    if (endpoints.length > 0) {
      this.config.dialer.prefer(endpoints); // [TT-SESS-25]
    }
  }

  drain(drain: Drain): void {
    this.moved(drain.endpoints);
    this.mover.drain(drain.withinS);
  }

  stale(isStale: boolean): void {
    const status = this.status.value;
    if (status.phase === "online" && (status.stale ?? false) !== isStale) {
      const { stale: _, ...rest } = status;
      this.status.value = isStale ? { ...rest, stale: true } : rest;
    }
  }

  ended(session: Session, ending: Ending): void {
    if (session !== this.session) {
      return; // it was left
    }
    this.session = undefined;
    this.mover.stop();
    this.interrupted(session);
    if (session.since === 0 && (ending.kind === "silent" || ending.kind === "lost") && this.race) {
      this.unheard = Date.now();
      void this.nextRoute(this.race); // it opened, and nothing passes: the next may do better
      return;
    }
    if (ending.kind === "silent") {
      this.mover.distrust(); // or it would move back to what opens and then falls silent
      this.avoid = [session.connection.route];
    }
    this.judge(ending);
  }

  /** What an ending means [TT-SESS-22]. */
  private judge(ending: Ending): void {
    this.race?.stop();
    this.race = undefined;
    switch (ending.kind) {
      case "refused":
        void this.config.keep.drop().catch(() => undefined);
        this.stop("expired");
        return;
      case "credentials":
        this.fail("problem.badPassword", ending.text);
        return;
      case "bye":
        break;
      default:
        this.offline(ending.kind === "busy" ? "problem.unavailable" : "problem.closed", ending.retryAfter ?? 0);
        return;
    }
    const late = Date.now() - this.unheard < lateHello;
    if (ending.code === Code.KICKED) {
      void this.config.keep.drop().catch(() => undefined);
      this.stop("kicked");
    } else if (ending.code === Code.UNAUTHENTICATED) {
      if (this.login) {
        this.fail("problem.badPassword", ending.text);
      } else {
        void this.config.keep.drop().catch(() => undefined);
        this.stop("expired");
      }
    } else if (ending.code === Code.REPLACED && !late) {
      // Another window of this browser has taken the session over. To take it back at once would only be the same for that one.
      this.status.value = { phase: "offline", reason: keyOf(Code.REPLACED) };
    } else {
      this.offline(keyOf(ending.code ?? 0), ending.retryAfter ?? 0);
    }
  }

  /** Waits, and tries again. A login is not tried again: who asked for it is told. */
  private offline(reason: string, retryAfter: number): void {
    if (this.login) {
      this.fail(reason);
      return;
    }
    const wait = this.backoff.next(retryAfter);
    this.status.value = { phase: "offline", reason, retryAt: Date.now() + wait };
    clearTimeout(this.retry);
    this.retry = setTimeout(() => this.connect(), wait);
  }

  /** The login has failed. */
  private fail(key: string, text?: string): void {
    this.login = undefined;
    this.status.value = { phase: "out", reason: key };
    this.waiter?.reject(problem(key, text ? { text } : undefined));
    this.waiter = undefined;
  }

  private stop(why: NonNullable<Status["ended"]>): void {
    clearTimeout(this.retry);
    this.race?.stop();
    this.race = undefined;
    this.mover.stop();
    const session = this.session;
    this.session = undefined;
    session?.leave();
    this.calls.stop("problem.cancelled");
    this.outbox.clear();
    const wasIn = this.status.value.phase !== "out";
    this.status.value = wasIn ? { phase: "out", ended: why } : { phase: "out" };
    this.waiter?.reject(problem("problem.cancelled"));
    this.waiter = undefined;
    this.login = undefined;
    this.me = { device: "", cursor: 0n };
    this.user = 0;
    this.config.world.loggedOut();
  }
}
