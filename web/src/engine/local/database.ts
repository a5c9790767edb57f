// What this browser keeps beyond the page: IndexedDB, which belongs to the page's origin and so to one company's server.

export const shelves = { unsent: "unsent", marks: "marks" } as const;

export type ShelfName = (typeof shelves)[keyof typeof shelves];

const databaseName = "teamtalk";
const version = 1;

export class Database {
  private opened: Promise<IDBDatabase> | undefined;

  /** Runs one transaction: what it is asked for happens as a whole or not at all, behind all that was asked for before. */
  async run<T>(
    shelf: ShelfName,
    mode: "readonly" | "readwrite",
    work: (store: IDBObjectStore) => IDBRequest<T> | undefined,
  ): Promise<T | undefined> {
    const db = await this.open();
    return new Promise((resolve, reject) => {
      const transaction = db.transaction(shelf, mode);
      const request = work(transaction.objectStore(shelf));
      transaction.oncomplete = () => resolve(request?.result);
      transaction.onabort = () => reject(transaction.error ?? new Error("not kept"));
    });
  }

  private open(): Promise<IDBDatabase> {
    this.opened ??= this.connect().catch((error: unknown) => {
      this.opened = undefined;
      throw error;
    });
    return this.opened;
  }

  private connect(): Promise<IDBDatabase> {
    return new Promise((resolve, reject) => {
      const request = indexedDB.open(databaseName, version);
      request.onupgradeneeded = () => {
        request.result.createObjectStore(shelves.unsent, { keyPath: "id" });
        request.result.createObjectStore(shelves.marks, { keyPath: ["user", "key"] });
      };
      request.onsuccess = () => {
        const db = request.result;
        const again = () => {
          this.opened = undefined;
        };
        db.onclose = again;
        db.onversionchange = () => {
          db.close(); // a newer page has another form of it
          again();
        };
        resolve(db);
      };
      request.onerror = () => reject(request.error ?? new Error("nothing is kept here"));
    });
  }
}
