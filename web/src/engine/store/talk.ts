// One conversation's messages, as far as they are known here.

import { signal } from "@preact/signals";
import type { ConversationKey, Delivery, Message, Timeline } from "../api";
import type { Marks } from "../local/marks";
import type { Batch } from "./batch";
import type { Entry } from "./entry";

/** Fetches messages from one downwards, newest first; 0: the newest there is. */
export type History = (key: ConversationKey, begin: number, count: number) => Promise<Entry[]>;

// Where messages stand that have no place yet: behind all that have one [TT-FED-3].
const waitingFrom = 2 ** 51;
const unsentFrom = 2 ** 52;
/** Ids are below this in any conversation; places of several offices are spread by it, so that others fit between them. */
const spread = 2 ** 20;

const firstPage = 50;
const nextPage = 100;
const reachPages = 50;
/** With so many unread messages the first page still has them all. */
const unreadPage = 200;

export class Talk implements Timeline {
  /** Somebody looks at the messages. */
  isWatched = false;
  readonly messages = signal<readonly Message[]>([], {
    watched: () => {
      this.isWatched = true;
    },
    unwatched: () => {
      this.isWatched = false;
    },
  });
  readonly atBegin = signal(false);
  readonly loading = signal(false);
  readonly readUpTo = signal(0);
  readonly key: ConversationKey;
  isLoaded = false;
  /** How many messages of others are unread, when it is loaded. */
  unread: () => number = () => 0;
  private readonly history: History;
  private readonly batch: Batch;
  private list: Entry[] = []; // by order
  private readonly byId = new Map<number, Entry>();
  private readonly byKey = new Map<string, Entry>();
  private early: Entry[] = []; // came while the first page was on its way
  private newest = 0; // ids up to here, from oldest on, are known
  private oldest = 0;
  private unplaced = 0; // unread messages that are further back than the pages so far
  private newestHub = 0;
  private unsent = 0;
  private generation = 0;
  private page: Promise<void> | undefined;
  // Marks [TT-SESS-17].
  private readonly reads = new Map<number, number>(); // how far others have read
  private delivered = 0; // how far the other one's devices have got
  private readUntil = 0; // by me: countdowns have begun up to here
  private readonly publish = () => {
    this.messages.value = this.list.slice();
  };

  constructor(key: ConversationKey, history: History, batch: Batch) {
    this.key = key;
    this.history = history;
    this.batch = batch;
  }

  get(id: number): Entry | undefined {
    return this.byId.get(id);
  }

  find(key: string): Entry | undefined {
    return this.byKey.get(key);
  }

  /** The last message that has its place. */
  get last(): Entry | undefined {
    return this.list.findLast((e) => e.id > 0);
  }

  get hasUnsent(): boolean {
    return this.list.at(-1)?.id === 0;
  }

  /** Messages of others behind an id; undefined: not known. */
  unreadAfter(id: number): number | undefined {
    if (!this.isLoaded || (this.oldest > id + 1 && !this.atBegin.value)) {
      return undefined;
    }
    let n = 0;
    for (let i = this.list.length - 1; i >= 0; i--) {
      const entry = this.list[i] as Entry;
      if (entry.id > 0 && entry.id <= id && entry.hubSeq === 0) {
        break;
      }
      n += entry.id > id && !entry.mine ? 1 : 0;
    }
    return n;
  }

  // Loading.

  /** The newest page, unless it is there. */
  load(): Promise<void> {
    return this.isLoaded ? Promise.resolve() : this.fetch();
  }

  older(): Promise<void> {
    return this.atBegin.value ? Promise.resolve() : this.fetch();
  }

  async reach(id: number): Promise<boolean> {
    for (let pages = 0; pages < reachPages && !this.byId.has(id); pages++) {
      if (this.atBegin.value || (this.isLoaded && this.oldest <= id)) {
        break;
      }
      await this.older();
    }
    return this.byId.has(id);
  }

  private fetch(): Promise<void> {
    const first = Math.max(firstPage, Math.min(this.unread() + 1, unreadPage));
    this.page ??= this.fetchPage(this.isLoaded ? nextPage : first).finally(() => {
      this.page = undefined;
      this.loading.value = false;
    });
    return this.page;
  }

