// From what was written to what is sent: content goes up first, then the message that shows it, which is repeated until it is stored.

import { MsgType } from "../../pb/IM.BaseDefine_pb";
import type { ConversationKey, Draft, Part } from "../api";
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

/** A message on its way. */
interface Job {
  key: ConversationKey;
  id: string; // of the message, for the server
  uploads: Upload[];
  text(stored: Stored[]): string;
  contentType?: string;
  replyTo?: number;
  burnSeconds?: number;
  giveUp: AbortController;
}

interface Extras {
  replyTo?: number | undefined;
  burnSeconds?: number | undefined;
}

export class Composer implements Fate {
  outbox: Outbox | undefined;
  private readonly conversations: Conversations;
  private readonly transfer: Transfer;
  private readonly me: () => number;
  private readonly jobs = new Map<string, Job>(); // by the message's key

  constructor(conversations: Conversations, transfer: Transfer, me: () => number) {
    this.conversations = conversations;
    this.transfer = transfer;
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
    this.begin(
      key,
      shown,
      pictures.map((blob, i) => ({ blob, name: pictureName(blob, i), isPicture: true })),
      (stored) => text + stored.map((s) => pictureText(s.url)).join(""),
      undefined,
      draft,
    );
  }

  file(key: ConversationKey, file: File, burnSeconds?: number): void {
    const name = file.name.split(/[\\/]/).pop() || "file"; // a name, wherever it was
    const shown: Part = { kind: "file", name, sizeText: sizeText(file.size), path: "" };
    const text = ([s]: Stored[]) => fileForm(name, s?.size ?? file.size, s?.url ?? "");
    this.begin(key, [shown], [{ blob: file, name }], text, fileType, { burnSeconds });
  }

  voice(key: ConversationKey, voice: Blob, seconds: number): void {
    const type = voiceType(voice.type);
    const shown: Part = { kind: "voice", seconds, path: URL.createObjectURL(voice), type };
    const name = `voice.${/^audio\/(\w+)/.exec(type)?.[1] ?? "webm"}`;
    this.begin(key, [shown], [{ blob: voice, name }], ([s]) => voiceForm(seconds, s?.url ?? ""), type, {});
  }

  private begin(
    key: ConversationKey,
    parts: Part[],
    uploads: Job["uploads"],
    text: Job["text"],
    contentType: string | undefined,
    extras: Extras,
  ): void {
    const id = newMessageId();
    const { replyTo, burnSeconds } = extras;
    const more = { ...(replyTo && { replyTo }), ...(burnSeconds && { burnSeconds }) };
    const entry: Entry = {
      key: `c${id}`,
      id: 0,
      order: 0,
      from: this.me(),
      mine: true,
      time: Date.now(),
      parts,
      plain: plainOf(parts),
      delivery: "sending",
      state: "live",
      hubSeq: 0,
      ...more,
      ...(uploads.length > 0 && { progress: 0 }),
    };
    const job: Job = {
      key,
      id,
      uploads,
      text,
      giveUp: new AbortController(),
      ...more,
      ...(contentType && { contentType }),
    };
    this.jobs.set(entry.key, job);
    this.conversations.talk(key).write(entry);
    this.conversations.wrote(key, entry.time);
    void this.run(entry.key, job);
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
    const stored = job.uploads.map((u) => u.stored).filter((s) => s !== undefined);
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
    const to = sessionOfKey(job.key);
    const parcel: Parcel = {
      id: job.id,
      type: to.type === group ? MsgType.GROUP_TEXT : MsgType.SINGLE_TEXT,
      to: to.id,
      data: encryptText(text),
      ...(job.contentType && { contentType: job.contentType }),
      ...(job.replyTo && { replyTo: job.replyTo }),
      ...(job.burnSeconds && { burnSeconds: job.burnSeconds }),
    };
    this.outbox?.add(parcel);
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
    }
  }

  // What became of it.

  acked(parcel: Parcel, msgId: number, time: number): void {
    const messageKey = `c${parcel.id}`;
    const job = this.jobs.get(messageKey);
    this.jobs.delete(messageKey);
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
    if (!job || entry?.delivery !== "failed") {
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
    talk.remove(entry);
    forget(entry.parts);
  }

  clear(): void {
    for (const job of this.jobs.values()) {
      job.giveUp.abort(new DOMException("logged out", "AbortError"));
    }
    this.jobs.clear();
  }
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
