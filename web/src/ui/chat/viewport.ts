import { signal } from "@preact/signals";
import type { Row } from "./rows";
import { type Anchor, anchorAt, nearEnd, Offsets, positionOf } from "./virtual";

const margin = 700; // pixels rendered before and behind the screen

/** Scrolls and measures one conversation. Only this touches scrollTop, so that it knows which scrolling was the user's. */
export class Viewport {
  readonly range = signal({ first: 0, last: 0 });
  readonly atEnd = signal(true);
  readonly offsets = new Offsets();
  #rows: readonly Row[] = [];
  #anchor: Anchor = { end: true };
  #scroller: HTMLElement | undefined;
  #body: HTMLElement | undefined;
  #set = Number.NaN; // where it was scrolled to from here
  readonly #sizes = new ResizeObserver(() => this.settle());
  readonly #watched = new Set<Element>();

  attach(scroller: HTMLElement, body: HTMLElement): () => void {
    this.#scroller = scroller;
    this.#body = body;
    this.#sizes.observe(scroller);
    return () => {
      this.#sizes.disconnect();
      this.#watched.clear();
      this.#scroller = undefined;
    };
  }

  /** New rows; called while rendering, so that the right ones are rendered at once. */
  setRows(rows: readonly Row[]): void {
    if (rows === this.#rows) {
      return;
    }
    this.#rows = rows;
    this.offsets.set(rows);
    this.#look();
  }

  #height(): number {
    return this.#scroller?.clientHeight ?? 800;
  }

  /** Chooses the rows to render for where the screen is or is about to be. */
  #look(): void {
    const height = this.#height();
    const top = positionOf(this.offsets, this.#anchor, height) ?? this.#scroller?.scrollTop ?? 0;
    const next = this.offsets.window(top, height, margin);
    const now = this.range.peek();
    if (next.first !== now.first || next.last !== now.last) {
      this.range.value = next;
    }
  }

  /** After rendering, and when something changed its size: measures what is there and puts the anchor back to its place. */
  settle(): void {
    const [scroller, body] = [this.#scroller, this.#body];
    if (!scroller || !body) {
      return;
    }
    const { first, last } = this.range.peek();
    const above = body.firstElementChild as HTMLElement;
    const below = body.lastElementChild as HTMLElement;
    const seen = new Set<Element>();
    for (let e = above.nextElementSibling; e && e !== below; e = e.nextElementSibling) {
      this.offsets.measure((e as HTMLElement).dataset.row ?? "", e.getBoundingClientRect().height);
      seen.add(e);
    }
    this.#observe(seen);
    above.style.height = `${this.offsets.top(first)}px`;
    below.style.height = `${this.offsets.total - this.offsets.top(last)}px`;
    const to = positionOf(this.offsets, this.#anchor, scroller.clientHeight);
    if (to !== undefined && Math.abs(scroller.scrollTop - to) > 0.5) {
      scroller.scrollTop = to;
      this.#set = scroller.scrollTop;
    }
    this.#note();
    this.#look();
  }

  #observe(seen: Set<Element>): void {
    for (const e of this.#watched) {
      if (!seen.has(e)) {
        this.#sizes.unobserve(e);
        this.#watched.delete(e);
      }
    }
    for (const e of seen) {
      if (!this.#watched.has(e)) {
        this.#watched.add(e);
        this.#sizes.observe(e);
      }
    }
  }

  #note(): void {
    const scroller = this.#scroller;
    if (scroller) {
      const left = this.offsets.total - scroller.scrollTop - scroller.clientHeight;
      if (left < 1) {
        this.#anchor = { end: true };
      }
      this.atEnd.value = left <= nearEnd;
    }
  }

  /** The user scrolled. */
  scrolled(): void {
    const scroller = this.#scroller;
    if (!scroller) {
      return;
    }
    const own = Math.abs(scroller.scrollTop - this.#set) < 1;
    this.#set = Number.NaN;
    if (!own) {
      this.#anchor = anchorAt(this.offsets, scroller.scrollTop, scroller.clientHeight, (i) => {
        const row = this.#rows[i];
        return row?.kind === "message" ? row.key : undefined;
      });
    }
    this.#note();
    this.#look();
  }

  toEnd(): void {
    this.#anchor = { end: true };
    this.#look();
    this.settle();
  }

  /** Shows a row a third of the screen below its upper edge; false: there is none of this key. */
  toKey(key: string, share = 1 / 3): boolean {
    if (this.offsets.indexOf(key) < 0) {
      return false;
    }
    this.#anchor = { end: false, key, delta: -this.#height() * share };
    this.#look();
    this.settle();
    return true;
  }

  /** Pixels from the upper edge of all that is loaded. */
  fromTop(): number {
    return this.#scroller?.scrollTop ?? 0;
  }

  element(key: string): HTMLElement | undefined {
    const all = this.#body?.querySelectorAll<HTMLElement>("[data-row]") ?? [];
    return [...all].find((e) => e.dataset.row === key);
  }
}
