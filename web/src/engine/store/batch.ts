// Gathers changes, so that what comes together is shown once.

export class Batch {
  private readonly jobs = new Set<() => void>();

  /** Runs a job when what is under way now has been dealt with; the same job once. */
  later(job: () => void): void {
    if (this.jobs.size === 0) {
      queueMicrotask(() => this.flush());
    }
    this.jobs.add(job);
  }

  flush(): void {
    const jobs = [...this.jobs];
    this.jobs.clear();
    for (const job of jobs) {
      job();
    }
  }
}

/** A map as it is now, as a value of its own: showing a change of one entry does not copy all the others. */
export class View<K, V> implements ReadonlyMap<K, V> {
  private readonly of: ReadonlyMap<K, V>;

  constructor(of: ReadonlyMap<K, V>) {
    this.of = of;
  }

  get size(): number {
    return this.of.size;
  }

  get(key: K): V | undefined {
    return this.of.get(key);
  }

  has(key: K): boolean {
    return this.of.has(key);
  }

  forEach(each: (value: V, key: K, map: ReadonlyMap<K, V>) => void): void {
    for (const [key, value] of this.of) {
      each(value, key, this);
    }
  }

  entries(): MapIterator<[K, V]> {
    return this.of.entries();
  }

  keys(): MapIterator<K> {
    return this.of.keys();
  }

  values(): MapIterator<V> {
    return this.of.values();
  }

  [Symbol.iterator](): MapIterator<[K, V]> {
    return this.of.entries();
  }
}
