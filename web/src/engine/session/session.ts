// One connection from HELLO to its end [TT-SESS-2] [TT-SESS-3].

import type { DescMessage, MessageInitShape } from "@bufbuild/protobuf";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { ClientType, ResultType, type UserInfo, UserStatType } from "../../pb/IM.BaseDefine_pb";
import { IMLoginReqSchema, IMLoginResSchema, IMLogoutReqSchema, IMLogoutRspSchema } from "../../pb/IM.Login_pb";
import { IMMsgDataAckSchema, IMMsgDataSchema } from "../../pb/IM.Message_pb";
import {
  AckSchema,
  ByeSchema,
  Code,
  CredentialSchema,
  CursorSchema,
  type Drain,
  DrainSchema,
  ErrorSchema,
  HelloSchema,
  QueueSchema,
  Verdict,
  type Welcome,
  WelcomeSchema,
} from "../../pb/sessionpb/session_pb";
import type { Connection } from "../net/connection";
import { isFinal } from "../problems";
import { Cmd, flagStale } from "../wire/commands";
import { encode, type Pdu } from "../wire/pdu";
import type { Call, Calls } from "./calls";
import { fromHex, type Outbox, type Parcel, toHex } from "./outbox";

/** What a HELLO says. */
export interface Identity {
  device: string;
  token?: Uint8Array;
  cursor: bigint;
}

/** Why a connection ended. */
export interface Ending {
  kind:
    | "lost" // the network
    | "silent" // it opened, and nothing passes
    | "bye" // by the server
    | "refused" // the token is no longer good, and there is no password
    | "credentials" // name or password are wrong
    | "busy" // the login can't be decided now
    | "left"; // from here
  code?: number;
  text?: string;
  retryAfter?: number;
}

/** Those who want to know what happens on a connection. */
export interface Host {
  readonly calls: Calls;
  readonly outbox: Outbox;
  identity(): Identity;
  /** Name and MD5 of the password; undefined: a resume is all that can be tried. */
  password(): { name: string; sum: string } | undefined;
  welcomed(welcome: Welcome): void;
  queued(position: number, eta: number): void;
  loggedIn(user: UserInfo): void;
  credential(token: Uint8Array, expires: number): void;
  /** Every event up to here has been handed out; fresh: nothing before it will be, the lists are to be fetched. */
  cursor(at: bigint, fresh: boolean): void;
  live(session: Session): void;
  event(pdu: Pdu): void;
  /** Where the cluster can be reached from now on; none: as before. */
  moved(endpoints: readonly string[]): void;
  drain(drain: Drain): void;
  stale(isStale: boolean): void;
  ended(session: Session, ending: Ending): void;
}

type State = "hello" | "login" | "credential" | "replay" | "live" | "ended";

const welcomeTime = 2_000; // [TT-SESS-23]
const answerTime = 20_000; // for a login without a word from the server
const echoTime = 15_000; // for a sign of life after a heartbeat
const proofTime = 3_000; // the same, when the network may have changed
const logoutTime = 3_000; // for the answer to a logout: a server waits 2 s for a leader before it says that there is none
const logoutAgain = 500; // before it is asked again
const logoutMost = 5_000; // for all of it: somebody waits to leave
const ackEvery = 1_000;
const sendMost = 512 << 10; // bytes that may wait in the browser

export class Session {
  readonly connection: Connection;
  /** Since when it is live, ms; 0: not yet. */
  since = 0;
  /** When anything but heartbeats went either way. */
  spoke = Date.now();
  private readonly host: Host;
  private state: State = "hello";
  private start = 0n; // cursor of the WELCOME of a gap
  private deadline: ReturnType<typeof setTimeout> | undefined;
  private tick: ReturnType<typeof setInterval> | undefined;
  private beat = { every: 30_000, sent: 0, within: echoTime, last: Date.now() };
  private seq = 0;
  private readonly asked = new Map<number, Call | Parcel>();
  private acked = 0n;
  private ackTimer: ReturnType<typeof setTimeout> | undefined;
  private leaveBy = 0; // when a logout is given up
  private readonly leavers: (() => void)[] = []; // who waits for a logout

  constructor(connection: Connection, host: Host) {
    this.connection = connection;
    this.host = host;
  }

