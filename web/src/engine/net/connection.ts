// Connections that carry whole PDUs in order, whatever is beneath.

import type { TransportName } from "../api";
import type { Pdu } from "../wire/pdu";

/** Where one way to the server is. */
export interface Route {
  readonly transport: TransportName;
  readonly url: string;
}

export interface Connection {
  readonly route: Route;
  /** When anything was last heard, ms. */
  heard(): number;
  /** Bytes that wait to be sent. */
  waiting(): number;
  /** Takes whole PDUs; what is sent after the end is dropped. */
  send(bytes: Uint8Array<ArrayBuffer>): void;
  /** Ends the connection when what was sent is out. */
  close(): void;
  /** Says where what comes goes: whatever came before this, too. Called once. */
  open(sink: Sink): void;
}

export interface Sink {
  pdu(pdu: Pdu): void;
  /** The last word: nothing comes after it. Not called for a connection that was closed from here. */
  lost(why: string): void;
}

/** Opens a connection; aborting gives it up. */
export type Opener = (route: Route, signal: AbortSignal) => Promise<Connection>;

/** What all connections have: a sink that may come later than the first PDUs, and one end. */
export abstract class Base implements Connection {
  readonly route: Route;
  protected ended = false;
  private sink: Sink | undefined;
  private early: Pdu[] = [];
  private word: string | undefined;
  private last = Date.now();

  constructor(route: Route) {
    this.route = route;
  }

  heard(): number {
    return this.last;
  }

  open(sink: Sink): void {
    this.sink = sink;
    const early = this.early;
    this.early = [];
    for (const pdu of early) {
      sink.pdu(pdu);
    }
    if (this.word !== undefined) {
      sink.lost(this.word);
    }
  }

  abstract waiting(): number;
  abstract send(bytes: Uint8Array<ArrayBuffer>): void;
  abstract close(): void;

  protected alive(): void {
    this.last = Date.now();
  }

  protected came(pdus: readonly Pdu[]): void {
    this.alive();
    for (const pdu of pdus) {
      if (this.ended) {
        return;
      }
      if (this.sink) {
        this.sink.pdu(pdu);
      } else {
        this.early.push(pdu);
      }
    }
  }

  protected broken(why: string): void {
    if (this.ended) {
      return;
    }
    this.ended = true;
    this.word = why;
    this.sink?.lost(why);
  }
}
