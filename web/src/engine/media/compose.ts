// From what was written to what is sent: content goes up first, then the message that shows it, which is repeated until it is stored.

import { MsgType } from "../../pb/IM.BaseDefine_pb";
import type { ConversationKey, Draft, Part } from "../api";
import type { Unsent, UnsentShelf } from "../local/unsent";
import { problem, problemOf } from "../problems";
import { type Fate, newMessageId, type Outbox, type Parcel } from "../session/outbox";
import type { Conversations } from "../store/conversations";
import { type Entry, group, sessionOfKey } from "../store/entry";
import { encryptText } from "../wire/crypt";
import { fileForm, fileType, partsOf, pictureText, plainOf, sizeText, voiceForm } from "./forms";
import type { Stored, Transfer } from "./transfer";

const dataMost = 128 << 10; // bytes of a text's data [TT-MSG-15]

interface Upload {
  blob: Blob;
  name: string;
  isPicture?: boolean;
  stored?: Stored;
}

/** For so long a message may be sent again by itself: the cluster knows for seven days that it has it already [TT-SESS-11]. */
const resendWithin = 6 * 24 * 3_600_000;

/** A message on its way. */
interface Job {
  key: ConversationKey;
  id: string; // of the message, for the server
  time: number; // ms since 1970
  typed: string; // what of its text is known before the uploads
  uploads: Upload[];
  text(stored: Stored[]): string;
  contentType?: string;
  replyTo?: number;
  burnSeconds?: number;
  giveUp: AbortController;
}

type Content = Pick<Job, "typed" | "uploads" | "text" | "contentType">;

interface Extras {
  replyTo?: number | undefined;
  burnSeconds?: number | undefined;
}

export class Composer implements Fate {
  outbox: Outbox | undefined;
  private readonly conversations: Conversations;
  private readonly transfer: Transfer;
  private readonly unsent: UnsentShelf;
  private readonly me: () => number;
  private readonly jobs = new Map<string, Job>(); // by the message's key
  private lastOrder = 0;

  constructor(conversations: Conversations, transfer: Transfer, unsent: UnsentShelf, me: () => number) {
    this.conversations = conversations;
    this.transfer = transfer;
    this.unsent = unsent;
    this.me = me;
  }

  /** A text with pictures behind it. */
  write(key: ConversationKey, draft: Draft): void {
    const pictures = draft.pictures ?? [];
    const text = draft.text;
    if (text === "" && pictures.length === 0) {
      return;
    }
    if (encryptText(text).length > dataMost) {
      throw problem("problem.tooLarge", { size: sizeText((dataMost / 4) * 3) });
    }
    const shown: Part[] = [
      ...partsOf(text, ""),
      ...pictures.map((p) => ({ kind: "picture" as const, path: URL.createObjectURL(p) })),
    ];
    this.begin(key, shown, draft, {
      typed: text,
      uploads: pictures.map((blob, i) => ({ blob, name: pictureName(blob, i), isPicture: true })),
      text: (stored) => text + stored.map((s) => pictureText(s.url)).join(""),
    });
  }

  file(key: ConversationKey, file: File, burnSeconds?: number): void {
    const name = file.name.split(/[\\/]/).pop() || "file"; // a name, wherever it was
    const shown: Part = { kind: "file", name, sizeText: sizeText(file.size), path: "" };
    const text = ([s]: Stored[]) => fileForm(name, s?.size ?? file.size, s?.url ?? "");
    const uploads = [{ blob: file, name }];
    this.begin(key, [shown], { burnSeconds }, { typed: "", uploads, text, contentType: fileType });
  }

  voice(key: ConversationKey, voice: Blob, seconds: number): void {
    const type = voiceType(voice.type);
    const shown: Part = { kind: "voice", seconds, path: URL.createObjectURL(voice), type };
    const name = `voice.${/^audio\/(\w+)/.exec(type)?.[1] ?? "webm"}`;
    const text = ([s]: Stored[]) => voiceForm(seconds, s?.url ?? "");
    this.begin(key, [shown], {}, { typed: "", uploads: [{ blob: voice, name }], text, contentType: type });
  }

  private begin(key: ConversationKey, parts: Part[], extras: Extras, what: Content): void {
    const { replyTo, burnSeconds } = extras;
    const more = { ...(replyTo && { replyTo }), ...(burnSeconds && { burnSeconds }) };
    const job: Job = { key, id: newMessageId(), time: Date.now(), giveUp: new AbortController(), ...what, ...more };
    const entry = this.show(job, parts);
    if (job.uploads.length > 0) {
      this.keep(job);
    }
    void this.run(entry.key, job);
  }

