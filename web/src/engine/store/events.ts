// What the server pushes, applied to what is known. Everything here may come twice: after a break the server repeats from the last cursor on.

import { fromBinary } from "@bufbuild/protobuf";
import { DeletedSchema, MarkSchema, StateSchema } from "../../pb/chatpb/chat_pb";
import { GroupModifyType } from "../../pb/IM.BaseDefine_pb";
import {
  IMAllUserRspSchema,
  IMAvatarChangedNotifySchema,
  IMDepartmentRspSchema,
  IMRemoveSessionNotifySchema,
  IMSignInfoChangedNotifySchema,
  IMUserStatNotifySchema,
  IMUsersInfoRspSchema,
} from "../../pb/IM.Buddy_pb";
import { IMFileNotifySchema } from "../../pb/IM.File_pb";
import { IMGroupChangeMemberNotifySchema, IMGroupInfoListRspSchema } from "../../pb/IM.Group_pb";
import { IMMsgDataReadNotifySchema, IMMsgDataSchema } from "../../pb/IM.Message_pb";
import { IMP2PCmdMsgSchema } from "../../pb/IM.SwitchService_pb";
import { type Outbox, toHex } from "../session/outbox";
import { Cmd } from "../wire/commands";
import type { Pdu } from "../wire/pdu";
import type { Conversations } from "./conversations";
import { deliveryOf, isGroupMessage, keyOfSession, pushedEntry } from "./entry";
import type { OfflineFiles } from "./files";
import type { Groups } from "./groups";
import type { Lists } from "./lists";
import type { People } from "./people";

export interface EventsOf {
  people: People;
  groups: Groups;
  conversations: Conversations;
  files: OfflineFiles;
  lists: Lists;
  outbox: Outbox;
  me(): number;
}

export class Events {
  private readonly of: EventsOf;

  constructor(of: EventsOf) {
    this.of = of;
  }

  take(pdu: Pdu): void {
    const { people, groups, conversations } = this.of;
    switch (pdu.command) {
      case Cmd.message:
        this.message(pdu);
        return;
      case Cmd.readMoved: {
        const m = fromBinary(IMMsgDataReadNotifySchema, pdu.body);
        conversations.readMoved(keyOfSession(m.sessionType, m.sessionId), m.msgId);
        return;
      }
      case Cmd.sessionRemoved: {
        const m = fromBinary(IMRemoveSessionNotifySchema, pdu.body);
        conversations.removed(keyOfSession(m.sessionType, m.sessionId));
        return;
      }
      case Cmd.membersChanged:
        this.members(pdu);
        return;
      case Cmd.avatarChanged: {
        const m = fromBinary(IMAvatarChangedNotifySchema, pdu.body);
        people.setAvatar(m.changedUserId, m.avatarUrl);
        return;
      }
      case Cmd.signChanged: {
        const m = fromBinary(IMSignInfoChangedNotifySchema, pdu.body);
        people.change(m.changedUserId, { sign: m.signInfo });
        return;
      }
      case Cmd.presence: {
        const { userStat } = fromBinary(IMUserStatNotifySchema, pdu.body);
        people.presence(userStat ? [userStat] : []);
        return;
      }
      // The rest of lists that were too large for one PDU [TT-LIMIT-4].
      case Cmd.allUsersRes:
        people.put(fromBinary(IMAllUserRspSchema, pdu.body).userList);
        return;
      case Cmd.usersRes:
        people.put(fromBinary(IMUsersInfoRspSchema, pdu.body).userInfoList);
        return;
      case Cmd.departmentsRes:
        people.putDepartments(fromBinary(IMDepartmentRspSchema, pdu.body).deptList);
        return;
      case Cmd.groupsRes:
        groups.put(fromBinary(IMGroupInfoListRspSchema, pdu.body).groupInfoList);
        return;
      default:
        this.extended(pdu);
    }
  }