  begin(): void {
    const { device, token, cursor } = this.host.identity();
    this.send(Cmd.hello, 1, HelloSchema, {
      version: 1,
      client: "teamtalk-web",
      clientVersion: __VERSION__,
      clientType: ClientType.WEB,
      deviceId: device,
      ...(token && { resumeToken: token, cursor }),
      capabilities: playable(),
    });
    this.within(welcomeTime, { kind: "silent" });
    this.connection.open({ pdu: (p) => this.took(p), lost: (text) => this.end({ kind: "lost", text }) });
    this.tick = setInterval(() => this.keepAlive(), 1_000);
  }

  get isLive(): boolean {
    return this.state === "live";
  }

  /** Nothing fails, and no message has to be sent again, if the connection ends now. */
  get isQuiet(): boolean {
    return this.isLive && this.host.outbox.underWay === 0 && this.host.calls.atStake === 0;
  }

  /** Sends what waits: messages first, those not acked on the former connection before all others. */
  fill(): void {
    while (this.isLive && this.connection.waiting() < sendMost) {
      const parcel = this.host.outbox.next();
      const call = parcel ? undefined : this.host.calls.next();
      if (parcel) {
        this.sendParcel(parcel);
      } else if (call) {
        this.put(call.command, this.number(call), call.body);
      } else {
        return;
      }
    }
  }

  /** Something that nobody answers. */
  say<Desc extends DescMessage>(command: number, schema: Desc, init: MessageInitShape<Desc>): void {
    if (this.isLive) {
      this.send(command, 0, schema, init);
    }
  }

  /** The path has to show that it works. */
  prove(): void {
    if (this.isLive) {
      this.sendBeat(proofTime);
    }
  }

  /** Ends the connection from here; the token stays good [TT-SESS-15]. */
  leave(): void {
    if (this.state !== "ended" && this.state !== "hello") {
      this.send(Cmd.bye, 0, ByeSchema, {});
    }
    this.end({ kind: "left" });
  }

  /** Logs out: the token is good no more, if the server agrees in time. Resolves when the connection has ended. */
  logout(): Promise<void> {
    return new Promise((resolve) => {
      this.leavers.push(resolve);
      if (this.leaveBy === 0) {
        this.leaveBy = Date.now() + logoutMost;
        this.askOut();
      }
    });
  }

  private askOut(): void {
    clearTimeout(this.deadline);
    this.deadline = setTimeout(() => this.leave(), Math.min(logoutTime, this.leaveBy - Date.now()));
    this.send(Cmd.logoutReq, this.number(undefined), IMLogoutReqSchema, {});
  }

  /** A result that is not 0: the token could not be revoked, as while there is no leader, and the session goes on [TT-SESS-7]. */
  private loggedOut(result: number): void {
    clearTimeout(this.deadline);
    if (result === 0) {
      this.end({ kind: "left" });
    } else if (Date.now() + logoutAgain < this.leaveBy) {
      this.deadline = setTimeout(() => this.askOut(), logoutAgain);
    } else {
      this.leave();
    }
  }

  private took(pdu: Pdu): void {
    if (this.state === "ended") {
      return;
    }
    if (pdu.command !== Cmd.heartbeat) {
      this.spoke = Date.now();
    }
    try {
      this.handle(pdu);
    } catch (error) {
      // A PDU that can't be read is passed over, as the server does [TT-FRAME-5].
      console.warn("unreadable", pdu.command.toString(16), error);
    }
  }

  private handle(pdu: Pdu): void {
    switch (pdu.command) {
      case Cmd.heartbeat:
        return;
      case Cmd.bye: {
        const bye = fromBinary(ByeSchema, pdu.body);
        this.end({ kind: "bye", code: bye.code, text: bye.message, retryAfter: bye.retryAfterMs });
        return;
      }
      case Cmd.kick:
        this.end({ kind: "bye", code: Code.KICKED });
        return;
      case Cmd.welcome:
        this.welcome(fromBinary(WelcomeSchema, pdu.body));
        return;
      case Cmd.loginRes:
      case Cmd.queue:
        this.handleLogin(pdu);
        return;
      case Cmd.credential:
        this.credential(pdu);
        return;
      case Cmd.cursor: {
        const { cursor, endpoints } = fromBinary(CursorSchema, pdu.body);
        this.host.cursor(cursor, false);
        this.host.moved(endpoints);
        this.ackLater(cursor);
        return;
      }
      case Cmd.drain:
        this.host.drain(fromBinary(DrainSchema, pdu.body));
        return;
      case Cmd.error:
        this.refused(pdu);
        return;
      case Cmd.logoutRes:
        this.loggedOut(fromBinary(IMLogoutRspSchema, pdu.body).resultCode);
        return;
      default:
        if (!this.answered(pdu)) {
          this.host.event(pdu);
        }
    }
  }

