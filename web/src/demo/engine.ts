// An engine without a server, for the demo page and for tests of the interface. It keeps everything in memory and answers by itself.

import { computed, signal } from "@preact/signals";
import type {
  Conversation,
  ConversationKey,
  Draft,
  Engine,
  Group,
  Message,
  Part,
  Person,
  Problem,
  Status,
  Timeline,
} from "../engine/api";
import { conversations, departments, gallery, groups, long, make, people } from "./data";

export interface DemoOptions {
  out?: boolean;
  status?: Partial<Status>;
  messages?: number; // of the long conversation
  empty?: boolean;
  slow?: number; // ms of every request
}

function problem(key: string, values?: Problem["values"]): Problem {
  return Object.assign(new Error(key), values ? { key, values } : { key });
}

function painted(path: string): string {
  const [w, h] = (/_(\d+)x(\d+)/.exec(path) ?? ["", "400", "300"]).slice(1).map(Number) as [number, number];
  const canvas = new OffscreenCanvas(w, h);
  const pen = canvas.getContext("2d");
  if (pen) {
    const shade = pen.createLinearGradient(0, 0, w, h);
    shade.addColorStop(0, "#9db8d9");
    shade.addColorStop(1, "#e8d9c0");
    pen.fillStyle = shade;
    pen.fillRect(0, 0, w, h);
    pen.strokeStyle = "#33507a";
    pen.lineWidth = 8;
    pen.strokeRect(w * 0.1, h * 0.15, w * 0.35, h * 0.25);
    pen.strokeRect(w * 0.55, h * 0.5, w * 0.35, h * 0.3);
  }
  const url = URL.createObjectURL(new Blob());
  void canvas.convertToBlob().then((b) => urls.set(path, URL.createObjectURL(b)));
  return url;
}

const urls = new Map<string, string>();

class DemoTimeline implements Timeline {
  readonly messages = signal<readonly Message[]>([]);
  readonly atBegin = signal(false);
  readonly loading = signal(false);
  readonly readUpTo = signal(0);
  constructor(
    public all: Message[],
    private readonly slow: number,
    shown = 60,
  ) {
    this.messages.value = all.slice(-shown);
    this.atBegin.value = this.messages.value.length === all.length;
  }
  async older(count = 100): Promise<void> {
    if (this.loading.value || this.atBegin.value) {
      return;
    }
    this.loading.value = true;
    await new Promise((done) => setTimeout(done, this.slow));
    const have = this.messages.value.length + count;
    this.messages.value = this.all.slice(-have);
    this.atBegin.value = have >= this.all.length;
    this.loading.value = false;
  }
  async reach(id: number): Promise<boolean> {
    const missing = this.all.length - this.all.findIndex((m) => m.id === id) - this.messages.value.length;
    await this.older(Math.max(0, missing) + 50);
    return this.messages.value.some((m) => m.id === id);
  }
  change(change: (all: Message[]) => Message[]): void {
    const before = this.all.length;
    this.all = change(this.all);
    this.messages.value = this.all.slice(-(this.messages.value.length + this.all.length - before));
  }
  patch(key: string, values: Partial<Message>): void {
    this.change((all) => all.map((m) => (m.key === key ? { ...m, ...values } : m)));
  }
}

export class DemoEngine implements Engine {
  readonly status = signal<Status>({ phase: "online", transport: "websocket" });
  readonly me = signal<Person | undefined>(people[0]);
  readonly people = signal<ReadonlyMap<number, Person>>(new Map(people.map((p) => [p.id, p])));
  readonly departments = signal(departments);
  readonly groups = signal<ReadonlyMap<number, Group>>(new Map(groups.map((g) => [g.id, g])));
  readonly conversations = signal<readonly Conversation[]>([]);
  readonly unread = computed(() => this.conversations.value.reduce((n, c) => n + (c.muted ? 0 : c.unread), 0));
  private readonly timelines = new Map<ConversationKey, DemoTimeline>();
  private readonly listeners = new Set<(c: Conversation, m: Message) => void>();
  private readonly slow: number;

  constructor(options: DemoOptions = {}) {
    this.slow = options.slow ?? 300;
    const now = Date.now();
    for (const [i, c] of (options.empty ? [] : conversations()).entries()) {
      const end = now - i * i * 4_000_000;
      const members = c.kind === "group" ? (this.groups.value.get(c.id)?.members ?? [1]) : [1, c.id];
      const n = c.key === "g2" ? (options.messages ?? 400) : c.key === "u6" ? 0 : 45;
      const all = c.key === "u2" ? gallery(now) : long(n, end, members);
      const line = new DemoTimeline(all, this.slow, options.messages && c.key === "g2" ? options.messages : 60);
      line.readUpTo.value = c.unread > 0 ? (all.at(-1)?.id ?? 0) - c.unread : 0;
      this.timelines.set(c.key, line);
      this.conversations.value = [...this.conversations.value, { ...c, ...this.lastOf(line, end) }];
    }
    if (options.out) {
      this.me.value = undefined;
    }
    this.status.value = { ...this.status.value, ...(options.out ? { phase: "out" as const } : {}), ...options.status };
  }

