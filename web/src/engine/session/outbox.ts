// Messages that are not acked, in the order in which they were written. Each is repeated with the same id until the cluster has stored it,
// which it does once [TT-SESS-11].

import { keyOf } from "../problems";

export interface Parcel {
  /** 16 bytes as hexadecimal digits. */
  readonly id: string;
  readonly type: number; // of the message
  readonly to: number; // person or group
  readonly data: Uint8Array;
  readonly contentType?: string;
  readonly replyTo?: number;
  readonly burnSeconds?: number;
}

export interface Fate {
  acked(parcel: Parcel, msgId: number, time: number): void;
  refused(parcel: Parcel, key: string): void;
}

interface Slot {
  parcel: Parcel;
  sent: boolean;
}

/** How many may be on their way: the server holds up to 256 that come too fast [TT-LIMIT-1]. */
const window = 32;
const defaultPause = 1_000;

export class Outbox {
  /** Something may be sent. */
  poke: () => void = () => undefined;
  private readonly slots: Slot[] = [];
  private readonly byId = new Map<string, Slot>();
  private readonly fate: Fate;
  private heldUntil = 0;
  private holds = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(fate: Fate) {
    this.fate = fate;
  }

  add(parcel: Parcel): void {
    const slot = { parcel, sent: false };
    this.slots.push(slot);
    this.byId.set(parcel.id, slot);
    this.poke();
  }

  /** Puts what a page before this one has left in front of all that is there; what is there already stays as it is. */
  resume(parcels: readonly Parcel[]): void {
    const slots = parcels.filter((p) => !this.byId.has(p.id)).map((parcel) => ({ parcel, sent: false }));
    this.slots.unshift(...slots);
    for (const slot of slots) {
      this.byId.set(slot.parcel.id, slot);
    }
    this.poke();
  }

  /** Nothing goes until the returned function is called: something may still come in front. */
  hold(): () => void {
    this.holds++;
    return () => {
      this.holds--;
      this.poke();
    };
  }

  /** The next to be sent, in order; undefined: none now. */
  next(): Parcel | undefined {
    if (this.holds > 0 || Date.now() < this.heldUntil) {
      return undefined;
    }
    const slot = this.slots.slice(0, window).find((s) => !s.sent);
    if (slot) {
      slot.sent = true;
    }
    return slot?.parcel;
  }

  get underWay(): number {
    return this.slots.filter((s) => s.sent).length;
  }

  /** The cluster has stored it: by its ack, or because it came as an event [TT-SESS-13]. */
  acked(id: string, msgId: number, time: number): void {
    const parcel = this.take(id);
    if (parcel) {
      this.fate.acked(parcel, msgId, time);
      this.poke();
    }
  }

  /** It will never be stored. */
  refused(id: string, code: number): void {
    const parcel = this.take(id);
    if (parcel) {
      this.fate.refused(parcel, keyOf(code));
      this.poke();
    }
  }

  /** It, and what is behind it, goes again after a while. */
  putOff(id: string, retryAfter: number): void {
    const slot = this.byId.get(id);
    if (!slot) {
      return;
    }
    // What is behind it may have been stored already: repeating it does no harm, and keeps the order of what was not.
    for (const later of this.slots.slice(this.slots.indexOf(slot))) {
      later.sent = false;
    }
    const pause = retryAfter || defaultPause;
    this.heldUntil = Math.max(this.heldUntil, Date.now() + pause);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.poke(), this.heldUntil - Date.now() + 1);
  }

  /** The connection is gone: what was on its way goes again, first and in order [TT-SESS-3]. */
  lost(): void {
    this.heldUntil = 0;
    for (const slot of this.slots) {
      slot.sent = false;
    }
  }

  /** Forgets everything. */
  clear(): void {
    clearTimeout(this.timer);
    this.slots.length = 0;
    this.byId.clear();
  }

  private take(id: string): Parcel | undefined {
    const slot = this.byId.get(id);
    if (!slot) {
      return undefined;
    }
    this.byId.delete(id);
    this.slots.splice(this.slots.indexOf(slot), 1);
    return slot.parcel;
  }
}

/** Unique: 6 bytes of milliseconds, then 10 random ones. */
export function newMessageId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const view = new DataView(bytes.buffer);
  const now = Date.now();
  view.setUint16(0, Math.floor(now / 2 ** 32));
  view.setUint32(2, now % 2 ** 32);
  return toHex(bytes);
}

export function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
}

export function fromHex(text: string): Uint8Array {
  return Uint8Array.from(text.match(/../g) ?? [], (b) => Number.parseInt(b, 16));
}
