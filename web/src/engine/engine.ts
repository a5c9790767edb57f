import { computed, type ReadonlySignal, signal } from "@preact/signals";
import { GroupModifyType, GroupType } from "../pb/IM.BaseDefine_pb";
import { IMFileDelOfflineReqSchema } from "../pb/IM.File_pb";
import { IMMsgDataReadAckSchema } from "../pb/IM.Message_pb";
import { IMP2PCmdMsgSchema } from "../pb/IM.SwitchService_pb";
import type { Conversation, ConversationKey, Draft, Engine, Message, Part, Person, Status, Timeline } from "./api";
import { MarksKeeper, type MarksShelf } from "./local/marks";
import type { UnsentShelf } from "./local/unsent";
import { Composer, pictureName } from "./media/compose";
import { revokeLater, Transfer } from "./media/transfer";
import type { Dialer, Shelf } from "./net/dialer";
import { pause } from "./net/pause";
import { keyOf, problem } from "./problems";
import { Ask } from "./questions";
import { Calls } from "./session/calls";
import type { Keep } from "./session/keep";
import { Outbox } from "./session/outbox";
import { Runner } from "./session/runner";
import { Batch } from "./store/batch";
import { Conversations } from "./store/conversations";
import { keyOfSession, listedEntry, sessionOfKey, single } from "./store/entry";
import { Events, typingText } from "./store/events";
import { OfflineFiles } from "./store/files";
import { Groups } from "./store/groups";
import { Lists } from "./store/lists";
import { People } from "./store/people";
import { Cmd } from "./wire/commands";
import { passwordSum } from "./wire/crypt";

/** What an engine stands on; tests put their own in place. */
export interface Ground {
  dialer: Dialer;
  keep: Keep;
  drafts: Shelf; // what was typed and not sent
  unsent: UnsentShelf; // what was sent and is not stored
  marks: MarksShelf;
  /** Has the browser fetch something to disk. */
  save(url: string, name: string): void;
}

const recall = 1;
const burn = 2;
const typingEvery = 4_000;
const listsAgain = 5_000;
/** How long the browser may take for what it keeps; a disk that hangs is not to keep anybody from writing, or from logging out. */
const keepTime = 10_000;
const searchEvery = 1_050; // [TT-FED-6]
/** Files of old clients up to here go through memory, so that it is known when they have been fetched. */
const heldMost = 256 << 20;

export class ChatEngine implements Engine {
  readonly status: ReadonlySignal<Status>;
  readonly me: ReadonlySignal<Person | undefined>;
  readonly people;
  readonly departments;
  readonly groups;
  readonly conversations;
  readonly unread;
  private readonly ground: Ground;
  private readonly batch = new Batch();
  private readonly calls = new Calls();
  private readonly myId = signal(0);
  private readonly folk = new People(this.batch);
  private readonly circles = new Groups(this.batch);
  private readonly transfer = new Transfer(this.calls, () => this.runner.base);
  private readonly talks: Conversations;
  private readonly composer: Composer;
  private readonly outbox: Outbox;
  private readonly marks: MarksKeeper;
  private readonly files: OfflineFiles;
  private readonly lists: Lists;
  private readonly events: Events;
  private readonly runner: Runner;
  private isFresh = false; // the lists are to be fetched
  private lastTyping = { key: "", at: 0 };
  private search = { at: 0, turn: 0 };

  constructor(ground: Ground) {
    this.ground = ground;
    const me = () => this.myId.value;
    this.marks = new MarksKeeper(ground.marks);
    this.talks = new Conversations({
      marks: this.marks,
      people: this.folk,
      groups: this.circles,
      batch: this.batch,
      drafts: ground.drafts,
      me,
      history: (key, begin, count) => this.history(key, begin, count),
      tellRead: (key, upTo) => this.tellRead(key, upTo),
    });
    this.composer = new Composer(this.talks, this.transfer, ground.unsent, me);
    this.outbox = new Outbox(this.composer);
    this.composer.outbox = this.outbox;
    this.files = new OfflineFiles(this.talks);
    const shared = { people: this.folk, groups: this.circles, conversations: this.talks, files: this.files, me };
    this.lists = new Lists({ ...shared, calls: this.calls });
    this.events = new Events({ ...shared, lists: this.lists, outbox: this.outbox });
    this.runner = new Runner({
      dialer: ground.dialer,
      keep: ground.keep,
      calls: this.calls,
      outbox: this.outbox,
      world: this.world(),
    });
    this.folk.changed = () => this.talks.renamed();
    this.circles.changed = () => this.talks.renamed();
    this.status = this.runner.status;
    this.people = this.folk.all;
    this.departments = this.folk.departments;
    this.groups = this.circles.all;
    this.conversations = this.talks.all;
    this.unread = this.talks.unread;
    this.me = computed(() => this.people.value.get(this.myId.value));
  }

