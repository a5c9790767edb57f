// The mathematics of a list of which only a part is rendered: rows have keys and heights, of which most are estimates until they are seen.

export interface Slot {
  key: string;
  estimate: number; // pixels, until it is measured
}

/** Where rows are. Heights that were measured stay with their key when rows are put before or behind. */
export class Offsets {
  #slots: readonly Slot[] = [];
  #measured = new Map<string, number>();
  #index = new Map<string, number>();
  #tops = new Float64Array(1);
  #valid = 0; // tops[0..valid] are right

  set(slots: readonly Slot[]): void {
    this.#slots = slots;
    this.#index = new Map(slots.map((s, i) => [s.key, i]));
    this.#tops = new Float64Array(slots.length + 1);
    this.#valid = 0;
    if (this.#measured.size > 2 * slots.length + 1000) {
      this.#measured = new Map([...this.#measured].filter(([key]) => this.#index.has(key)));
    }
  }

  get length(): number {
    return this.#slots.length;
  }

  get total(): number {
    return this.top(this.#slots.length);
  }

  /** The index of a row; -1: there is none of this key. */
  indexOf(key: string): number {
    return this.#index.get(key) ?? -1;
  }

  height(index: number): number {
    const slot = this.#slots[index];
    return slot ? (this.#measured.get(slot.key) ?? slot.estimate) : 0;
  }

  /** The upper edge of a row; of the one behind the last: the height of all. */
  top(index: number): number {
    const to = Math.max(0, Math.min(index, this.#slots.length));
    for (let i = this.#valid; i < to; i++) {
      this.#tops[i + 1] = (this.#tops[i] ?? 0) + this.height(i);
    }
    this.#valid = Math.max(this.#valid, to);
    return this.#tops[to] ?? 0;
  }

  /** Notes what a row's height is; false: it was that. */
  measure(key: string, height: number): boolean {
    const index = this.indexOf(key);
    if (index < 0 || Math.abs((this.#measured.get(key) ?? -1) - height) < 0.5) {
      return false;
    }
    this.#measured.set(key, height);
    this.#valid = Math.min(this.#valid, index);
    return true;
  }

  /** The row at a distance from the top, the first or the last one beyond the ends. */
  at(y: number): number {
    this.top(this.#slots.length);
    let low = 0;
    let high = Math.max(0, this.#slots.length - 1);
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.#tops[middle] ?? 0) <= y) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    return low;
  }

  /** The rows to render, first to before last, for what is on screen and a margin before and behind it. */
  window(scrollTop: number, height: number, margin: number): { first: number; last: number } {
    if (this.#slots.length === 0) {
      return { first: 0, last: 0 };
    }
    return { first: this.at(scrollTop - margin), last: this.at(scrollTop + height + margin) + 1 };
  }
}

/** What stays where it is on screen when rows come, go or change their height: the end, or a distance from a row's upper edge. */
export type Anchor = { end: true } | { end: false; key: string; delta: number };

/** How near to the end (pixels) counts as being there. */
export const nearEnd = 48;

/** The anchor of a position: the first row in view that can be one. */
export function anchorAt(
  o: Offsets,
  scrollTop: number,
  height: number,
  keyAt: (index: number) => string | undefined,
): Anchor {
  if (scrollTop + height >= o.total - nearEnd) {
    return { end: true };
  }
  for (let i = o.at(scrollTop); i < o.length; i++) {
    const key = keyAt(i);
    if (key !== undefined) {
      return { end: false, key, delta: scrollTop - o.top(i) };
    }
  }
  return { end: true };
}

/** Where to scroll so that the anchor is where it was; undefined: its row is gone. */
export function positionOf(o: Offsets, anchor: Anchor, height: number): number | undefined {
  const most = Math.max(0, o.total - height);
  if (anchor.end) {
    return most;
  }
  const index = o.indexOf(anchor.key);
  return index < 0 ? undefined : Math.max(0, Math.min(most, o.top(index) + anchor.delta));
}
