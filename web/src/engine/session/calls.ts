// Requests and their answers. A request waits for a connection; one that asks only is repeated on the next if its answer is lost.

import type { DescMessage, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { keyOf, problem } from "../problems";
import type { Pdu } from "../wire/pdu";

/** What may be asked: a command with its body, and what answers it. */
export interface Question<Req extends DescMessage, Res extends DescMessage> {
  command: number;
  request: Req;
  answer: number;
  response: Res;
  /** It changes something: not to be repeated when it is not known whether it was carried out. */
  once?: boolean;
}

export interface Call {
  readonly command: number;
  readonly body: Uint8Array;
  readonly answer: number;
  readonly once: boolean;
  sent: boolean;
  settle(pdu: Pdu | undefined, why?: Error): void;
}

const patience = 30_000;

export class Calls {
  /** Something may be sent. */
  poke: () => void = () => undefined;
  private readonly open = new Set<Call>();

  ask<Req extends DescMessage, Res extends DescMessage>(
    q: Question<Req, Res>,
    init: MessageInitShape<Req>,
  ): Promise<MessageShape<Res>> {
    return new Promise((resolve, reject) => {
      const settle = (pdu: Pdu | undefined, why?: Error) => {
        if (!this.open.delete(call)) {
          return;
        }
        clearTimeout(timer);
        try {
          if (!pdu) {
            throw why ?? problem("problem.timeout");
          }
          resolve(fromBinary(q.response, pdu.body));
        } catch (error) {
          reject(error);
        }
      };
      const body = toBinary(q.request, create(q.request, init));
      const call: Call = { command: q.command, body, answer: q.answer, once: q.once ?? false, sent: false, settle };
      const timer = setTimeout(() => settle(undefined, problem("problem.timeout")), patience);
      this.open.add(call);
      this.poke();
    });
  }

  /** The next that is to be sent. */
  next(): Call | undefined {
    for (const call of this.open) {
      if (!call.sent) {
        call.sent = true;
        return call;
      }
    }
    return undefined;
  }

  /** An ERROR came instead of the answer. */
  refused(call: Call, code: number, text: string): void {
    call.settle(undefined, problem(keyOf(code), { text }));
  }

  /** How many would fail if the connection ended now. */
  get atStake(): number {
    let n = 0;
    for (const call of this.open) {
      n += call.sent && call.once ? 1 : 0;
    }
    return n;
  }

  /** The connection is gone. */
  lost(): void {
    for (const call of [...this.open]) {
      if (call.sent && call.once) {
        call.settle(undefined, problem("problem.closed"));
      }
      call.sent = false;
    }
  }

  /** Nobody is logged in any more. */
  stop(key: string): void {
    for (const call of [...this.open]) {
      call.settle(undefined, problem(key));
    }
  }
}