  private async fetchPage(count: number): Promise<void> {
    const generation = this.generation;
    const begin = this.isLoaded ? this.oldest - 1 : 0;
    this.loading.value = true;
    const page = await this.history(this.key, begin, count);
    if (generation !== this.generation) {
      return; // it was of another history
    }
    const isFirst = !this.isLoaded;
    if (isFirst) {
      this.unplaced = this.unread();
    }
    const ids = page.map((e) => e.id);
    this.oldest = Math.min(this.isLoaded ? this.oldest : Number.POSITIVE_INFINITY, ...ids);
    if (!Number.isFinite(this.oldest)) {
      this.oldest = 0;
    }
    this.atBegin.value = page.length === 0 || this.oldest <= 1;
    this.putAll(page);
    if (isFirst) {
      this.isLoaded = true;
      this.newest = Math.max(0, ...ids);
    }
    if (isFirst || this.unplaced > 0) {
      this.readUpTo.value = this.placeUnread(page);
    }
    if (isFirst) {
      this.readUntil = this.readUpTo.value; // when countdowns before began is not known here
      for (const entry of this.early.splice(0)) {
        this.arrive(entry);
      }
    }
  }

  /** Up to where I have read, if this page, from the newest on, tells; 0: further back than it reaches. */
  private placeUnread(page: readonly Entry[]): number {
    if (this.unplaced === 0) {
      return this.newest;
    }
    for (const entry of page) {
      this.unplaced -= entry.mine ? 0 : 1;
      if (this.unplaced === 0) {
        return entry.id - 1;
      }
    }
    return 0;
  }

  /** Forgets what the server had; what is not sent stays. */
  reset(): void {
    this.generation++;
    this.isLoaded = false;
    this.page = undefined;
    this.loading.value = false;
    this.early = [];
    this.newest = 0;
    this.oldest = 0;
    this.unplaced = 0;
    this.newestHub = 0;
    this.delivered = 0;
    this.readUntil = 0;
    this.reads.clear();
    this.list = this.list.filter((e) => e.id === 0);
    this.byId.clear();
    this.byKey.clear();
    for (const entry of this.list) {
      this.byKey.set(entry.key, entry);
    }
    this.atBegin.value = false;
    this.batch.later(this.publish);
  }

  // Messages.

  /** A message happened. */
  arrive(entry: Entry): void {
    if (!this.isLoaded) {
      if (this.page) {
        this.early.push(entry);
      }
      this.confirm(entry);
      return;
    }
    if (entry.id > this.newest + 1 && this.newest > 0) {
      void this.fillHole(this.newest + 1, entry.id - 1);
    }
    this.newest = Math.max(this.newest, entry.id);
    this.oldest ||= entry.id;
    this.put(entry);
  }

  /** One's own, shown before there is a page: it is known to be stored. */
  private confirm(entry: Entry): void {
    if (this.byKey.has(entry.key)) {
      this.put(entry);
    }
  }

  private async fillHole(from: number, to: number): Promise<void> {
    const generation = this.generation;
    const missing = await this.history(this.key, to, to - from + 1).catch(() => []);
    if (generation === this.generation) {
      this.putAll(missing.filter((e) => e.id >= from));
    }
  }

  /** Adds what is written here, at the end. */
  write(entry: Entry): void {
    this.put({ ...entry, order: unsentFrom + this.unsent++ });
  }

  put(entry: Entry): void {
    const known = (entry.id > 0 ? this.byId.get(entry.id) : undefined) ?? this.byKey.get(entry.key);
    if (known) {
      this.replace(known, merge(known, entry));
    } else {
      this.insert(this.marked({ ...entry, order: this.placeOf(entry) }));
    }
    this.rearrangeIfNeeded(entry);
    this.batch.later(this.publish);
  }

  change(entry: Entry, change: Partial<Entry>): Entry {
    const next = { ...entry, ...change };
    this.replace(entry, next);
    this.rearrangeIfNeeded(next);
    this.batch.later(this.publish);
    return next;
  }

