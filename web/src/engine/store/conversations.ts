// The list of conversations: what is last in each, and what of it is unread.

import { computed, signal } from "@preact/signals";
import type { ContactSessionInfo, UnreadInfo } from "../../pb/IM.BaseDefine_pb";
import type { Conversation, ConversationKey, Message } from "../api";
import type { MarksKeeper } from "../local/marks";
import { plainOf } from "../media/forms";
import type { Shelf } from "../net/dialer";
import type { Batch } from "./batch";
import { type Entry, keyOfSession, readData, sessionOfKey } from "./entry";
import type { Groups } from "./groups";
import { firstRemote, type People } from "./people";
import { type History, Talk } from "./talk";

const typingTime = 10_000;
/** Older messages are no news, even if they come just now. */
const newsTime = 300_000;

interface Row {
  key: ConversationKey;
  talk: Talk;
  listed: boolean;
  lastId: number;
  last?: Message;
  lastTime: number;
  unread: number;
  myRead: number; // up to where I have read, as far as it is known here
  toldRead: number; // what the server has confirmed of it
  typing: Map<number, ReturnType<typeof setTimeout>>;
  view?: Conversation;
}

type Latest = Pick<ContactSessionInfo, "latestMsgId" | "latestMsgData" | "latestMsgType" | "latestMsgFromUserId">;

export interface Surroundings {
  people: People;
  groups: Groups;
  batch: Batch;
  history: History;
  drafts: Shelf;
  marks: MarksKeeper;
  me(): number;
  /** I have read up to here: the server is to know. */
  tellRead(key: ConversationKey, upTo: number): void;
}

export class Conversations {
  readonly all = signal<readonly Conversation[]>([]);
  readonly unread = computed(() => this.all.value.reduce((sum, c) => sum + (c.muted ? 0 : c.unread), 0));
  readonly listeners = new Set<(c: Conversation, m: Message) => void>();
  private readonly rows = new Map<ConversationKey, Row>();
  private readonly at: Surroundings;
  private shown: ConversationKey | undefined;
  private readonly publish = () => {
    const listed: Conversation[] = [];
    for (const row of this.rows.values()) {
      if (row.listed) {
        row.view ??= this.viewOf(row);
        listed.push(row.view);
      }
    }
    this.all.value = listed.sort((a, b) => b.lastTime - a.lastTime || (a.key < b.key ? -1 : 1));
  };

  constructor(surroundings: Surroundings) {
    this.at = surroundings;
    this.at.marks.loaded = (key, marks) => this.rows.get(key)?.talk.restore(marks);
  }

  talk(key: ConversationKey): Talk {
    return this.row(key).talk;
  }

  /** Names have changed: of the rows that show them. */
  renamed(): void {
    for (const row of this.rows.values()) {
      if (row.view && this.titleOf(row) !== row.view.title) {
        this.touch(row);
      }
    }
  }

  /** A group's settings have changed. */
  changed(key: ConversationKey): void {
    const row = this.rows.get(key);
    if (row) {
      this.touch(row);
    }
  }

  // Lists.

  /** The lists as they are now, after a login or a gap. What happened since they were asked for is newer. */
  refresh(recent: readonly ContactSessionInfo[], unread: readonly UnreadInfo[]): void {
    for (const row of this.rows.values()) {
      row.listed = row.lastId > 0 || row.talk.hasUnsent;
      this.touch(row);
    }
    const counts = new Map(unread.map((u) => [keyOfSession(u.sessionType, u.sessionId), u]));
    for (const r of recent) {
      const key = keyOfSession(r.sessionType, r.sessionId);
      this.summarize(key, r, r.updatedTime * 1_000, counts.get(key)?.unreadCnt ?? 0);
      counts.delete(key);
    }
    for (const [key, u] of counts) {
      this.summarize(key, u, 0, u.unreadCnt);
    }
    for (const { talk } of this.rows.values()) {
      if (talk.isWatched) {
        talk.load().catch(() => undefined); // its older() says what is wrong
      }
    }
    this.showAgain();
  }

