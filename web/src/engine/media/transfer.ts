// Content over HTTP: signed addresses to fetch from, and uploads that go on where they broke off [TT-MEDIA-1] [TT-MEDIA-5].

import { MediaReqSchema, MediaRspSchema } from "../../pb/chatpb/chat_pb";
import { pause } from "../net/pause";
import { keyOf, problem } from "../problems";
import type { Calls } from "../session/calls";
import { Cmd } from "../wire/commands";
import { sizeText } from "./forms";

const kind = { upload: 1, download: 2, taskUpload: 3, taskDownload: 4 } as const;

const question = { command: Cmd.mediaReq, request: MediaReqSchema, answer: Cmd.mediaRes, response: MediaRspSchema };

const pathsMost = 100; // of one question
const gatherTime = 10; // ms in which paths are gathered
const margin = 60_000; // ms before its end an address is no longer handed out
const pieceMost = 4 << 20; // bytes of one request
const triesMost = 6; // in a row that bring nothing
const firstPause = 300;
const heldMost = 200; // more than a page shows at once
const revokeAfter = 60_000; // whoever got it last has loaded it by then

/** What an upload came to. */
export interface Stored {
  path: string;
  url: string;
  size: number;
  type: string;
  width?: number;
  height?: number;
}

/** One piece on its way; progress is in bytes of it. */
export type Post = (
  url: string,
  offset: number,
  piece: Blob,
  progress: (sent: number) => void,
  signal: AbortSignal,
) => Promise<{ status: number; body: unknown }>;

interface Address {
  url: string;
  until: number;
}

interface Wanted {
  path: string;
  resolve(url: string): void;
  reject(error: unknown): void;
}

export class Transfer {
  /** Bytes of an upload, as the server said last. */
  mostUpload = 100 << 20;
  private readonly calls: Calls;
  private readonly base: () => string;
  private readonly post: Post;
  private readonly addresses = new Map<string, Address>();
  private readonly held = new Map<string, Promise<string>>(); // by path, as blob: URLs
  private wanted: Wanted[] = [];

  /** base: the origin of the node that the session is on, at the time, or "" if it is the page's own. */
  constructor(calls: Calls, base: () => string = () => "", post: Post = postPiece) {
    this.calls = calls;
    this.base = base;
    this.post = post;
  }

  /** What a path can be shown from, again and again: an address of the page's own origin, or a blob:. */
  async address(path: string): Promise<string> {
    const at = await this.addressOf(path);
    const base = this.base();
    return base === "" ? at : this.hold(path, base + at);
  }

  /** What a path can be saved from, at once: not held, as nobody asks for a whole file twice in a row. */
  async once(path: string): Promise<string> {
    const at = await this.addressOf(path);
    const base = this.base();
    if (base === "") {
      return at;
    }
    const url = await fetched(base + at);
    revokeLater(url);
    return url;
  }

  /** Fetches content from another node than the page's own: only so may a page show and save what is of another origin. */
  private hold(path: string, url: string): Promise<string> {
    let held = this.held.get(path);
    if (!held) {
      held = fetched(url);
      this.held.set(path, held);
      this.trim();
      held.catch(() => this.held.delete(path)); // the next time it is tried again
    }
    return held;
  }

  /** Lets go of what was fetched first: the interface asks anew for what it can't load any more. */
  private trim(): void {
    for (const [path, held] of this.held) {
      if (this.held.size <= heldMost) {
        return;
      }
      this.held.delete(path);
      held.then(revokeLater, () => undefined);
    }
  }

  /** Where a path can be fetched from at any node. Those asked for at about the same time are asked for together. */
  private addressOf(path: string): Promise<string> {
    const known = this.addresses.get(path);
    if (known && known.until > Date.now()) {
      return Promise.resolve(known.url);
    }
    return new Promise((resolve, reject) => {
      if (this.wanted.length === 0) {
        setTimeout(() => void this.askWanted(), gatherTime);
      }
      this.wanted.push({ path, resolve, reject });
    });
  }

  private async askWanted(): Promise<void> {
    const all = this.wanted;
    this.wanted = [];
    const paths = [...new Set(all.map((w) => w.path))];
    for (let at = 0; at < paths.length; at += pathsMost) {
      const some = paths.slice(at, at + pathsMost);
      const theirs = all.filter((w) => some.includes(w.path));
      try {
        await this.fetchAddresses(some);
        for (const w of theirs) {
          const found = this.addresses.get(w.path);
          found ? w.resolve(found.url) : w.reject(problem("problem.notFound"));
        }
      } catch (error) {
        for (const w of theirs) {
          w.reject(error);
        }
      }
    }
  }

  private async fetchAddresses(paths: string[]): Promise<void> {
    const answer = await this.calls.ask(question, { kind: kind.download, paths });
    if (answer.code !== 0) {
      throw problem(keyOf(answer.code), { text: answer.message });
    }
    const until = Date.now() + answer.expiresS * 1_000 - margin;
    paths.forEach((path, i) => {
      const url = answer.urls[i];
      if (url) {
        this.addresses.set(path, { url, until });
      }
    });
  }