  remove(entry: Entry): void {
    this.list.splice(this.indexOf(entry), 1);
    this.forget(entry);
    this.batch.later(this.publish);
  }

  private putAll(page: readonly Entry[]): void {
    const fresh: Entry[] = [];
    for (const entry of page) {
      const known = this.byId.get(entry.id) ?? this.byKey.get(entry.key);
      if (known) {
        this.replace(known, merge(known, entry));
      } else {
        const placed = this.marked({ ...entry, order: this.placeOf(entry) });
        fresh.push(placed);
        this.note(placed);
      }
    }
    this.list = [...fresh.reverse(), ...this.list];
    if (this.newestHub > 0) {
      this.arrange();
    } else {
      this.list.sort(byOrder);
    }
    this.batch.later(this.publish);
  }

  private insert(entry: Entry): void {
    const end = this.list.at(-1);
    if (!end || end.order < entry.order) {
      this.list.push(entry);
    } else {
      this.list.splice(this.indexFor(entry.order), 0, entry);
    }
    this.note(entry);
  }

  private replace(old: Entry, next: Entry): void {
    const at = this.indexOf(old);
    const placed = next.id !== old.id || next.hubSeq !== old.hubSeq ? { ...next, order: this.placeOf(next) } : next;
    this.forget(old);
    if (placed.order === old.order) {
      this.list[at] = placed;
      this.note(placed);
    } else {
      this.list.splice(at, 1);
      this.insert(this.marked(placed));
    }
  }

  private note(entry: Entry): void {
    if (entry.id > 0) {
      this.byId.set(entry.id, entry);
    }
    this.byKey.set(entry.key, entry);
    this.newestHub = Math.max(this.newestHub, entry.hubSeq);
  }

  private forget(entry: Entry): void {
    if (entry.id > 0) {
      this.byId.delete(entry.id);
    }
    this.byKey.delete(entry.key);
  }