  private world() {
    return {
      loggedIn: (user: number, info?: Parameters<People["put"]>[0][number]) => {
        this.myId.value = user;
        if (info) {
          this.folk.put([info]);
        }
        void this.marks.begin(user);
        // What is left of a page before this one was written before anything that is written here.
        const release = this.outbox.hold();
        void this.within(this.takeUp()).then(release);
      },
      fresh: (head: bigint) => {
        this.isFresh = true;
        this.marks.at(head);
        this.talks.resetTalks();
      },
      live: () => this.live(),
      event: (pdu: Parameters<Events["take"]>[0]) => this.events.take(pdu),
      lost: () => this.folk.lost(),
      loggedOut: () => this.clear(),
    };
  }

  /** Goes on with what was written in pages that are no more. */
  private async takeUp(): Promise<void> {
    const user = this.myId.value;
    const items = user === 0 ? [] : await this.ground.unsent.adopt(user);
    if (user === this.myId.value) {
      this.composer.resume(items);
    }
  }

  /** Waits for what the browser keeps; what goes wrong with it is as if there were nothing. */
  private async within(work: Promise<void>): Promise<void> {
    const end = new AbortController();
    await Promise.race([work.catch(() => undefined), pause(keepTime, end.signal)]);
    end.abort();
  }

  private live(): void {
    void this.within(this.takeUp());
    this.fetchLists();
    this.talks.tellAgain();
    this.lists.followPresence(this.folk.followed).catch(() => undefined); // as above
  }

  /** Fetches the lists if they are of the past; what does not come is asked for again. */
  private fetchLists(): void {
    if (!this.isFresh || !this.runner.isLive) {
      return;
    }
    this.isFresh = false;
    this.lists.refresh().catch(() => {
      this.isFresh = true;
      setTimeout(() => this.fetchLists(), listsAgain);
    });
    this.transfer.learn().catch(() => undefined); // then it is known with the first upload
  }

  private clear(): void {
    this.composer.clear();
    this.marks.clear();
    this.talks.clear();
    this.files.clear();
    this.folk.clear();
    this.circles.clear();
    this.transfer.clear();
    this.myId.value = 0;
  }

  // The session.

  onMessage(listener: (c: Conversation, m: Message) => void): () => void {
    this.talks.listeners.add(listener);
    return () => this.talks.listeners.delete(listener);
  }

  login(name: string, password: string): Promise<void> {
    return this.runner.start(name, passwordSum(password));
  }

  restore(): Promise<boolean> {
    return this.runner.restore();
  }

  async logout(): Promise<void> {
    const user = this.myId.value;
    const { keep, unsent, marks } = this.ground;
    const dropped = keep.drop().catch(() => undefined); // the next page makes up for it
    await this.runner.logout();
    await this.within(Promise.all([unsent.forget(user), marks.forget(user)]).then(() => undefined)); // [TT-WEB-3]
    await dropped;
  }

  retryNow(): void {
    this.runner.retryNow();
  }

  /** The network may have changed, or the machine has slept. */
  check(): void {
    this.runner.check();
    void this.within(this.takeUp()); // another page may have ended
  }

  /** The page may be about to end. */
  hidden(): void {
    this.marks.flush();
  }

  server(): { domain: string; node: string; maxUpload: number } {
    const w = this.runner.welcome;
    return { domain: w?.domain ?? "", node: w?.node ?? "", maxUpload: this.transfer.mostUpload };
  }

  // Conversations.

  timeline(key: ConversationKey): Timeline {
    const talk = this.talks.talk(key);
    talk.load().catch(() => undefined); // older() says what is wrong
    return talk;
  }