  /** What is known of messages is of the past. */
  resetTalks(): void {
    for (const row of this.rows.values()) {
      row.talk.reset();
      this.restoreMarks(row);
      row.lastId = 0;
      row.unread = 0;
      row.myRead = 0;
      row.toldRead = 0;
    }
  }

  private summarize(key: ConversationKey, l: Latest, time: number, unread: number): void {
    const row = this.row(key);
    row.listed = true;
    this.touch(row);
    if (row.lastId > l.latestMsgId) {
      row.unread = unread + Math.min(row.unread, row.lastId - l.latestMsgId);
      return;
    }
    row.unread = unread;
    row.lastTime = time || row.lastTime;
    row.lastId = l.latestMsgId;
    const parts = readData(l.latestMsgData, l.latestMsgType, undefined, true);
    row.last = {
      key: `#${l.latestMsgId}`,
      id: l.latestMsgId,
      order: l.latestMsgId,
      from: l.latestMsgFromUserId,
      mine: l.latestMsgFromUserId === this.at.me(),
      time: row.lastTime,
      parts,
      plain: plainOf(parts),
      state: parts.length > 0 ? "live" : "recalled",
    };
  }

  // What happens.

  arrived(key: ConversationKey, entry: Entry): void {
    const row = this.row(key);
    row.talk.arrive(entry);
    if (entry.id <= row.lastId) {
      return;
    }
    row.lastId = entry.id;
    row.last = row.talk.get(entry.id) ?? entry;
    row.lastTime = Math.max(entry.time, row.lastTime);
    row.listed = true;
    this.stopTyping(row, entry.from);
    this.touch(row);
    if (entry.mine) {
      row.unread = key.startsWith("g") ? 0 : row.unread;
      return;
    }
    row.unread++;
    if (this.shown === key) {
      this.markRead(row);
    } else {
      this.announce(row, row.last);
    }
  }

  /** Something of a conversation has changed that its summary may show. */
  altered(key: ConversationKey, entry: Entry | undefined): void {
    const row = this.rows.get(key);
    if (row && entry && row.last?.id === entry.id && entry.id > 0) {
      row.last = entry;
      this.touch(row);
    }
  }

  /** Somebody has read, or his devices have got, messages up to some. */
  marked(key: ConversationKey, user: number, delivered: number, read: number): void {
    const { talk } = this.row(key);
    if (talk.mark(user, delivered, read)) {
      this.at.marks.put(key, talk.marks);
    }
    this.altered(key, talk.last);
  }

  private restoreMarks(row: Row): void {
    const marks = this.at.marks.get(row.key);
    if (marks) {
      row.talk.restore(marks);
    }
  }

  /** A message was deleted that is not there, but may be what the summary shows. */
  deleted(key: ConversationKey, id: number, state: "recalled" | "burned"): void {
    const row = this.rows.get(key);
    if (!row) {
      return;
    }
    const entry = row.talk.deleted(id, state);
    if (row.last?.id === id) {
      row.last = entry ?? { ...row.last, parts: [], plain: "", state };
      this.touch(row);
    }
  }

  /** One's own message is stored; its event is still to come. */
  stored(key: ConversationKey, entry: Entry): void {
    const row = this.row(key);
    if (entry.id > row.lastId) {
      row.last = entry;
      this.touch(row);
    }
  }

  /** Something came that is no message: a file. */
  noticed(key: ConversationKey, entry: Entry): void {
    this.wrote(key, entry.time);
    if (this.shown !== key) {
      this.announce(this.row(key), entry);
    }
  }

  /** I have written: it is listed at once. */
  wrote(key: ConversationKey, time: number): void {
    const row = this.row(key);
    row.listed = true;
    row.lastTime = Math.max(row.lastTime, time);
    this.touch(row);
  }

  readMoved(key: ConversationKey, upTo: number): void {
    const row = this.rows.get(key);
    if (!row) {
      return;
    }
    row.toldRead = Math.max(row.toldRead, upTo);
    if (upTo <= row.myRead) {
      return;
    }
    row.myRead = upTo;
    row.unread = upTo >= row.lastId ? 0 : Math.min(row.unread, row.talk.unreadAfter(upTo) ?? row.lastId - upTo);
    row.talk.readByMe(upTo);
    this.touch(row);
  }