  /** Where the file that an old client left for me can be fetched from. */
  async taskAddress(task: string): Promise<string> {
    const answer = await this.calls.ask(question, { kind: kind.taskDownload, taskId: task });
    const url = answer.urls[0];
    if (answer.code !== 0 || !url) {
      throw problem(keyOf(answer.code), { text: answer.message });
    }
    return this.base() + url;
  }

  /** Learns how large an upload may be, by asking for one of nothing. */
  async learn(): Promise<void> {
    const answer = await this.calls.ask(question, { kind: kind.upload, name: "nothing", size: 0n });
    this.mostUpload = Number(answer.maxBytes) || this.mostUpload;
  }

  /** Brings something to the server; progress is 0 to 1. */
  async upload(blob: Blob, name: string, progress: (part: number) => void, signal: AbortSignal): Promise<Stored> {
    const request = { kind: kind.upload, name, size: BigInt(blob.size), contentType: blob.type };
    const answer = await this.calls.ask(question, request);
    if (answer.maxBytes > 0n) {
      this.mostUpload = Number(answer.maxBytes);
    }
    const url = answer.urls[0];
    if (answer.code !== 0 || !url) {
      throw problem(keyOf(answer.code), { text: answer.message, size: sizeText(this.mostUpload) });
    }
    return this.send(url, blob, progress, signal);
  }

  /** Posts piece after piece, from wherever the server says that it has got to. */
  private async send(at: string, blob: Blob, progress: (part: number) => void, signal: AbortSignal): Promise<Stored> {
    let offset = 0;
    for (let tries = 0; tries < triesMost; ) {
      signal.throwIfAborted();
      const url = this.base() + at; // the session may have moved
      const piece = blob.slice(offset, offset + pieceMost);
      const report = (sent: number) => progress(blob.size > 0 ? (offset + sent) / blob.size : 1);
      const { status, body } = await this.post(url, offset, piece, report, signal).catch(failed);
      const next = (body as { offset?: number } | undefined)?.offset;
      if (status === 200) {
        progress(1);
        return body as Stored;
      }
      if ((status === 202 || status === 409) && next !== undefined) {
        tries = next > offset ? 0 : tries + 1; // it may also begin anew, at another node
        offset = next;
        continue;
      }
      if (status !== 0 && !isPassing(status)) {
        throw refusal(status, this.mostUpload);
      }
      await pause((firstPause * 2 ** tries++ * (1 + Math.random())) / 2, signal);
      offset = (await this.offsetOf(this.base() + at, signal)) ?? offset;
    }
    throw problem("problem.uploadFailed");
  }

  private async offsetOf(url: string, signal: AbortSignal): Promise<number | undefined> {
    try {
      const answer = await fetch(url, { cache: "no-store", signal });
      const body = (await answer.json()) as { offset?: number; size?: number };
      return answer.ok ? (body.offset ?? body.size) : undefined;
    } catch {
      signal.throwIfAborted();
      return undefined;
    }
  }

  clear(): void {
    this.addresses.clear();
    for (const held of this.held.values()) {
      held.then(URL.revokeObjectURL, () => undefined);
    }
    this.held.clear();
  }
}

/** Gives a blob: back when the browser has taken over what it was made for. */
export function revokeLater(url: string): void {
  setTimeout(() => URL.revokeObjectURL(url), revokeAfter);
}

async function fetched(url: string): Promise<string> {
  const answer = await fetch(url, { credentials: "omit" });
  if (!answer.ok) {
    throw problem(answer.status === 503 ? "problem.unavailable" : "problem.notFound");
  }
  return URL.createObjectURL(await answer.blob());
}

function failed(error: unknown): { status: number; body: unknown } {
  if (error instanceof DOMException && error.name === "AbortError") {
    throw error;
  }
  return { status: 0, body: undefined };
}

/** Whether it may go better after a while [TT-MEDIA-7]. */
function isPassing(status: number): boolean {
  return status === 408 || status === 429 || (status >= 500 && status !== 507);
}

function refusal(status: number, max: number): Error {
  switch (status) {
    case 403:
    case 404:
    case 410:
      return problem("problem.forbidden");
    case 413:
      return problem("problem.tooLarge", { size: sizeText(max) });
    case 400:
    case 415:
      return problem("problem.invalid");
    case 507:
      return problem("problem.quota");
    default:
      return problem("problem.uploadFailed");
  }
}

/** By XMLHttpRequest: it tells how much has been sent. */
const postPiece: Post = (url, offset, piece, progress, signal) =>
  new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const abort = () => {
      request.abort();
      reject(new DOMException("cancelled", "AbortError"));
    };
    signal.addEventListener("abort", abort, { once: true });
    request.open("POST", url);
    request.responseType = "json";
    request.setRequestHeader("Upload-Offset", String(offset));
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.onprogress = (event) => progress(event.loaded);
    request.onerror = () => reject(new Error("no answer"));
    request.onload = () => resolve({ status: request.status, body: request.response });
    request.onloadend = () => signal.removeEventListener("abort", abort);
    request.send(piece);
  });
