import { fromBinary } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { DeletedSchema, StateSchema } from "../../pb/chatpb/chat_pb";
import { UserStatType } from "../../pb/IM.BaseDefine_pb";
import {
  IMRecentContactSessionRspSchema,
  IMUserStatNotifySchema,
  IMUsersStatReqSchema,
  IMUsersStatRspSchema,
} from "../../pb/IM.Buddy_pb";
import { IMGroupChangeMemberNotifySchema } from "../../pb/IM.Group_pb";
import { IMMsgDataReadNotifySchema, IMUnreadMsgCntRspSchema } from "../../pb/IM.Message_pb";
import { IMP2PCmdMsgSchema } from "../../pb/IM.SwitchService_pb";
import type { Message } from "../api";
import { myId } from "../testing/fakeserver";
import { loggedIn, makeWorld, pass } from "../testing/world";
import { Cmd } from "../wire/commands";
import { encryptText } from "../wire/crypt";
import { typingText } from "./events";

const stat = "IM.BaseDefine.UserStat" as const;

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

test("messages of others are unread, news and listed; one's own from another device are not", async () => {
  const { server, engine } = await loggedIn();
  const news: Message[] = [];
  engine.onMessage((_, m) => news.push(m));
  server.happen({ fromUserId: 2, toSessionId: myId, text: "hi" });
  server.happen({ fromUserId: myId, toSessionId: 3, text: "from my phone" });
  await pass();
  expect(engine.conversations.value.map((c) => [c.key, c.title, c.unread, c.last?.plain])).toEqual([
    ["u2", "bo", 1, "hi"],
    ["u3", "cy", 0, "from my phone"],
  ]);
  expect(news.map((m) => m.plain)).toEqual(["hi"]);
  expect(engine.unread.value).toBe(1);
});

test("reading elsewhere counts here [TT-MSG-9]", async () => {
  const { server, engine } = await loggedIn();
  for (const text of ["a", "b", "c"]) {
    server.happen({ fromUserId: 2, toSessionId: myId, text });
  }
  engine.timeline("u2");
  await pass();
  expect(engine.unread.value).toBe(3);
  server.event(Cmd.readMoved, IMMsgDataReadNotifySchema, { userId: myId, sessionId: 2, msgId: 2, sessionType: 1 });
  await pass();
  expect(engine.unread.value).toBe(1);
});

test("the lists say what was before, and what happens meanwhile is counted once", async () => {
  const { server, engine } = makeWorld();
  const latest = { latestMsgId: 5, latestMsgData: encryptText("five"), latestMsgType: 1, latestMsgFromUserId: 2 };
  server.intercept = (c, pdu) => {
    if (pdu.command === Cmd.unreadReq) {
      const row = {
        $typeName: "IM.BaseDefine.UnreadInfo" as const,
        sessionId: 2,
        sessionType: 1,
        unreadCnt: 2,
        ...latest,
      };
      c.push(Cmd.unreadRes, pdu.seq, IMUnreadMsgCntRspSchema, { userId: myId, totalCnt: 2, unreadinfoList: [row] });
    } else if (pdu.command === Cmd.recentReq) {
      const row = { sessionId: 2, sessionType: 1, sessionStatus: 0, updatedTime: 77, ...latest };
      const contactSessionList = [{ $typeName: "IM.BaseDefine.ContactSessionInfo" as const, ...row }];
      c.push(Cmd.recentRes, pdu.seq, IMRecentContactSessionRspSchema, { userId: myId, contactSessionList });
    } else {
      return false;
    }
    if (pdu.command === Cmd.recentReq) {
      for (const msgId of [5, 6]) {
        server.happen({ fromUserId: 2, toSessionId: myId, msgId, text: `${msgId}` });
      }
    }
    return true;
  };
  await Promise.all([engine.login("me", "secret"), pass(100)]);
  expect(engine.conversations.value.map((c) => [c.key, c.unread, c.last?.plain])).toEqual([["u2", 3, "6"]]);
});

test("what is on screen is no news", async () => {
  const { server, engine } = await loggedIn();
  const news: Message[] = [];
  engine.onMessage((_, m) => news.push(m));
  engine.show("u2");
  await pass();
  server.happen({ fromUserId: 2, toSessionId: myId, text: "hi" });
  await pass();
  expect([news.length, engine.unread.value]).toEqual([0, 0]);
  engine.show(undefined);
  server.happen({ fromUserId: 2, toSessionId: myId, text: "there?" });
  await pass();
  expect([news.length, engine.unread.value]).toEqual([1, 1]);
});

