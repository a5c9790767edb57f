// What the user interface knows of the engine. Everything that changes is a signal; every action returns at once or a promise
// that is rejected with a Problem, whose text is for people (a key of the dictionary in ui/i18n, with values).

import type { ReadonlySignal } from "@preact/signals";

export type TransportName = "webtransport" | "websocket" | "longpoll";

export type Phase =
  | "out" // nobody is logged in
  | "connecting" // first connection after a login or a reload
  | "queued" // the login waits for its turn
  | "online"
  | "offline"; // logged in, no connection; tries again by itself

export interface Status {
  phase: Phase;
  transport?: TransportName;
  queue?: { position: number; etaSeconds: number };
  retryAt?: number; // ms since 1970; offline only
  reason?: string; // of the last trouble, dictionary key
  ended?: "kicked" | "expired" | "loggedOut" | "refused"; // out: why
  stale?: boolean; // the server has no leader: it can be read, not written
}

export interface Problem extends Error {
  key: string; // of the dictionary
  values?: Record<string, string | number>;
}

export interface Person {
  id: number;
  login: string; // "lin"
  name: string; // shown: nick, or login
  spelling: string; // of the nick, for sorting and search
  address?: string; // user@domain
  remote: boolean; // of another office
  avatar?: string; // g0/... path; shown through Engine.picture()
  gender: "m" | "f" | "";
  department: number;
  sign: string;
  email?: string;
  phone?: string;
  left: boolean;
  presence: "online" | "offline" | "unknown"; // unknown: a link is lost, or not asked
}

export interface Department {
  id: number;
  parent: number;
  name: string;
  rank: number;
  office: boolean; // another office, not a department of this one
}

export interface Group {
  id: number;
  name: string;
  avatar?: string;
  creator: number;
  members: number[];
  muted: boolean;
  fixed: boolean; // NORMAL: made by the company, cannot be left
  remote: boolean;
  address?: string;
  gone: boolean; // I am no longer in it
}

/** "u42" a person, "g7" a group. */
export type ConversationKey = `u${number}` | `g${number}`;

export type Part =
  | { kind: "text"; text: string } // legacy emoji names in brackets are left in: the UI shows them
  | { kind: "picture"; path: string; width?: number; height?: number }
  | { kind: "file"; name: string; sizeText: string; path: string; task?: string } // task: an offline file of a legacy client
  | { kind: "voice"; seconds: number; path: string; type: string } // of new clients
  | { kind: "speex"; seconds: number; data: Uint8Array } // of old clients
  | { kind: "link"; url: string };

export type Delivery =
  | "sending"
  | "failed" // can be tried again
  | "sent"
  | "pending" // another office has not said that it has it
  | "delayed"
  | "delivered"
  | "read"
  | "undeliverable";

export interface Message {
  key: string; // unique in its conversation, the same before and after it is acked
  id: number; // 0 while sending
  order: number; // by which the conversation is sorted
  from: number;
  mine: boolean;
  time: number; // ms since 1970
  parts: Part[];
  plain: string; // for previews, search and copying
  delivery?: Delivery; // mine only
  reason?: string; // of failed and undeliverable
  readBy?: number; // groups up to 100: how many others have read it
  replyTo?: number;
  burnSeconds?: number;
  burnsAt?: number; // ms; the countdown has begun
  state: "live" | "recalled" | "burned";
  fromAddress?: string; // user@domain, of another office
  progress?: number; // 0..1 of its upload
  lost?: boolean; // failed, and what it was to bring went with the page before this one: it can't be tried again
  highlighted?: boolean;
}

export interface Conversation {
  key: ConversationKey;
  kind: "person" | "group";
  id: number;
  title: string;
  last?: Message;
  lastTime: number;
  unread: number;
  muted: boolean;
  draft: string;
  typing: number[]; // users who are writing now
  remote: boolean;
}

export interface Timeline {
  readonly messages: ReadonlySignal<readonly Message[]>; // oldest first
  readonly atBegin: ReadonlySignal<boolean>; // nothing older
  readonly loading: ReadonlySignal<boolean>;
  readonly readUpTo: ReadonlySignal<number>; // my position when it was opened, for the "new" line
  older(): Promise<void>;
  /** Loads what is needed for a message to be there (a reply's original); false: it is not to be had. */
  reach(id: number): Promise<boolean>;
}

export interface Draft {
  text: string; // what was typed; pictures follow in order
  pictures?: Blob[];
  replyTo?: number;
  burnSeconds?: number;
}

export interface Engine {
  readonly status: ReadonlySignal<Status>;
  readonly me: ReadonlySignal<Person | undefined>;
  readonly people: ReadonlySignal<ReadonlyMap<number, Person>>;
  readonly departments: ReadonlySignal<readonly Department[]>;
  readonly groups: ReadonlySignal<ReadonlyMap<number, Group>>;
  readonly conversations: ReadonlySignal<readonly Conversation[]>; // newest first
  readonly unread: ReadonlySignal<number>; // of all that is not muted
  /** What came just now and is worth a notification. */
  onMessage(listener: (c: Conversation, m: Message) => void): () => void;

  login(name: string, password: string): Promise<void>;
  /** Takes up the session of before a reload; false: there is none. */
  restore(): Promise<boolean>;
  logout(): Promise<void>;
  retryNow(): void;
  server(): { domain: string; node: string; maxUpload: number };

  timeline(key: ConversationKey): Timeline;
  /** The conversation on screen (and the window in front), or none: it is marked read as messages come. */
  show(key: ConversationKey | undefined): void;
  saveDraft(key: ConversationKey, text: string): void;
  removeConversation(key: ConversationKey): Promise<void>;

  send(key: ConversationKey, draft: Draft): Promise<void>;
  sendFile(key: ConversationKey, file: File, burnSeconds?: number): Promise<void>;
  sendVoice(key: ConversationKey, voice: Blob, seconds: number): Promise<void>;
  cancelUpload(key: ConversationKey, messageKey: string): void;
  retry(key: ConversationKey, messageKey: string): Promise<void>;
  discard(key: ConversationKey, messageKey: string): void;
  recall(key: ConversationKey, id: number): Promise<void>;
  burn(key: ConversationKey, id: number): Promise<void>;
  typing(key: ConversationKey, writing: boolean): void;

  /** A blob: or same-origin URL that <img>, <audio> and <a download> may use; size limits a picture's box in pixels. */
  picture(path: string, box?: number): Promise<string>;
  media(path: string): Promise<string>;
  download(part: Part & { kind: "file" }): Promise<void>;

  searchPeople(text: string): Promise<Person[]>; // of offices that share their directory too
  watch(people: number[]): void; // presence of those on screen
  createGroup(name: string, members: number[]): Promise<ConversationKey>;
  addMembers(group: number, members: number[]): Promise<void>;
  removeMembers(group: number, members: number[]): Promise<void>;
  leaveGroup(group: number): Promise<void>;
  muteGroup(group: number, muted: boolean): Promise<void>;
  setSign(text: string): Promise<void>;
  setAvatar(picture: Blob): Promise<void>;
}