  private welcome(w: Welcome): void {
    if (this.state !== "hello") {
      return;
    }
    this.start = w.cursor;
    this.beat.every = (w.heartbeatS || 30) * 1_000;
    this.host.welcomed(w);
    switch (w.verdict) {
      case Verdict.RESUMED:
        this.state = "replay";
        clearTimeout(this.deadline);
        return;
      case Verdict.GAP:
        this.state = "credential";
        this.within(answerTime, { kind: "silent" });
        return;
      default:
        this.login(w.reason);
    }
  }

  private login(reason: string): void {
    const password = this.host.password();
    if (!password) {
      this.end({ kind: "refused", text: reason });
      return;
    }
    this.state = "login";
    this.send(Cmd.loginReq, this.number(undefined), IMLoginReqSchema, {
      userName: password.name,
      password: password.sum,
      onlineStatus: UserStatType.USER_STATUS_ONLINE,
      clientType: ClientType.WEB,
      clientVersion: `teamtalk-web/${__VERSION__}`,
    });
    this.within(answerTime, { kind: "silent" });
  }

  private handleLogin(pdu: Pdu): void {
    if (this.state !== "login") {
      return;
    }
    if (pdu.command === Cmd.queue) {
      const q = fromBinary(QueueSchema, pdu.body);
      clearTimeout(this.deadline); // from now on heartbeats tell whether it goes on [TT-QUEUE-2]
      this.host.queued(Math.max(1, q.position), q.etaS);
      return;
    }
    const answer = fromBinary(IMLoginResSchema, pdu.body);
    if (answer.resultCode === ResultType.REFUSE_REASON_DB_VALIDATE_FAILED) {
      this.end({ kind: "credentials", text: answer.resultString });
    } else if (answer.resultCode !== ResultType.REFUSE_REASON_NONE || !answer.userInfo) {
      this.end({ kind: "busy", text: answer.resultString });
    } else {
      this.host.loggedIn(answer.userInfo);
      this.state = "credential";
      this.start = 0n;
      this.within(answerTime, { kind: "silent" });
    }
  }

  private credential(pdu: Pdu): void {
    if (this.leaveBy > 0) {
      return; // what was kept has been dropped: not to be kept anew
    }
    const c = fromBinary(CredentialSchema, pdu.body);
    this.host.credential(c.resumeToken, c.expiresS);
    if (this.state === "credential") {
      this.host.cursor(this.start || c.cursor, true);
    }
    if (this.state === "credential" || this.state === "replay") {
      this.goLive();
    }
  }

  private goLive(): void {
    clearTimeout(this.deadline);
    this.state = "live";
    this.since = Date.now();
    this.host.live(this);
    this.fill();
  }

  /** Hands an answer to who asked. */
  private answered(pdu: Pdu): boolean {
    if (pdu.command === Cmd.messageAck) {
      const ack = fromBinary(IMMsgDataAckSchema, pdu.body);
      const asked = this.asked.get(pdu.seq);
      this.asked.delete(pdu.seq);
      // What the server says it has stored, whatever it was the answer to.
      const id = ack.clientMsgId?.length ? toHex(ack.clientMsgId) : asked && "id" in asked ? asked.id : "";
      this.host.stale(false);
      this.host.outbox.acked(id, ack.msgId, Number(ack.createTimeMs) || Date.now());
      return true;
    }
    const call = pdu.seq === 0 ? undefined : this.asked.get(pdu.seq);
    if (!call || !("settle" in call) || call.answer !== pdu.command) {
      return false;
    }
    this.asked.delete(pdu.seq);
    this.host.stale((pdu.flag & flagStale) !== 0);
    call.settle(pdu);
    return true;
  }

