// A server in memory, as far as clients can tell: one user's events in a log, resumed from cursors, messages stored once.

import { create, type DescMessage, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { IMAllUserRspSchema, IMDepartmentRspSchema, IMRecentContactSessionRspSchema } from "../../pb/IM.Buddy_pb";
import { IMFileHasOfflineRspSchema } from "../../pb/IM.File_pb";
import { IMGroupInfoListRspSchema, IMNormalGroupListRspSchema } from "../../pb/IM.Group_pb";
import { IMLoginReqSchema, IMLoginResSchema, IMLogoutRspSchema } from "../../pb/IM.Login_pb";
import {
  IMGetMsgListReqSchema,
  IMGetMsgListRspSchema,
  type IMMsgData,
  IMMsgDataAckSchema,
  IMMsgDataReadAckSchema,
  IMMsgDataSchema,
  IMUnreadMsgCntRspSchema,
} from "../../pb/IM.Message_pb";
import {
  ByeSchema,
  type Code,
  CredentialSchema,
  CursorSchema,
  type Hello,
  HelloSchema,
  Verdict,
  WelcomeSchema,
} from "../../pb/sessionpb/session_pb";
import type { TransportName } from "../api";
import { Base, type Opener, type Route } from "../net/connection";
import { toHex } from "../session/outbox";
import { Cmd } from "../wire/commands";
import { encryptText } from "../wire/crypt";
import { encode, type Pdu, split } from "../wire/pdu";

export const myId = 1;

/** The server's end of a connection. */
export class FakeConnection extends Base {
  isLive = false;
  isClosed = false;
  private readonly server: FakeServer;

  constructor(route: Route, server: FakeServer) {
    super(route);
    this.server = server;
  }

  waiting(): number {
    return 0;
  }

  send(bytes: Uint8Array<ArrayBuffer>): void {
    queueMicrotask(() => {
      for (const pdu of this.isClosed ? [] : split(bytes)) {
        this.server.took(this, pdu);
      }
    });
  }

  close(): void {
    this.ended = true;
    queueMicrotask(() => {
      this.isClosed = true;
    });
  }

  /** Sends a PDU to the client. */
  push<Desc extends DescMessage>(command: number, seq: number, schema: Desc, init: MessageInitShape<Desc>): void {
    this.pushRaw(command, seq, toBinary(schema, create(schema, init)));
  }

  pushRaw(command: number, seq: number, body: Uint8Array): void {
    const pdus = split(encode(command, seq, body));
    queueMicrotask(() => {
      if (!this.isClosed) {
        this.came(pdus);
      }
    });
  }

  bye(code: Code, retryAfterMs = 0): void {
    this.push(Cmd.bye, 0, ByeSchema, { code, retryAfterMs });
  }

  /** The network is gone: nothing arrives any more either way. */
  cut(): void {
    this.isClosed = true;
    this.isLive = false;
    this.broken("cut");
  }
}

interface Logged {
  index: bigint;
  command: number;
  body: Uint8Array;
}

export class FakeServer {
  readonly hellos: Hello[] = [];
  readonly opened: FakeConnection[] = [];
  /** Every 0x0301 that arrived, repeats included. */
  readonly sent: IMMsgData[] = [];
  readonly reads: { session: number; id: number }[] = [];
  readonly asked: number[] = []; // commands
  readonly messages: IMMsgData[] = [];
  password = "";
  /** What a HELLO with a token comes to. */
  verdict = Verdict.RESUMED;
  endpoints: string[] = [];
  /** A replay begins, and does not go on. */
  stalls = false;
  /** Opening a connection fails. */
  down = false;
  /** Messages are stored, and the ack is lost. */
  losesAcks = false;
  /** Asked first for each PDU; true: it has been dealt with. */
  intercept: (connection: FakeConnection, pdu: Pdu) => boolean = () => false;
  private readonly log: Logged[] = [];
  private readonly known = new Map<string, number>();

  get head(): bigint {
    return 100n + BigInt(this.log.length);
  }

  get current(): FakeConnection {
    const last = this.opened.at(-1);
    if (!last) {
      throw new Error("nobody has connected");
    }
    return last;
  }

  opener(_transport: TransportName): Opener {
    return async (route) => {
      if (this.down) {
        throw new Error("down");
      }
      const connection = new FakeConnection(route, this);
      this.opened.push(connection);
      return connection;
    };
  }

  took(c: FakeConnection, pdu: Pdu): void {
    this.asked.push(pdu.command);
    if (this.intercept(c, pdu)) {
      return;
    }
    switch (pdu.command) {
      case Cmd.hello:
        this.hello(c, fromBinary(HelloSchema, pdu.body));
        return;
      case Cmd.heartbeat:
        c.pushRaw(Cmd.heartbeat, pdu.seq, pdu.body);
        return;
      case Cmd.loginReq:
        this.login(c, pdu);
        return;
      case Cmd.logoutReq:
        c.push(Cmd.logoutRes, pdu.seq, IMLogoutRspSchema, { resultCode: 0 });
        return;
      case Cmd.message:
        this.store(c, pdu);
        return;
      case Cmd.readAck: {
        const m = fromBinary(IMMsgDataReadAckSchema, pdu.body);
        this.reads.push({ session: m.sessionId, id: m.msgId });
        return;
      }
      default:
        this.list(c, pdu);
    }
  }

  private hello(c: FakeConnection, hello: Hello): void {
    this.hellos.push(hello);
    const verdict =
      hello.resumeToken.length === 0 ? Verdict.LOGIN_NEEDED : hello.cursor > this.head ? Verdict.GAP : this.verdict;
    c.push(Cmd.welcome, 0, WelcomeSchema, {
      version: 1,
      verdict,
      cursor: this.head,
      heartbeatS: 30,
      node: "one",
      endpoints: this.endpoints,
    });
    if (verdict === Verdict.GAP) {
      this.goLive(c);
    } else if (verdict === Verdict.RESUMED && !this.stalls) {
      for (const e of this.log.filter((l) => l.index > hello.cursor)) {
        c.pushRaw(e.command, 0, e.body);
      }
      c.push(Cmd.cursor, 0, CursorSchema, { cursor: this.head });
      this.goLive(c);
    }
  }

  private login(c: FakeConnection, pdu: Pdu): void {
    const good = fromBinary(IMLoginReqSchema, pdu.body).password === this.password || this.password === "";
    const info = { ...person(myId, "me"), $typeName: "IM.BaseDefine.UserInfo" as const };
    c.push(Cmd.loginRes, pdu.seq, IMLoginResSchema, {
      serverTime: 1,
      resultCode: good ? 0 : 6,
      resultString: good ? "" : "no",
      ...(good && { userInfo: info, onlineStatus: 1 }),
    });
    if (good) {
      this.goLive(c);
    }
  }

  private goLive(c: FakeConnection): void {
    for (const other of this.opened) {
      other.isLive = false;
    }
    c.isLive = true;
    c.push(Cmd.credential, 0, CredentialSchema, { resumeToken: new Uint8Array([7]), expiresS: 600, cursor: this.head });
  }

  /** A message of somebody, or of me, happens. */
  happen(
    init: Partial<MessageInitShape<typeof IMMsgDataSchema>> & { fromUserId: number; toSessionId: number; text: string },
  ): IMMsgData {
    const { text, ...fields } = init;
    const m = create(IMMsgDataSchema, {
      msgId: this.messages.filter((x) => sameTalk(x, init)).length + 1,
      createTime: Math.floor(Date.now() / 1000),
      msgType: 1,
      msgData: encryptText(text),
      ...fields,
    } as MessageInitShape<typeof IMMsgDataSchema>);
    this.messages.push(m);
    this.event(Cmd.message, IMMsgDataSchema, m);
    return m;
  }

  /** Something durable happens. */
  event<Desc extends DescMessage>(command: number, schema: Desc, init: MessageInitShape<Desc>): void {
    const body = toBinary(schema, create(schema, init));
    this.log.push({ index: this.head + 1n, command, body });
    if (this.opened.at(-1)?.isLive) {
      this.current.pushRaw(command, 0, body);
    }
  }

  /** Says that everything so far was sent. */
  cursor(): void {
    this.current.push(Cmd.cursor, 0, CursorSchema, { cursor: this.head });
  }

  private store(c: FakeConnection, pdu: Pdu): void {
    const m = fromBinary(IMMsgDataSchema, pdu.body);
    this.sent.push(m);
    const id = toHex(m.clientMsgId);
    let msgId = this.known.get(id);
    if (msgId === undefined) {
      const stored = this.happen({ ...m, fromUserId: myId, text: "", ...numbered(this, m) });
      msgId = stored.msgId;
      this.known.set(id, msgId);
    }
    if (!this.losesAcks) {
      c.push(Cmd.messageAck, pdu.seq, IMMsgDataAckSchema, {
        userId: myId,
        sessionId: m.toSessionId,
        msgId,
        sessionType: 1,
        clientMsgId: m.clientMsgId,
        createTimeMs: BigInt(Date.now()),
      });
    }
  }

  private list(c: FakeConnection, pdu: Pdu): void {
    const answer = <D extends DescMessage>(command: number, schema: D, init: MessageInitShape<D>) =>
      c.push(command, pdu.seq, schema, init);
    switch (pdu.command) {
      case Cmd.allUsersReq:
        answer(Cmd.allUsersRes, IMAllUserRspSchema, {
          userId: myId,
          latestUpdateTime: 1,
          userList: [person(myId, "me"), person(2, "bo"), person(3, "cy")],
        } as MessageInitShape<typeof IMAllUserRspSchema>);
        return;
      case Cmd.departmentsReq:
        answer(Cmd.departmentsRes, IMDepartmentRspSchema, { userId: myId, latestUpdateTime: 1 });
        return;
      case Cmd.recentReq:
        answer(Cmd.recentRes, IMRecentContactSessionRspSchema, { userId: myId });
        return;
      case Cmd.unreadReq:
        answer(Cmd.unreadRes, IMUnreadMsgCntRspSchema, { userId: myId, totalCnt: 0 });
        return;
      case Cmd.normalGroupsReq:
        answer(Cmd.normalGroupsRes, IMNormalGroupListRspSchema, { userId: myId });
        return;
      case Cmd.groupsReq:
        answer(Cmd.groupsRes, IMGroupInfoListRspSchema, { userId: myId });
        return;
      case Cmd.offlineFilesReq:
        answer(Cmd.offlineFilesRes, IMFileHasOfflineRspSchema, { userId: myId });
        return;
      case Cmd.historyReq:
        this.history(c, pdu);
    }
  }

  private history(c: FakeConnection, pdu: Pdu): void {
    const ask = fromBinary(IMGetMsgListReqSchema, pdu.body);
    const of = { fromUserId: myId, toSessionId: ask.sessionId };
    const from = ask.msgIdBegin || Number.POSITIVE_INFINITY;
    const all = this.messages.filter((m) => sameTalk(m, of) && m.msgId <= from).reverse();
    c.push(Cmd.historyRes, pdu.seq, IMGetMsgListRspSchema, {
      userId: myId,
      sessionType: ask.sessionType,
      sessionId: ask.sessionId,
      msgIdBegin: ask.msgIdBegin,
      msgList: all.slice(0, ask.msgCnt).map((m) => ({
        $typeName: "IM.BaseDefine.MsgInfo" as const,
        msgId: m.msgId,
        fromSessionId: m.fromUserId,
        createTime: m.createTime,
        msgType: m.msgType,
        msgData: m.msgData,
        clientMsgId: m.clientMsgId,
        hubSeq: m.hubSeq,
      })),
    } as MessageInitShape<typeof IMGetMsgListRspSchema>);
  }
}

function numbered(server: FakeServer, m: IMMsgData): { msgId: number } {
  return {
    msgId: server.messages.filter((x) => sameTalk(x, { fromUserId: myId, toSessionId: m.toSessionId })).length + 1,
  };
}

function sameTalk(a: IMMsgData, b: { fromUserId: number; toSessionId: number }): boolean {
  const peer = (m: { fromUserId: number; toSessionId: number }) =>
    m.fromUserId === myId ? m.toSessionId : m.fromUserId;
  return peer(a) === peer(b);
}

export function person(userId: number, name: string) {
  return {
    $typeName: "IM.BaseDefine.UserInfo" as const,
    userId,
    userGender: 0,
    userNickName: name,
    avatarUrl: "",
    departmentId: 1,
    email: "",
    userRealName: name,
    userTel: "",
    userDomain: name,
    status: 0,
    signInfo: "",
    address: "",
    remote: false,
  };
}