  private async history(key: ConversationKey, msgIdBegin: number, msgCnt: number) {
    const { type: sessionType, id: sessionId } = sessionOfKey(key);
    const userId = this.myId.value;
    const answer = await this.calls.ask(Ask.history, { userId, sessionType, sessionId, msgIdBegin, msgCnt });
    for (const m of answer.msgList) {
      this.lists.needPerson(m.fromSessionId);
    }
    const entries = answer.msgList.map((m) => listedEntry(m, userId));
    for (const entry of entries) {
      this.composer.found(entry);
    }
    return entries;
  }

  private tellRead(key: ConversationKey, msgId: number): void {
    const { type: sessionType, id: sessionId } = sessionOfKey(key);
    this.runner.say(Cmd.readAck, IMMsgDataReadAckSchema, { userId: this.myId.value, sessionId, msgId, sessionType });
  }

  show(key: ConversationKey | undefined): void {
    this.talks.show(key);
  }

  saveDraft(key: ConversationKey, text: string): void {
    this.talks.saveDraft(key, text);
  }

  async removeConversation(key: ConversationKey): Promise<void> {
    const { type: sessionType, id: sessionId } = sessionOfKey(key);
    await this.calls.ask(Ask.removeSession, { userId: this.myId.value, sessionType, sessionId });
    this.talks.removed(key);
  }

  async send(key: ConversationKey, draft: Draft): Promise<void> {
    this.composer.write(key, draft);
  }

  async sendFile(key: ConversationKey, file: File, burnSeconds?: number): Promise<void> {
    this.composer.file(key, file, burnSeconds);
  }

  async sendVoice(key: ConversationKey, voice: Blob, seconds: number): Promise<void> {
    this.composer.voice(key, voice, Math.max(1, Math.round(seconds)));
  }

  cancelUpload(key: ConversationKey, messageKey: string): void {
    this.composer.discard(key, messageKey);
  }

  async retry(key: ConversationKey, messageKey: string): Promise<void> {
    this.composer.retry(key, messageKey);
  }

  discard(key: ConversationKey, messageKey: string): void {
    this.composer.discard(key, messageKey);
  }

  recall(key: ConversationKey, id: number): Promise<void> {
    return this.erase(key, id, recall);
  }

  burn(key: ConversationKey, id: number): Promise<void> {
    return this.erase(key, id, burn);
  }

  private async erase(key: ConversationKey, msgId: number, kind: number): Promise<void> {
    const { type: sessionType, id: sessionId } = sessionOfKey(key);
    const answer = await this.calls.ask(Ask.erase, { sessionType, sessionId, msgId, kind });
    if (answer.code !== 0) {
      const text = keyOf(answer.code);
      throw problem(kind === recall && text === "problem.forbidden" ? "problem.tooOld" : text, {
        text: answer.message,
      });
    }
    this.talks.deleted(key, msgId, kind === burn ? "burned" : "recalled");
  }

  typing(key: ConversationKey, writing: boolean): void {
    const { type, id: toUserId } = sessionOfKey(key);
    const now = Date.now();
    const isNews = writing
      ? this.lastTyping.key !== key || now - this.lastTyping.at >= typingEvery
      : this.lastTyping.key === key;
    if (type !== single || !isNews) {
      return;
    }
    this.lastTyping = { key: writing ? key : "", at: now };
    const fromUserId = this.myId.value;
    this.runner.say(Cmd.p2p, IMP2PCmdMsgSchema, { fromUserId, toUserId, cmdMsgData: typingText(writing) });
  }

  // Content.

  picture(path: string, box?: number): Promise<string> {
    if (path.startsWith("blob:")) {
      return Promise.resolve(path);
    }
    return this.transfer.address(box ? `${path}_${Math.round(box)}x${Math.round(box)}.jpg` : path);
  }

  media(path: string): Promise<string> {
    return path.startsWith("blob:") ? Promise.resolve(path) : this.transfer.address(path);
  }