  private lastOf(line: DemoTimeline, otherwise: number): { last?: Message; lastTime: number } {
    const last = line.all.at(-1);
    return last ? { last, lastTime: last.time } : { lastTime: otherwise };
  }
  private wait(ms = this.slow): Promise<void> {
    return new Promise((done) => setTimeout(done, ms));
  }
  private line(key: ConversationKey): DemoTimeline {
    const known = this.timelines.get(key) ?? new DemoTimeline([], this.slow);
    this.timelines.set(key, known);
    return known;
  }
  private update(key: ConversationKey, values: Partial<Conversation>): void {
    this.conversations.value = this.conversations.value
      .map((c) => (c.key === key ? { ...c, ...values } : c))
      .sort((a, b) => b.lastTime - a.lastTime);
  }
  private put(key: ConversationKey, m: Message): void {
    this.line(key).change((all) => [...all, m]);
    this.update(key, { last: m, lastTime: m.time });
  }

  onMessage(listener: (c: Conversation, m: Message) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
  async login(name: string, password: string): Promise<void> {
    this.status.value = { phase: "connecting" };
    await this.wait(this.slow * 2);
    if (password === "wrong") {
      this.status.value = { phase: "out" };
      throw problem("problem.badPassword");
    }
    this.me.value = people.find((p) => p.login === name) ?? people[0];
    this.status.value = { phase: "online", transport: "websocket" };
  }
  async restore(): Promise<boolean> {
    return this.status.value.phase !== "out";
  }
  async logout(): Promise<void> {
    this.me.value = undefined;
    this.status.value = { phase: "out", ended: "loggedOut" };
  }
  retryNow(): void {
    this.status.value = { phase: "connecting" };
    void this.wait(900).then(() => {
      this.status.value = { phase: "online", transport: "longpoll" };
    });
  }
  server() {
    return { domain: "example.com", node: "node-1", maxUpload: 100 * 2 ** 20 };
  }
  timeline(key: ConversationKey): Timeline {
    return this.line(key);
  }
  show(key: ConversationKey | undefined): void {
    if (key && this.conversations.value.some((c) => c.key === key && c.unread > 0)) {
      this.update(key, { unread: 0 });
    }
  }
  saveDraft(key: ConversationKey, draft: string): void {
    this.update(key, { draft });
  }
  async removeConversation(key: ConversationKey): Promise<void> {
    await this.wait();
    this.conversations.value = this.conversations.value.filter((c) => c.key !== key);
  }
  async send(key: ConversationKey, draft: Draft): Promise<void> {
    const parts: Part[] = draft.text ? [{ kind: "text", text: draft.text }] : [];
    for (const [i, blob] of (draft.pictures ?? []).entries()) {
      const path = `own/${Date.now()}/${i}`;
      urls.set(path, URL.createObjectURL(blob));
      parts.push({ kind: "picture", path });
    }
    const { replyTo, burnSeconds } = draft;
    const extra = { ...(replyTo ? { replyTo } : {}), ...(burnSeconds ? { burnSeconds } : {}) };
    const id = (this.line(key).all.reduce((n, m) => Math.max(n, m.id), 0) || 0) + 1;
    const m = make({ id: 0, order: 1e9 + id, from: 1, time: Date.now(), delivery: "sending", ...extra }, ...parts);
    this.put(key, m);
    await this.wait();
    this.line(key).patch(m.key, { id, delivery: "sent" });
    void this.answer(key, id);
  }
  private async answer(key: ConversationKey, id: number): Promise<void> {
    const from = key.startsWith("u") ? Number(key.slice(1)) : 2;
    await this.wait(1000);
    this.line(key).change((all) => all.map((m) => (m.mine && m.delivery === "sent" ? { ...m, delivery: "read" } : m)));
    this.update(key, { typing: [from] });
    await this.wait(1500);
    this.update(key, { typing: [] });
    const m = make(
      { id: id + 1, order: 1e9 + id + 1, from, time: Date.now() },
      { kind: "text", text: "好的[呵呵] thanks!" },
    );
    this.put(key, m);
    const c = this.conversations.value.find((x) => x.key === key);
    for (const listener of c ? this.listeners : []) {
      listener(c as Conversation, m);
    }
  }
  async sendFile(key: ConversationKey, file: File): Promise<void> {
    const part: Part = { kind: "file", name: file.name, sizeText: `${file.size} B`, path: "g0/own" };
    const m = make({ id: 0, order: 2e9, from: 1, time: Date.now(), delivery: "sending", progress: 0 }, part);
    this.put(key, m);
    for (let progress = 0; progress < 1; progress += 0.05) {
      await this.wait(80);
      this.line(key).patch(m.key, { progress });
    }
    this.line(key).change((all) =>
      all.map((x) => {
        const { progress: _, ...rest } = x;
        return x.key === m.key ? { ...rest, delivery: "sent" } : x;
      }),
    );
  }
  async sendVoice(key: ConversationKey, voice: Blob, seconds: number): Promise<void> {
    const path = `own/${Date.now()}`;
    urls.set(path, URL.createObjectURL(voice));
    const part: Part = { kind: "voice", seconds, path, type: voice.type };
    this.put(key, make({ id: 0, order: 2e9, from: 1, time: Date.now(), delivery: "sending" }, part));
  }
  cancelUpload(key: ConversationKey, messageKey: string): void {
    this.discard(key, messageKey);
  }
  async retry(key: ConversationKey, messageKey: string): Promise<void> {
    this.line(key).patch(messageKey, { delivery: "sending" });
    await this.wait(900);
    this.line(key).patch(messageKey, { delivery: "sent", id: 901 });
  }
  discard(key: ConversationKey, messageKey: string): void {
    this.line(key).change((all) => all.filter((m) => m.key !== messageKey));
  }
  async recall(key: ConversationKey, id: number): Promise<void> {
    await this.wait();
    const m = this.line(key).all.find((x) => x.id === id);
    this.line(key).patch(m?.key ?? "", { state: "recalled", parts: [], plain: "" });
  }
  async burn(key: ConversationKey, id: number): Promise<void> {
    const m = this.line(key).all.find((x) => x.id === id);
    this.line(key).patch(m?.key ?? "", { state: "burned", parts: [], plain: "" });
  }
  typing(): void {}

  async picture(path: string): Promise<string> {
    if (path.includes("broken")) {
      throw problem("problem.notFound");
    }
    if (!urls.has(path)) {
      painted(path);
      await this.wait(150);
    }
    return urls.get(path) ?? "";
  }
  async media(path: string): Promise<string> {
    return urls.get(path) ?? "";
  }
  async download(): Promise<void> {
    await this.wait();
  }
  async searchPeople(text: string): Promise<Person[]> {
    await this.wait();
    return people.filter((p) => p.name.toLowerCase().includes(text.toLowerCase()) || p.login.includes(text));
  }
  watch(): void {}
  async createGroup(name: string, members: number[]): Promise<ConversationKey> {
    await this.wait();
    const id = this.groups.value.size + 1;
    const group: Group = {
      id,
      name,
      creator: 1,
      members: [1, ...members],
      muted: false,
      fixed: false,
      remote: false,
      gone: false,
    };
    this.groups.value = new Map([...this.groups.value, [id, group]]);
    const c: Conversation = {
      key: `g${id}`,
      kind: "group",
      id,
      title: name,
      lastTime: Date.now(),
      unread: 0,
      muted: false,
      draft: "",
      typing: [],
      remote: false,
    };
    this.conversations.value = [c, ...this.conversations.value];
    return c.key;
  }
  private setGroup(id: number, change: (g: Group) => Group): void {
    this.groups.value = new Map([...this.groups.value].map(([k, g]) => [k, k === id ? change(g) : g]));
  }
  async addMembers(group: number, members: number[]): Promise<void> {
    await this.wait();
    this.setGroup(group, (g) => ({ ...g, members: [...g.members, ...members] }));
  }
  async removeMembers(group: number, members: number[]): Promise<void> {
    await this.wait();
    this.setGroup(group, (g) => ({ ...g, members: g.members.filter((m) => !members.includes(m)) }));
  }
  async leaveGroup(group: number): Promise<void> {
    await this.wait();
    this.setGroup(group, (g) => ({ ...g, gone: true }));
  }
  async muteGroup(group: number, muted: boolean): Promise<void> {
    this.setGroup(group, (g) => ({ ...g, muted }));
    this.update(`g${group}`, { muted });
  }
  async setSign(sign: string): Promise<void> {
    this.me.value = this.me.value && { ...this.me.value, sign };
  }
  async setAvatar(): Promise<void> {
    await this.wait();
  }
}
