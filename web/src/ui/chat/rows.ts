// What a conversation shows, row by row: messages, days, the line before the new ones.

import type { Message } from "../../engine/api";
import { dayOf } from "../format";
import type { Slot } from "./virtual";

export type Row = Slot &
  (
    | { kind: "head" }
    | { kind: "day"; time: number }
    | { kind: "new" }
    | { kind: "message"; message: Message; first: boolean; last: boolean } // of a run of one author
  );

/** Messages of one author that are no further apart than this are one run: one name, one picture. */
const run = 5 * 60_000;

/** Pixels, roughly: a wrong guess costs nothing but the scroll bar's exactness. */
export function estimate(m: Message, first: boolean, perLine: number): number {
  if (m.state !== "live") {
    return 34;
  }
  let height = first ? 30 : 6;
  for (const p of m.parts) {
    if (p.kind === "text") {
      for (const line of p.text.split("\n")) {
        height += 21 * Math.max(1, Math.ceil(line.length / perLine));
      }
    } else if (p.kind === "picture") {
      height += p.width && p.height ? Math.min(280, (p.height * Math.min(320, p.width)) / p.width) : 220;
    } else {
      height += 60;
    }
  }
  return height + (m.replyTo ? 48 : 0) + 14;
}

export interface View {
  messages: readonly Message[];
  readUpTo: number | undefined; // the line of the new ones is behind this id; undefined: there is none
  perLine: number; // letters of a line, for estimates
}

function together(a: Message | undefined, b: Message): boolean {
  return (
    a !== undefined &&
    a.from === b.from &&
    a.mine === b.mine &&
    a.state === "live" &&
    b.state === "live" &&
    b.time - a.time < run
  );
}

/** The rows, oldest first. The line before the new ones is there if some of them is not one's own and something is before it. */
export function buildRows({ messages, readUpTo, perLine }: View): Row[] {
  const rows: Row[] = [{ kind: "head", key: "head", estimate: 56 }];
  let before: Message | undefined;
  let lined = false;
  let day = 0;
  for (const [i, message] of messages.entries()) {
    const today = dayOf(message.time);
    let apart = false;
    if (today !== day) {
      rows.push({
        kind: "day",
        key: `day ${today} ${rows.length === 1 ? "first" : message.key}`,
        time: message.time,
        estimate: 44,
      });
      day = today;
      apart = true;
    }
    if (!lined && readUpTo !== undefined && message.id > readUpTo && !message.mine) {
      rows.push({ kind: "new", key: "new", estimate: 36 });
      lined = true;
      apart = true;
    }
    const next = messages[i + 1];
    const first = apart || !together(before, message);
    const joined = next !== undefined && together(message, next) && dayOf(next.time) === today;
    const last = !joined || (!lined && readUpTo !== undefined && next.id > readUpTo && !next.mine);
    rows.push({ kind: "message", key: message.key, message, first, last, estimate: estimate(message, first, perLine) });
    before = message;
  }
  return rows;
}

/** Behind which message the line belongs if so many of others' are new; undefined: behind none, or further back than what is loaded. */
export function lineFor(messages: readonly Message[], unread: number, complete: boolean): number | undefined {
  let left = unread;
  for (let i = messages.length - 1; i >= 0 && left > 0; i--) {
    const m = messages[i];
    if (m && m.id > 0 && !m.mine && --left === 0) {
      return m.id - 1;
    }
  }
  return left > 0 && unread > 0 && complete && messages.length > 0 ? 0 : undefined;
}