  removed(key: ConversationKey): void {
    const row = this.rows.get(key);
    if (row) {
      row.listed = false;
      row.unread = 0;
      this.touch(row);
    }
  }

  typing(key: ConversationKey, user: number, writing: boolean): void {
    const row = this.rows.get(key);
    if (!row) {
      return;
    }
    this.stopTyping(row, user);
    if (writing) {
      const timer = setTimeout(() => this.typing(key, user, false), typingTime);
      row.typing.set(user, timer);
    }
    this.touch(row);
  }

  // What the user does.

  show(key: ConversationKey | undefined): void {
    this.shown = key;
    this.showAgain();
  }

  private showAgain(): void {
    if (this.shown) {
      const row = this.row(this.shown);
      // The place of the first unread message is found before they are marked as read.
      row.talk.load().then(
        () => {
          if (this.shown === row.key) {
            this.markRead(row);
          }
        },
        () => undefined, // the timeline says so when it is asked
      );
    }
  }

  /** What the server may not know yet of what was read. */
  tellAgain(): void {
    for (const row of this.rows.values()) {
      if (row.myRead > row.toldRead) {
        this.at.tellRead(row.key, row.myRead);
      }
    }
  }

  saveDraft(key: ConversationKey, text: string): void {
    const row = this.row(key);
    if (text === "") {
      this.at.drafts.removeItem(this.draftKey(key));
    } else {
      this.at.drafts.setItem(this.draftKey(key), text);
    }
    this.touch(row);
  }

  clear(): void {
    for (const row of this.rows.values()) {
      for (const timer of row.typing.values()) {
        clearTimeout(timer);
      }
      row.talk.reset();
    }
    this.rows.clear();
    this.shown = undefined;
    this.publish();
  }

  private markRead(row: Row): void {
    if (row.lastId <= row.myRead && row.unread === 0) {
      return;
    }
    row.myRead = Math.max(row.myRead, row.lastId);
    row.unread = 0;
    row.talk.readByMe(row.myRead);
    this.at.tellRead(row.key, row.myRead);
    this.touch(row);
  }

  private announce(row: Row, message: Message): void {
    if (Date.now() - message.time > newsTime) {
      return;
    }
    const view = this.viewOf(row);
    if (!view.muted) {
      for (const listener of this.listeners) {
        listener(view, message);
      }
    }
  }

  private stopTyping(row: Row, user: number): void {
    clearTimeout(row.typing.get(user));
    row.typing.delete(user);
  }

  private row(key: ConversationKey): Row {
    let row = this.rows.get(key);
    if (!row) {
      const talk = new Talk(key, this.at.history, this.at.batch);
      const made: Row = {
        key,
        talk,
        listed: false,
        lastId: 0,
        lastTime: 0,
        unread: 0,
        myRead: 0,
        toldRead: 0,
        typing: new Map(),
      };
      talk.unread = () => made.unread;
      this.rows.set(key, made);
      this.restoreMarks(made);
      row = made;
    }
    return row;
  }

  private touch(row: Row): void {
    delete row.view;
    this.at.batch.later(this.publish);
  }

  private draftKey(key: ConversationKey): string {
    return `teamtalk.draft.${this.at.me()}.${key}`;
  }

  private titleOf(row: Row): string {
    const { type, id } = sessionOfKey(row.key);
    const name = type === 2 ? this.at.groups.get(id)?.name : this.at.people.get(id)?.name;
    return name ?? `#${id}`;
  }

  private viewOf(row: Row): Conversation {
    const { type, id } = sessionOfKey(row.key);
    const group = type === 2 ? this.at.groups.get(id) : undefined;
    return {
      key: row.key,
      kind: type === 2 ? "group" : "person",
      id,
      title: this.titleOf(row),
      lastTime: row.lastTime,
      unread: row.unread,
      muted: group?.muted ?? false,
      draft: this.at.drafts.getItem(this.draftKey(row.key)) ?? "",
      typing: [...row.typing.keys()],
      remote: group?.remote ?? id >= firstRemote,
      ...(row.last && { last: row.last }),
    };
  }
}