test("typing is told, and forgotten [TT-P2P-1]", async () => {
  const { server, engine } = await loggedIn();
  server.happen({ fromUserId: 2, toSessionId: myId, text: "hi" });
  const signal = (cmdMsgData: string) =>
    server.current.push(Cmd.p2p, 0, IMP2PCmdMsgSchema, { fromUserId: 2, toUserId: myId, cmdMsgData });
  signal(typingText(true));
  await pass();
  expect(engine.conversations.value[0]?.typing).toEqual([2]);
  signal(typingText(false));
  await pass();
  expect(engine.conversations.value[0]?.typing).toEqual([]);
  signal(typingText(true));
  signal("no json");
  await pass(11_000);
  expect(engine.conversations.value[0]?.typing).toEqual([]);
  for (let i = 0; i < 5; i++) {
    engine.typing("u2", true);
  }
  engine.typing("u2", false);
  engine.typing("u2", false);
  await pass();
  expect(server.asked.filter((c) => c === Cmd.p2p).length).toBe(2);
});

test("a deletion reaches the list, too [TT-DEL-6]", async () => {
  const { server, engine } = await loggedIn();
  server.happen({ fromUserId: 2, toSessionId: myId, text: "secret" });
  server.event(Cmd.deleted, DeletedSchema, { sessionType: 1, sessionId: 2, msgId: 1, kind: 1, byUserId: 2 });
  await pass();
  expect(engine.conversations.value[0]).toMatchObject({ unread: 1, last: { plain: "", state: "recalled" } });
});

test("STATE tells of a message on its way to another office [TT-FED-4]", async () => {
  const { server, engine } = await loggedIn();
  const remote = "u1073741825" as const;
  await engine.send(remote, { text: "far" });
  await pass();
  const state = async (value: number, reason = "") => {
    const session = { sessionType: 1, sessionId: 0x40000001, msgId: 1 };
    server.event(Cmd.state, StateSchema, { ...session, state: value, reason, hubSeq: 0n });
    await pass();
    return engine.timeline(remote).messages.value[0];
  };
  expect(await state(1)).toMatchObject({ delivery: "pending" });
  expect(await state(2)).toMatchObject({ delivery: "delayed" });
  expect(await state(4, "no such person")).toMatchObject({ delivery: "undeliverable", reason: "no such person" });
  expect(engine.conversations.value[0]?.remote).toBe(true);
});

test("leaving a group shows", async () => {
  const { server, engine } = await loggedIn();
  server.event(Cmd.membersChanged, IMGroupChangeMemberNotifySchema, {
    userId: 2,
    changeType: 1,
    groupId: 9,
    curUserIdList: [myId, 2],
    chgUserIdList: [myId],
  });
  await pass(100);
  expect(engine.conversations.value.map((c) => c.key)).toEqual(["g9"]);
  expect(server.asked.filter((c) => c === Cmd.groupsReq).length).toBe(1); // its name is asked for
});

test("presence is followed, across breaks, also of people who are not known yet [TT-SESS-10]", async () => {
  const { server, engine } = makeWorld();
  server.intercept = (c, pdu) => {
    if (pdu.command === Cmd.presenceReq) {
      const { userIdList } = fromBinary(IMUsersStatReqSchema, pdu.body);
      const stats = userIdList.map((userId) => ({ $typeName: stat, userId, status: UserStatType.USER_STATUS_ONLINE }));
      c.push(Cmd.presenceRes, pdu.seq, IMUsersStatRspSchema, { userId: myId, userStatList: stats });
      return true;
    }
    return false;
  };
  const done = engine.login("me", "secret");
  engine.watch([2]);
  await pass();
  await done;
  await pass();
  const presence = (id: number) => engine.people.value.get(id)?.presence;
  expect([presence(2), presence(3)]).toEqual(["online", "unknown"]);
  engine.watch([2, 3]);
  await pass();
  expect(presence(3)).toBe("online");
  expect(server.asked.filter((c) => c === Cmd.presenceReq).length).toBe(2); // nobody is asked for twice
  server.current.push(Cmd.presence, 0, IMUserStatNotifySchema, {
    userStat: { $typeName: stat, userId: 2, status: UserStatType.USER_STATUS_OFFLINE },
  });
  await pass();
  expect(presence(2)).toBe("offline");
  server.current.cut();
  await pass(0);
  expect([presence(2), presence(3)]).toEqual(["unknown", "unknown"]);
  await pass(2_000);
  expect([presence(2), presence(3)]).toEqual(["online", "online"]);
});

test("drafts stay with their conversation", async () => {
  const { engine } = await loggedIn();
  await engine.send("u2", { text: "x" });
  engine.saveDraft("u2", "half a thought");
  await pass();
  expect(engine.conversations.value[0]?.draft).toBe("half a thought");
  engine.saveDraft("u2", "");
  await pass();
  expect(engine.conversations.value[0]?.draft).toBe("");
});
