// Messages that the cluster has not said it has, so that they outlive the page: a reload, a crash, the end of the browser [TT-WEB-3].

import type { ConversationKey } from "../api";
import type { Database } from "./database";
import { shelves } from "./database";

/** A message as it is kept: what it takes to send it with the same id. */
export interface Unsent {
  id: string; // of the message, for the server
  user: number;
  order: number; // in which it was written
  key: ConversationKey;
  time: number; // ms since 1970
  text: string;
  /** Content that was to be brought up first and is not kept: without it the text is not the message. */
  missing?: { name: string; sizeText: string }[];
  contentType?: string;
  replyTo?: number;
  burnSeconds?: number;
  reason?: string; // it failed
}

/** Where they are kept. Each is looked after by one page at a time. */
export interface UnsentShelf {
  /** Keeps a message, or what has become of it. */
  put(item: Unsent): void;
  drop(id: string): void;
  /** What this page is to look after: its own, and those of pages that are no more. In the order in which they were written. */
  adopt(user: number): Promise<Unsent[]>;
  /** What this page looks after is free for others. */
  leave(): void;
  /** Removes all that a user has, whichever page looks after it. */
  forget(user: number): Promise<void>;
}

type Kept = Unsent & { owner: string };

/** What nobody has come back for is removed after 30 days, whoever wrote it. */
const keptFor = 30 * 24 * 3_600_000;

const ownerLock = "teamtalk.page.";
const adoptLock = "teamtalk.unsent";

/** The shelf of a browser. A page holds a lock for as long as it lives: what is whose can be told by who still holds one. */
export class BrowserUnsent implements UnsentShelf {
  private readonly db: Database;
  private readonly former = new Set<string>(); // this page's own names from before
  private owner = "";
  private held: Promise<void> = Promise.resolve();
  private letGo: () => void = () => undefined;

  constructor(db: Database) {
    this.db = db;
  }

  put(item: Unsent): void {
    this.begin();
    const kept: Kept = { ...item, owner: this.owner };
    this.try((store) => store.put(kept));
  }

  drop(id: string): void {
    this.try((store) => store.delete(id));
  }

  async adopt(user: number): Promise<Unsent[]> {
    this.begin();
    await this.held;
    const owner = this.owner;
    const take = async () => {
      const living = await pages();
      const found: Kept[] = [];
      await this.db.run(shelves.unsent, "readwrite", (store) => {
        const all = store.getAll() as IDBRequest<Kept[]>;
        all.onsuccess = () => {
          for (const item of all.result) {
            if (Date.now() - item.time > keptFor) {
              store.delete(item.id);
            } else if (item.user === user && (item.owner === owner || this.isFree(item.owner, living))) {
              store.put({ ...item, owner });
              found.push(item);
            }
          }
        };
        return undefined;
      });
      return found.sort((a, b) => a.order - b.order).map(({ owner: _, ...item }) => item);
    };
    // One page at a time, so that none of them sees another one's as nobody's.
    return navigator.locks ? navigator.locks.request(adoptLock, take) : take();
  }

  leave(): void {
    if (this.owner !== "") {
      this.former.add(this.owner);
      this.owner = "";
      this.letGo();
    }
  }

  async forget(user: number): Promise<void> {
    await this.db.run(shelves.unsent, "readwrite", (store) => {
      const all = store.getAll() as IDBRequest<Kept[]>;
      all.onsuccess = () => {
        for (const item of all.result.filter((i) => i.user === user)) {
          store.delete(item.id);
        }
      };
      return undefined;
    });
  }

  private isFree(owner: string, living: ReadonlySet<string>): boolean {
    return this.former.has(owner) || !living.has(owner);
  }

  /** Takes a name, and the lock that says that whoever has it lives. */
  private begin(): void {
    if (this.owner !== "") {
      return;
    }
    this.owner = crypto.getRandomValues(new Uint32Array(4)).join("-");
    const end = new Promise<void>((resolve) => {
      this.letGo = resolve;
    });
    this.held = new Promise((resolve) => {
      const hold = () => {
        resolve();
        return end;
      };
      // Browsers have no locks on plain HTTP. Then pages take what others still look after, and the server stores it once all the same.
      navigator.locks ? navigator.locks.request(ownerLock + this.owner, hold).catch(() => resolve()) : resolve();
    });
  }

  /** A browser that keeps nothing, or is full: the message goes out all the same, from memory. */
  private try(work: (store: IDBObjectStore) => IDBRequest): void {
    this.db.run(shelves.unsent, "readwrite", work).catch((error: unknown) => console.warn("not kept", error));
  }
}

/** The pages of this browser that live. */
async function pages(): Promise<ReadonlySet<string>> {
  const { held = [] } = (await navigator.locks?.query()) ?? {};
  const names = held.map((lock) => lock.name ?? "").filter((name) => name.startsWith(ownerLock));
  return new Set(names.map((name) => name.slice(ownerLock.length)));
}