  /** Puts a message at the end of its conversation. */
  private show(job: Job, parts: Part[], failed?: { reason: string; lost: boolean }): Entry {
    const { reason, lost } = failed ?? {};
    const entry: Entry = {
      key: `c${job.id}`,
      id: 0,
      order: 0,
      from: this.me(),
      mine: true,
      time: job.time,
      parts,
      plain: plainOf(parts),
      delivery: failed ? "failed" : "sending",
      state: "live",
      hubSeq: 0,
      ...(reason && { reason }),
      ...(lost && { lost }),
      ...(job.replyTo && { replyTo: job.replyTo }),
      ...(job.burnSeconds && { burnSeconds: job.burnSeconds }),
      ...(job.uploads.length > 0 && { progress: 0 }),
    };
    this.jobs.set(entry.key, job);
    this.conversations.talk(job.key).write(entry);
    this.conversations.wrote(job.key, entry.time);
    return entry;
  }

  // What outlives the page.

  /** Keeps a message for the page after this one: whole if it waits for nothing but a connection. */
  private keep(job: Job, text?: string, reason?: string): void {
    this.lastOrder = Math.max(this.lastOrder + 1, Date.now() * 1_000);
    const missing =
      text === undefined ? job.uploads.map((u) => ({ name: u.name, sizeText: sizeText(u.blob.size) })) : [];
    this.unsent.put({
      id: job.id,
      user: this.me(),
      order: this.lastOrder,
      key: job.key,
      time: job.time,
      text: text ?? job.typed,
      ...(missing.length > 0 && { missing }),
      ...(job.contentType && { contentType: job.contentType }),
      ...(job.replyTo && { replyTo: job.replyTo }),
      ...(job.burnSeconds && { burnSeconds: job.burnSeconds }),
      ...(reason && { reason }),
    });
  }

  /** Goes on with what a page before this one has left, in that order [TT-WEB-3]. */
  resume(items: readonly Unsent[]): void {
    const parcels: Parcel[] = [];
    for (const item of items) {
      this.lastOrder = Math.max(this.lastOrder, item.order);
      const messageKey = `c${item.id}`;
      if (this.jobs.has(messageKey)) {
        continue; // of this page
      }
      if (this.conversations.talk(item.key).find(messageKey)) {
        this.unsent.drop(item.id); // a history has it meanwhile
        continue;
      }
      const { id, key, time, text, missing = [], contentType, replyTo, burnSeconds } = item;
      const extras = { ...(contentType && { contentType }), ...(replyTo && { replyTo }) };
      const giveUp = new AbortController();
      const whole = { id, key, time, typed: text, text: () => text, uploads: [], giveUp };
      const job: Job = { ...whole, ...extras, ...(burnSeconds && { burnSeconds }) };
      const tooOld = Date.now() - time > resendWithin ? "problem.waited" : undefined;
      const reason = missing.length > 0 ? "problem.chooseAgain" : (item.reason ?? tooOld);
      const files: Part[] = missing.map((m) => ({ kind: "file", name: m.name, sizeText: m.sizeText, path: "" }));
      const parts = missing.length > 0 ? [...partsOf(text, ""), ...files] : partsOf(text, contentType ?? "");
      this.show(job, parts, reason ? { reason, lost: missing.length > 0 } : undefined);
      if (!reason) {
        parcels.push(parcelOf(job, text));
      }
    }
    this.outbox?.resume(parcels);
  }

  /** A history has it: it is stored, whatever has become of the ack. */
  found(entry: Entry): void {
    if (entry.mine && this.jobs.has(entry.key)) {
      this.outbox?.acked(entry.key.slice(1), entry.id, entry.time);
      this.settle(entry.key, entry.id, entry.time);
    }
  }

  /** Brings up what is not there yet, then hands the message on: at once if there is nothing to bring, so that texts keep their order. */
  private async run(messageKey: string, job: Job): Promise<void> {
    try {
      const whole = job.uploads.reduce((sum, u) => sum + u.blob.size, 0) || 1;
      let before = 0;
      for (const upload of job.uploads) {
        const report = (part: number) => this.progress(messageKey, job, (before + part * upload.blob.size) / whole);
        upload.stored ??= await this.transfer.upload(upload.blob, upload.name, report, job.giveUp.signal);
        if (upload.isPicture && !upload.stored.type.startsWith("image/")) {
          throw problem("problem.noPicture"); // the server has looked into it
        }
        before += upload.blob.size;
      }
      this.dispatch(messageKey, job);
    } catch (error) {
      if (!job.giveUp.signal.aborted) {
        const { key } = problemOf(error);
        // Without the number, for which there is no place beside a message.
        this.failed(messageKey, job, key === "problem.tooLarge" ? "problem.tooLargeHere" : key);
      }
    }
  }

  private dispatch(messageKey: string, job: Job): void {
    const stored = storedOf(job);
    const text = job.text(stored);
    const talk = this.conversations.talk(job.key);
    const entry = talk.find(messageKey);
    if (!entry) {
      return; // it was discarded meanwhile
    }
    if (stored.length > 0) {
      const { progress: _, ...rest } = entry;
      const parts = partsOf(text, job.contentType ?? "");
      talk.remove(entry);
      talk.put({ ...rest, parts, plain: plainOf(parts) });
      forget(entry.parts);
    }
    this.keep(job, text);
    this.outbox?.add(parcelOf(job, text));
  }

