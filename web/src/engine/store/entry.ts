// Messages as they are kept: what the user interface sees, and what else the order needs.

import { type MsgInfo, MsgType } from "../../pb/IM.BaseDefine_pb";
import type { IMMsgData } from "../../pb/IM.Message_pb";
import type { ConversationKey, Delivery, Message, Part } from "../api";
import { partsOf, plainOf, speexPart } from "../media/forms";
import { toHex } from "../session/outbox";
import { decryptText } from "../wire/crypt";

export interface Entry extends Message {
  hubSeq: number; // place in a group of several offices; 0: none, or not known
}

export const single = 1;
export const group = 2;

export function keyOfSession(type: number, id: number): ConversationKey {
  return type === group ? `g${id}` : `u${id}`;
}

export function sessionOfKey(key: ConversationKey): { type: typeof single | typeof group; id: number } {
  return { type: key.startsWith("g") ? group : single, id: Number(key.slice(1)) };
}

export function isGroupMessage(type: MsgType): boolean {
  return (type & 0x10) !== 0;
}

function isAudio(type: MsgType): boolean {
  return type === MsgType.SINGLE_AUDIO || type === MsgType.GROUP_AUDIO;
}

/** What the data of a message shows. Lists have a text in the place of audio. */
export function readData(data: Uint8Array, type: MsgType, contentType: string | undefined, listed = false): Part[] {
  if (isAudio(type) && !listed) {
    return [speexPart(data)];
  }
  const text = decryptText(data) ?? new TextDecoder().decode(data); // not encrypted: passed on like any other
  return partsOf(text, contentType);
}

interface Common {
  id: number;
  from: number;
  time: number;
  type: MsgType;
  data: Uint8Array;
  clientId: Uint8Array;
  contentType: string;
  replyTo: number;
  burnSeconds: number;
  fromAddress: string;
  hubSeq: number;
  state: number;
}

/** A message that was pushed. */
export function pushedEntry(m: IMMsgData, me: number): Entry {
  return makeEntry(
    {
      id: m.msgId,
      from: m.fromUserId,
      time: Number(m.createTimeMs) || m.createTime * 1000,
      type: m.msgType,
      data: m.msgData,
      clientId: m.clientMsgId,
      contentType: m.contentType,
      replyTo: m.replyToMsgId,
      burnSeconds: m.burnAfterReadS,
      fromAddress: m.fromAddress,
      hubSeq: Number(m.hubSeq),
      state: 0,
    },
    me,
  );
}

const deliveries: readonly Delivery[] = ["sent", "pending", "delayed", "delivered", "undeliverable"];

/** What a STATE, or the histories, say of a message on its way to other offices [TT-FED-4]. */
export function deliveryOf(state: number): Delivery {
  return deliveries[state] ?? "sent";
}

/** A message of a history. */
export function listedEntry(m: MsgInfo, me: number): Entry {
  const entry = makeEntry(
    {
      id: m.msgId,
      from: m.fromSessionId,
      time: Number(m.createTimeMs) || m.createTime * 1000,
      type: m.msgType,
      data: m.msgData,
      clientId: m.clientMsgId,
      contentType: m.contentType,
      replyTo: m.replyToMsgId,
      burnSeconds: m.burnAfterReadS,
      fromAddress: m.fromAddress,
      hubSeq: Number(m.hubSeq),
      state: m.state,
    },
    me,
  );
  return entry.mine ? { ...entry, delivery: deliveryOf(m.delivery) } : entry;
}

function makeEntry(c: Common, me: number): Entry {
  const mine = c.from === me;
  // No client can send a message without data: it is one whose content has gone [TT-DEL-4].
  const gone = c.state !== 0 || c.data.length === 0;
  const parts = gone ? [] : readData(c.data, c.type, c.contentType);
  return {
    key: mine && c.clientId.length === 16 ? `c${toHex(c.clientId)}` : `#${c.id}`,
    id: c.id,
    order: c.id,
    from: c.from,
    mine,
    time: c.time,
    parts,
    plain: plainOf(parts),
    state: !gone ? "live" : c.state === 2 || (c.state === 0 && c.burnSeconds > 0) ? "burned" : "recalled",
    hubSeq: c.hubSeq,
    ...(mine && { delivery: "sent" as const }),
    ...(c.replyTo && { replyTo: c.replyTo }),
    ...(c.burnSeconds && { burnSeconds: c.burnSeconds }),
    ...(c.fromAddress && { fromAddress: c.fromAddress }),
  };
}