  private extended(pdu: Pdu): void {
    const { conversations } = this.of;
    switch (pdu.command) {
      case Cmd.deleted: {
        const m = fromBinary(DeletedSchema, pdu.body);
        const state = m.kind === 2 ? "burned" : "recalled";
        conversations.deleted(keyOfSession(m.sessionType, m.sessionId), m.msgId, state);
        return;
      }
      case Cmd.mark: {
        const m = fromBinary(MarkSchema, pdu.body);
        if (m.userId !== this.of.me()) {
          const key = keyOfSession(m.sessionType, m.sessionId);
          conversations.marked(key, m.userId, m.deliveredMsgId, m.readMsgId);
        }
        return;
      }
      case Cmd.state:
        this.state(pdu);
        return;
      case Cmd.fileNotify: {
        const m = fromBinary(IMFileNotifySchema, pdu.body);
        if (m.offlineReady === 1 && m.toUserId === this.of.me()) {
          this.of.files.put({ from: m.fromUserId, task: m.taskId, name: m.fileName, size: m.fileSize });
        }
        return;
      }
      case Cmd.p2p:
        this.signal(pdu);
    }
  }

  private message(pdu: Pdu): void {
    const m = fromBinary(IMMsgDataSchema, pdu.body);
    const me = this.of.me();
    const inGroup = isGroupMessage(m.msgType);
    const key = inGroup
      ? keyOfSession(2, m.toSessionId)
      : keyOfSession(1, m.fromUserId === me ? m.toSessionId : m.fromUserId);
    const entry = pushedEntry(m, me);
    if (entry.mine && m.clientMsgId.length > 0) {
      this.of.outbox.acked(toHex(m.clientMsgId), m.msgId, entry.time); // it serves as the ack [TT-SESS-13]
    }
    this.of.conversations.arrived(key, entry);
    this.of.lists.needPerson(m.fromUserId);
    if (inGroup) {
      this.of.lists.needGroup(m.toSessionId);
    } else {
      this.of.lists.needPerson(m.toSessionId);
    }
  }

  private members(pdu: Pdu): void {
    const m = fromBinary(IMGroupChangeMemberNotifySchema, pdu.body);
    const me = this.of.me();
    const added = m.changeType === GroupModifyType.ADD && m.chgUserIdList.includes(me);
    this.of.groups.change(m.groupId, { members: m.curUserIdList, gone: !m.curUserIdList.includes(me) });
    if (added) {
      this.of.lists.needGroup(m.groupId, true);
      this.of.conversations.wrote(keyOfSession(2, m.groupId), Date.now());
    }
    for (const id of m.curUserIdList) {
      this.of.lists.needPerson(id);
    }
  }

  /** What is known of a message on its way to other offices [TT-FED-4]. */
  private state(pdu: Pdu): void {
    const m = fromBinary(StateSchema, pdu.body);
    const key = keyOfSession(m.sessionType, m.sessionId);
    const talk = this.of.conversations.talk(key);
    const entry = talk.get(m.msgId);
    if (!entry?.mine) {
      return;
    }
    const { reason: _, ...rest } = entry;
    const delivery = entry.delivery === "read" ? entry.delivery : deliveryOf(m.state);
    const hubSeq = Number(m.hubSeq) || entry.hubSeq;
    const next = talk.change(entry, { ...rest, delivery, hubSeq, ...(m.reason && { reason: m.reason }) });
    this.of.conversations.altered(key, next);
  }

  /** Between clients: whether somebody writes, as JSON [TT-P2P-1]. */
  private signal(pdu: Pdu): void {
    const m = fromBinary(IMP2PCmdMsgSchema, pdu.body);
    if (m.fromUserId === this.of.me()) {
      return; // of another device of mine
    }
    const isWriting = typingSignal(m.cmdMsgData);
    if (isWriting !== undefined) {
      this.of.conversations.typing(keyOfSession(1, m.fromUserId), m.fromUserId, isWriting);
    }
  }
}

const typingService = 2;
const writing = 0x20001;
const stoppedWriting = 0x20002;

/** undefined: it is about something else. */
function typingSignal(text: string): boolean | undefined {
  try {
    const signal = JSON.parse(text) as { service_id?: unknown; cmd_id?: unknown } | null;
    if (signal?.service_id !== typingService) {
      return undefined;
    }
    return signal.cmd_id === writing ? true : signal.cmd_id === stoppedWriting ? false : undefined;
  } catch {
    return undefined;
  }
}

export function typingText(isWriting: boolean): string {
  return JSON.stringify({
    service_id: typingService,
    cmd_id: isWriting ? writing : stoppedWriting,
    content: isWriting ? "writing" : "stop writing",
  });
}