  private progress(messageKey: string, job: Job, progress: number): void {
    const talk = this.conversations.talk(job.key);
    const entry = talk.find(messageKey);
    if (entry?.id === 0) {
      talk.change(entry, { progress });
    }
  }

  private failed(messageKey: string, job: Job, reason: string): void {
    const talk = this.conversations.talk(job.key);
    const entry = talk.find(messageKey);
    if (entry) {
      const { progress: _, ...rest } = entry;
      talk.remove(entry);
      talk.put({ ...rest, delivery: "failed", reason });
      const isWhole = job.uploads.every((u) => u.stored);
      this.keep(job, isWhole ? job.text(storedOf(job)) : undefined, reason);
    }
  }

  // What became of it.

  acked(parcel: Parcel, msgId: number, time: number): void {
    this.settle(`c${parcel.id}`, msgId, time);
  }

  private settle(messageKey: string, msgId: number, time: number): void {
    const job = this.jobs.get(messageKey);
    if (!this.jobs.delete(messageKey)) {
      return;
    }
    this.unsent.drop(messageKey.slice(1));
    const talk = job && this.conversations.talk(job.key);
    const entry = talk?.find(messageKey);
    if (job && talk && entry) {
      const next = talk.change(entry, { id: msgId, time, delivery: "sent" });
      this.conversations.stored(job.key, next);
    }
  }

  refused(parcel: Parcel, key: string): void {
    const job = this.jobs.get(`c${parcel.id}`);
    if (job) {
      this.failed(`c${parcel.id}`, job, key);
    }
  }

  // What the user does about it.

  retry(key: ConversationKey, messageKey: string): void {
    const job = this.jobs.get(messageKey);
    const talk = this.conversations.talk(key);
    const entry = talk.find(messageKey);
    if (!job || entry?.delivery !== "failed" || entry.lost) {
      return;
    }
    const { reason: _, ...rest } = entry;
    talk.remove(entry);
    talk.write({ ...rest, delivery: "sending", ...(job.uploads.some((u) => !u.stored) && { progress: 0 }) });
    job.giveUp = new AbortController();
    void this.run(messageKey, job);
  }

  /** Takes a message back that has not been handed on: one that failed, or is still being uploaded. */
  discard(key: ConversationKey, messageKey: string): void {
    const talk = this.conversations.talk(key);
    const entry = talk.find(messageKey);
    const job = this.jobs.get(messageKey);
    const isUploading = job?.uploads.some((u) => !u.stored) ?? false;
    if (!entry || entry.id > 0 || !(entry.delivery === "failed" || isUploading)) {
      return;
    }
    job?.giveUp.abort(new DOMException("cancelled", "AbortError"));
    this.jobs.delete(messageKey);
    this.unsent.drop(messageKey.slice(1));
    talk.remove(entry);
    forget(entry.parts);
  }

  clear(): void {
    for (const job of this.jobs.values()) {
      job.giveUp.abort(new DOMException("logged out", "AbortError"));
    }
    this.jobs.clear();
    this.unsent.leave(); // whoever logs in next in this browser as the same user goes on with it
  }
}

function storedOf(job: Job): Stored[] {
  return job.uploads.map((u) => u.stored).filter((s) => s !== undefined);
}

/** What the outbox sends. */
function parcelOf(job: Job, text: string): Parcel {
  const to = sessionOfKey(job.key);
  return {
    id: job.id,
    type: to.type === group ? MsgType.GROUP_TEXT : MsgType.SINGLE_TEXT,
    to: to.id,
    data: encryptText(text),
    ...(job.contentType && { contentType: job.contentType }),
    ...(job.replyTo && { replyTo: job.replyTo }),
    ...(job.burnSeconds && { burnSeconds: job.burnSeconds }),
  };
}

const revokeAfter = 60_000; // pictures that are still being shown under their local names

/** Lets go of what was shown from memory. */
function forget(parts: readonly Part[]): void {
  for (const part of parts) {
    if ((part.kind === "picture" || part.kind === "voice") && part.path.startsWith("blob:")) {
      setTimeout(() => URL.revokeObjectURL(part.path), revokeAfter);
    }
  }
}

/** A name with the extension that belongs to the type. */
export function pictureName(blob: Blob, index: number): string {
  const given = blob instanceof File ? blob.name : "";
  return given || `picture${index + 1}.${/^image\/(\w+)/.exec(blob.type)?.[1] ?? "png"}`;
}

/** The content type of a voice message, in the form that clients say they play. */
function voiceType(type: string): string {
  const [base = "", codec = ""] = type.toLowerCase().replace(/\s+/g, "").split(";");
  return codec === "codecs=opus" ? `${base};${codec}` : base || "audio/webm";
}