  private indexFor(order: number): number {
    let low = 0;
    let high = this.list.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.list[middle] as Entry).order < order) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }

  private indexOf(entry: Entry): number {
    let at = this.indexFor(entry.order);
    while (this.list[at]?.key !== entry.key) {
      at++;
    }
    return at;
  }

  // Order [TT-FED-3].

  /** Where a message stands if it is the newest of those that are known. */
  private placeOf(entry: Entry): number {
    if (entry.id === 0) {
      return entry.order;
    }
    if (waits(entry)) {
      return waitingFrom + entry.id;
    }
    return entry.hubSeq > 0 ? entry.hubSeq * spread : this.newestHub * spread + entry.id;
  }

  /** In a group of several offices anything but a message at the end may move others. */
  private rearrangeIfNeeded(entry: Entry): void {
    if (this.newestHub > 0 && entry.hubSeq !== this.newestHub && this.list.at(-1)?.key !== entry.key) {
      this.arrange();
    }
  }

  private arrange(): void {
    let newest = 0;
    const placed = this.list.filter((e) => e.id > 0).sort((a, b) => a.id - b.id);
    const orders = new Map<string, number>();
    for (const e of placed) {
      if (e.hubSeq > 0) {
        newest = Math.max(newest, e.hubSeq);
      }
      const loose = newest * spread + e.id;
      orders.set(e.key, waits(e) ? waitingFrom + e.id : e.hubSeq > 0 ? e.hubSeq * spread : loose);
    }
    this.list = this.list.map((e) => {
      const order = orders.get(e.key) ?? e.order;
      const next = order === e.order ? e : { ...e, order };
      this.note(next);
      return next;
    });
    this.list.sort(byOrder);
  }

  // Marks.

  /** What is known of a message already when it comes. */
  private marked(entry: Entry): Entry {
    if (!entry.mine || entry.id === 0) {
      return entry;
    }
    if (this.key.startsWith("g")) {
      let readBy = 0;
      for (const upTo of this.reads.values()) {
        readBy += upTo >= entry.id ? 1 : 0;
      }
      return readBy > 0 ? { ...entry, readBy } : entry;
    }
    const read = Math.max(0, ...this.reads.values());
    return further(entry, entry.id <= read ? "read" : entry.id <= this.delivered ? "delivered" : "sent");
  }

  /** True: that is news. */
  mark(user: number, delivered: number, read: number): boolean {
    const before = this.reads.get(user) ?? 0;
    if (read > before) {
      this.reads.set(user, read);
    }
    if (this.key.startsWith("g")) {
      this.eachOwn(before, read, (e) => this.change(e, { readBy: (e.readBy ?? 0) + 1 }));
      return read > before;
    }
    const isNews = read > before || delivered > this.delivered;
    this.eachOwn(this.delivered, delivered, (e) => this.change(e, further(e, "delivered")));
    this.delivered = Math.max(this.delivered, delivered);
    this.eachOwn(before, read, (e) => this.change(e, this.counting(further(e, "read"))));
    return isNews;
  }

  /** What marks have said so far. */
  get marks(): Marks {
    return { delivered: this.delivered, reads: [...this.reads] };
  }

  /** Takes up what was known before. */
  restore({ delivered, reads }: Marks): void {
    for (const [user, upTo] of reads) {
      this.mark(user, 0, upTo);
    }
    this.mark(0, delivered, 0);
  }

  /** I have read up to here: what is to burn begins to. */
  readByMe(upTo: number): void {
    for (let id = upTo; id > this.readUntil && id >= this.oldest; id--) {
      const entry = this.byId.get(id);
      if (entry?.burnSeconds && !entry.mine) {
        this.change(entry, this.counting(entry));
      }
    }
    this.readUntil = Math.max(this.readUntil, upTo);
  }

  /** Begins the countdown of a message that was read now. The server deletes it; here it goes even while there is no connection. */
  private counting(entry: Entry): Entry {
    if (!entry.burnSeconds || entry.burnsAt || entry.state !== "live") {
      return entry;
    }
    const generation = this.generation;
    setTimeout(
      () => {
        if (generation === this.generation) {
          this.deleted(entry.id, "burned");
        }
      },
      (entry.burnSeconds + 1) * 1_000,
    );
    return { ...entry, burnsAt: Date.now() + entry.burnSeconds * 1_000 };
  }

  deleted(id: number, state: "recalled" | "burned"): Entry | undefined {
    const entry = this.byId.get(id);
    if (entry?.state !== "live") {
      return entry;
    }
    const { replyTo: _, ...rest } = entry;
    const next: Entry = { ...rest, parts: [], plain: "", state };
    this.replace(entry, next);
    this.batch.later(this.publish);
    return next;
  }

  private eachOwn(after: number, upTo: number, visit: (entry: Entry) => void): void {
    for (let id = Math.min(upTo, this.newest || upTo); id > after && id >= this.oldest; id--) {
      const entry = this.byId.get(id);
      if (entry?.mine) {
        visit(entry);
      }
    }
  }
}

function byOrder(a: Entry, b: Entry): number {
  return a.order - b.order;
}

/** On its way to the office that orders the group. */
function waits(e: Entry): boolean {
  return e.hubSeq === 0 && e.mine && (e.delivery === "pending" || e.delivery === "delayed");
}

const progress: readonly Delivery[] = ["sending", "sent", "pending", "delayed", "delivered", "read", "undeliverable"];

/** A message got further; never back. */
function further(entry: Entry, delivery: Delivery): Entry {
  const isFurther = progress.indexOf(delivery) > progress.indexOf(entry.delivery ?? "sending");
  return isFurther ? { ...entry, delivery } : entry;
}

/** The same message, known before: what was learned about it since stays. */
function merge(known: Entry, entry: Entry): Entry {
  const { progress: _, reason: __, ...rest } = known;
  const gone = known.state !== "live" && entry.state === "live";
  const merged: Entry = { ...rest, ...entry, key: known.key, order: known.order, hubSeq: entry.hubSeq || known.hubSeq };
  if (gone) {
    Object.assign(merged, { parts: known.parts, plain: known.plain, state: known.state });
  }
  if (known.delivery && entry.delivery && entry.mine) {
    merged.delivery = further(entry, known.delivery === "failed" ? "sent" : known.delivery).delivery ?? "sent";
  }
  return merged;
}