  /** An ERROR: the legacy protocol is silent there [TT-SESS-14]. */
  private refused(pdu: Pdu): void {
    const e = fromBinary(ErrorSchema, pdu.body);
    const asked = this.asked.get(e.seq);
    this.asked.delete(e.seq);
    if (this.state !== "live") {
      this.end({ kind: "bye", code: e.code, text: e.message, retryAfter: e.retryAfterMs });
    } else if (asked && "settle" in asked) {
      this.host.calls.refused(asked, e.code, e.message);
    } else if (asked && isFinal(e.code)) {
      this.host.outbox.refused(asked.id, e.code);
    } else if (asked) {
      this.host.stale(e.code === Code.UNAVAILABLE);
      this.host.outbox.putOff(asked.id, e.retryAfterMs);
    }
  }

  private sendParcel(p: Parcel): void {
    this.send(Cmd.message, this.number(p), IMMsgDataSchema, {
      fromUserId: 0,
      toSessionId: p.to,
      msgId: 0,
      createTime: 0,
      msgType: p.type,
      msgData: p.data,
      clientMsgId: fromHex(p.id),
      ...(p.contentType && { contentType: p.contentType }),
      ...(p.replyTo && { replyToMsgId: p.replyTo }),
      ...(p.burnSeconds && { burnAfterReadS: p.burnSeconds }),
    });
  }

  private send<Desc extends DescMessage>(cmd: number, seq: number, schema: Desc, init: MessageInitShape<Desc>): void {
    this.put(cmd, seq, toBinary(schema, create(schema, init)));
  }

  private put(command: number, seq: number, body: Uint8Array): void {
    if (command !== Cmd.heartbeat) {
      this.spoke = Date.now();
    }
    this.connection.send(encode(command, seq, body));
  }

  /** A sequence number that nothing outstanding has; never 0, which pushes have [TT-SEQ-2]. */
  private number(of: Call | Parcel | undefined): number {
    do {
      this.seq = (this.seq % 0xffff) + 1;
    } while (this.asked.has(this.seq));
    if (of) {
      this.asked.set(this.seq, of);
    }
    return this.seq;
  }

  /** Tells how far things are safe here, for the authors' delivered marks [TT-SESS-17]. */
  private ackLater(cursor: bigint): void {
    if (cursor <= this.acked) {
      return;
    }
    this.acked = cursor;
    this.ackTimer ??= setTimeout(() => {
      this.ackTimer = undefined;
      this.say(Cmd.ack, AckSchema, { cursor: this.acked });
    }, ackEvery);
  }

  private keepAlive(): void {
    const now = Date.now();
    if (this.beat.sent > 0 && this.connection.heard() >= this.beat.sent) {
      this.beat.sent = 0;
    }
    if (this.beat.sent > 0 && now - this.beat.sent >= this.beat.within) {
      this.end({ kind: "silent" });
    } else if (this.state === "replay" && now - this.spoke >= 2 * this.beat.every) {
      this.end({ kind: "silent" }); // heartbeats are answered, and the replay does not go on
    } else if (this.beat.sent === 0 && this.state !== "hello" && now - this.beat.last >= this.beat.every) {
      this.sendBeat(echoTime);
    }
    this.fill(); // what did not fit before
  }

  private sendBeat(within: number): void {
    this.put(Cmd.heartbeat, this.number(undefined), new Uint8Array(0));
    this.beat.last = Date.now();
    this.beat.sent = this.beat.last;
    this.beat.within = within;
  }

  private within(time: number, ending: Ending): void {
    clearTimeout(this.deadline);
    this.deadline = setTimeout(() => this.end(ending), time);
  }

  private end(ending: Ending): void {
    if (this.state === "ended") {
      return;
    }
    this.state = "ended";
    clearTimeout(this.deadline);
    clearTimeout(this.ackTimer);
    clearInterval(this.tick);
    this.connection.close();
    this.host.ended(this, ending);
    for (const resolve of this.leavers) {
      resolve();
    }
  }
}

/** The kinds of voice messages that this browser plays: of others it gets the text with a link. */
function playable(): string[] {
  if (typeof Audio === "undefined") {
    return [];
  }
  const audio = new Audio();
  const kinds = ["audio/webm;codecs=opus", "audio/ogg;codecs=opus", "audio/mp4", "audio/mpeg"];
  return kinds.filter((kind) => audio.canPlayType(kind) !== "").map((kind) => `plays=${kind}`);
}