  async download(part: Part & { kind: "file" }): Promise<void> {
    if (!part.task) {
      this.ground.save(await this.transfer.once(part.path), part.name);
      return;
    }
    const url = await this.transfer.taskAddress(part.task);
    const file = this.files.get(part.task);
    if (!file || file.size > heldMost) {
      this.ground.save(url, part.name);
      return;
    }
    const answer = await fetch(url, { cache: "no-store" });
    if (!answer.ok) {
      throw problem("problem.notFound");
    }
    const local = URL.createObjectURL(await answer.blob());
    this.ground.save(local, part.name);
    revokeLater(local);
    this.files.done(part.task);
    this.runner.say(Cmd.dropOfflineFile, IMFileDelOfflineReqSchema, {
      fromUserId: file.from,
      toUserId: this.myId.value,
      taskId: part.task,
    });
  }

  // People and groups.

  async searchPeople(text: string): Promise<Person[]> {
    const turn = ++this.search.turn;
    const wait = this.search.at + searchEvery - Date.now();
    if (wait > 0) {
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
    if (turn !== this.search.turn || text.trim() === "") {
      return []; // somebody typed on
    }
    this.search.at = Date.now();
    const answer = await this.calls.ask(Ask.search, { text: text.trim() });
    this.folk.put(answer.userInfoList);
    return answer.userInfoList.flatMap((u) => this.folk.get(u.userId) ?? []);
  }

  watch(people: number[]): void {
    const fresh = this.folk.watch(people);
    if (fresh.length > 0 && this.runner.isLive) {
      this.lists.followPresence(fresh).catch(() => undefined); // the next connection asks again
    }
  }

  async createGroup(name: string, members: number[]): Promise<ConversationKey> {
    const userId = this.myId.value;
    const answer = await this.calls.ask(Ask.createGroup, {
      userId,
      groupType: GroupType.TMP,
      groupName: name,
      groupAvatar: "",
      memberIdList: [...new Set([userId, ...members])],
    });
    if (answer.resultCode !== 0 || !answer.groupId) {
      throw problem("problem.refused");
    }
    const key = keyOfSession(2, answer.groupId);
    this.lists.needGroup(answer.groupId);
    this.talks.wrote(key, Date.now());
    return key;
  }

  addMembers(group: number, members: number[]): Promise<void> {
    return this.changeMembers(group, members, GroupModifyType.ADD);
  }

  removeMembers(group: number, members: number[]): Promise<void> {
    return this.changeMembers(group, members, GroupModifyType.DEL);
  }

  leaveGroup(group: number): Promise<void> {
    return this.changeMembers(group, [this.myId.value], GroupModifyType.DEL);
  }

  private async changeMembers(groupId: number, memberIdList: number[], changeType: GroupModifyType): Promise<void> {
    const userId = this.myId.value;
    const answer = await this.calls.ask(Ask.changeMembers, { userId, changeType, groupId, memberIdList });
    if (answer.resultCode !== 0) {
      throw problem("problem.refused");
    }
    const gone = !answer.curUserIdList.includes(userId);
    this.circles.change(groupId, { members: answer.curUserIdList, gone });
    if (gone) {
      this.talks.removed(keyOfSession(2, groupId));
    }
  }

  async muteGroup(groupId: number, muted: boolean): Promise<void> {
    const shieldStatus = muted ? 1 : 0;
    const answer = await this.calls.ask(Ask.shield, { userId: this.myId.value, groupId, shieldStatus });
    if (answer.resultCode !== 0) {
      throw problem("problem.refused");
    }
    this.circles.change(groupId, { muted });
    this.talks.changed(keyOfSession(2, groupId));
  }

  async setSign(text: string): Promise<void> {
    const answer = await this.calls.ask(Ask.sign, { userId: this.myId.value, signInfo: text });
    if (answer.resultCode !== 0) {
      throw problem("problem.invalid");
    }
    this.folk.change(this.myId.value, { sign: text });
  }

  async setAvatar(picture: Blob): Promise<void> {
    const stored = await this.transfer.upload(
      picture,
      pictureName(picture, 0),
      () => undefined,
      new AbortController().signal,
    );
    const answer = await this.calls.ask(Ask.avatar, { userId: this.myId.value, avatarUrl: stored.url });
    if (answer.resultCode !== 0) {
      throw problem("problem.refused");
    }
    this.folk.setAvatar(this.myId.value, stored.url);
  }
}
