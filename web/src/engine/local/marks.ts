// How far others have read and got what was written here. The server tells it once, as it happens [TT-SESS-17]: what a page has heard of it is kept for
// the next one.

import type { ConversationKey } from "../api";
import type { Database } from "./database";
import { shelves } from "./database";

export interface Marks {
  delivered: number; // id of a message; the devices of the other one have it
  reads: readonly (readonly [user: number, upTo: number])[];
}

export interface KeptMarks extends Marks {
  user: number;
  key: ConversationKey;
  head: bigint; // of the cluster's log, at or after which this was so
  time: number; // ms since 1970
}

export interface MarksShelf {
  load(user: number): Promise<KeptMarks[]>;
  save(marks: readonly KeptMarks[]): void;
  /** Removes all that a user has. */
  forget(user: number): Promise<void>;
}

const saveAfter = 500;

/** The marks of one user's conversations. */
export class MarksKeeper {
  /** More has become known of this conversation. */
  loaded: (key: ConversationKey, marks: Marks) => void = () => undefined;
  private readonly shelf: MarksShelf;
  private readonly known = new Map<ConversationKey, KeptMarks>();
  private readonly fresh = new Set<ConversationKey>();
  private user = 0;
  private head = 0n;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(shelf: MarksShelf) {
    this.shelf = shelf;
  }

  async begin(user: number): Promise<void> {
    if (user === this.user) {
      return;
    }
    this.clear();
    this.user = user;
    const all = await this.shelf.load(user).catch(() => []);
    for (const marks of user === this.user ? all : []) {
      if (!this.known.has(marks.key) && !this.isOfAnotherPast(marks)) {
        this.known.set(marks.key, marks);
        this.loaded(marks.key, marks);
      }
    }
  }

  /** Where the log of the cluster is: what is known of a later time is of another past, from before a backup was restored. */
  at(head: bigint): void {
    this.head = head;
    for (const [key, marks] of this.known) {
      if (this.isOfAnotherPast(marks)) {
        this.known.delete(key);
      }
    }
  }

  get(key: ConversationKey): Marks | undefined {
    return this.known.get(key);
  }

  put(key: ConversationKey, marks: Marks): void {
    this.known.set(key, { ...marks, user: this.user, key, head: this.head, time: Date.now() });
    this.fresh.add(key);
    this.timer ??= setTimeout(() => this.flush(), saveAfter);
  }

  /** Keeps what has not been kept yet. */
  flush(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    const fresh = [...this.fresh].flatMap((key) => this.known.get(key) ?? []);
    this.fresh.clear();
    if (fresh.length > 0) {
      this.shelf.save(fresh);
    }
  }

  clear(): void {
    this.flush();
    this.known.clear();
    this.user = 0;
    this.head = 0n;
  }

  private isOfAnotherPast(marks: KeptMarks): boolean {
    return this.head > 0n && marks.head > this.head;
  }
}

const keptFor = 30 * 24 * 3_600_000;

/** The shelf of a browser. */
export class BrowserMarks implements MarksShelf {
  private readonly db: Database;

  constructor(db: Database) {
    this.db = db;
  }

  async load(user: number): Promise<KeptMarks[]> {
    const found: KeptMarks[] = [];
    await this.each((marks, remove) => {
      if (Date.now() - marks.time > keptFor) {
        remove();
      } else if (marks.user === user) {
        found.push(marks);
      }
    });
    return found;
  }

  save(all: readonly KeptMarks[]): void {
    this.db
      .run(shelves.marks, "readwrite", (store) => {
        for (const marks of all) {
          store.put(marks);
        }
        return undefined;
      })
      .catch(() => undefined); // then the next page knows less
  }

  async forget(user: number): Promise<void> {
    await this.each((marks, remove) => marks.user === user && remove());
  }

  private async each(visit: (marks: KeptMarks, remove: () => void) => void): Promise<void> {
    await this.db.run(shelves.marks, "readwrite", (store) => {
      const all = store.getAll() as IDBRequest<KeptMarks[]>;
      all.onsuccess = () => {
        for (const marks of all.result) {
          visit(marks, () => store.delete([marks.user, marks.key]));
        }
      };
      return undefined;
    });
  }
}
