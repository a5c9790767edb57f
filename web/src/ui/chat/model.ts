import { batch, computed, effect, type ReadonlySignal, signal } from "@preact/signals";
import type { ConversationKey, Engine, Message, Timeline } from "../../engine/api";
import { t } from "../i18n";
import { report, toast } from "../kit";
import type { Place } from "../kit/menu";
import { buildRows, lineFor, type Row } from "./rows";
import { found } from "./text";
import { Viewport } from "./viewport";

/** What a picture viewer shows: one picture of a message. */
export interface Shown {
  messageKey: string;
  path: string;
}

/** The state of one open conversation, as far as it is of the page and not of the engine. */
export class Chat {
  readonly timeline: Timeline;
  readonly view = new Viewport();
  readonly perLine = signal(60);
  readonly readUpTo = signal<number | undefined>(undefined); // the line before the new messages is behind it
  readonly replyTo = signal<Message | undefined>(undefined);
  readonly menu = signal<{ message: Message; at: Place } | undefined>(undefined);
  readonly shown = signal<Shown | undefined>(undefined);
  readonly flash = signal<string | undefined>(undefined);
  readonly active = signal<string | undefined>(undefined); // the message that Tab leads to
  readonly finding = signal(false);
  readonly query = signal("");
  readonly hit = signal<string | undefined>(undefined);
  readonly begun = signal(false); // it has been scrolled to where reading begins
  readonly olderFailed = signal(false);
  readonly below = signal(0); // messages that came while the end was out of sight

  readonly rows: ReadonlySignal<Row[]>;
  readonly byId: ReadonlySignal<ReadonlyMap<number, Message>>;
  readonly hits: ReadonlySignal<readonly string[]>;
  readonly pictures: ReadonlySignal<readonly Shown[]>;

  #fetching = false;
  #unread: number; // still to be placed
  #newest: number | undefined; // order of the last message when it was opened
  #away = false;

  constructor(
    readonly engine: Engine,
    readonly key: ConversationKey,
  ) {
    this.timeline = engine.timeline(key);
    const messages = this.timeline.messages;
    this.#unread = engine.conversations.peek().find((c) => c.key === key)?.unread ?? 0;
    this.rows = computed(() =>
      buildRows({ messages: messages.value, readUpTo: this.readUpTo.value, perLine: this.perLine.value }),
    );
    this.byId = computed(() => new Map(messages.value.filter((m) => m.id > 0).map((m) => [m.id, m])));
    this.hits = computed(() => {
      const query = this.query.value.trim().toLowerCase();
      return this.finding.value
        ? messages.value.filter((m) => m.state === "live" && found(m.plain, query)).map((m) => m.key)
        : [];
    });
    this.pictures = computed(() =>
      messages.value.flatMap((m) =>
        m.parts.flatMap((p) => (p.kind === "picture" ? [{ messageKey: m.key, path: p.path }] : [])),
      ),
    );
  }

  /** Finds the place of the line before the new messages as soon as enough is loaded; it stays there. */
  follow(): () => void {
    return effect(() => {
      const messages = this.timeline.messages.value;
      if (this.#unread === 0 || messages.length === 0) {
        return;
      }
      this.#newest ??= messages.at(-1)?.order ?? 0;
      const upTo = this.#newest;
      const line = lineFor(
        messages.filter((m) => m.order <= upTo),
        this.#unread,
        this.timeline.atBegin.value,
      );
      if (line !== undefined) {
        this.#unread = 0;
        this.readUpTo.value = line;
      }
    });
  }

  /** Messages come while nobody looks: the line goes before the first of them. */
  missed(since: number): void {
    if (!this.#away) {
      this.#away = true;
      this.readUpTo.value = since;
    }
  }

  /** Somebody looks again. */
  seen(): void {
    this.#away = false;
  }

  /** Loads what is older, once at a time. */
  older(): void {
    const { atBegin, loading } = this.timeline;
    if (this.#fetching || atBegin.peek() || loading.peek()) {
      return;
    }
    this.#fetching = true;
    this.olderFailed.value = false;
    this.timeline
      .older()
      .catch(() => {
        this.olderFailed.value = true;
      })
      .finally(() => {
        this.#fetching = false;
      });
  }

  /** Scrolls to where reading goes on. */
  begin(): void {
    if (this.view.offsets.indexOf("new") < 0 || !this.view.toKey("new", 0.2)) {
      this.view.toEnd();
    }
  }

  /** Shows a message and lights it up for a moment. */
  goTo(key: string): void {
    if (this.view.toKey(key)) {
      this.active.value = key;
      this.flash.value = undefined;
      requestAnimationFrame(() => {
        this.flash.value = key;
      });
    }
  }

  /** Shows the message of an id, after loading it if need be. */
  async goToId(id: number): Promise<void> {
    if (!this.byId.peek().has(id)) {
      try {
        if (!(await this.timeline.reach(id))) {
          toast(t("msg.originalGone"));
          return;
        }
      } catch (thrown) {
        report(thrown);
        return;
      }
    }
    const message = this.byId.peek().get(id);
    if (message) {
      // The row is there after the next rendering.
      requestAnimationFrame(() => this.goTo(message.key));
    }
  }

  /** The next hit of a search upwards (-1: older) or downwards. */
  step(by: 1 | -1): void {
    const hits = this.hits.peek();
    const now = hits.indexOf(this.hit.peek() ?? "");
    const next = hits[(now < 0 ? hits.length - 1 : now + by + hits.length) % Math.max(1, hits.length)];
    if (next !== undefined) {
      this.hit.value = next;
      this.goTo(next);
    }
  }

  toggleFind(): void {
    if (this.finding.peek()) {
      this.closeFind();
    } else {
      this.finding.value = true;
    }
  }

  closeFind(): void {
    batch(() => {
      this.finding.value = false;
      this.query.value = "";
      this.hit.value = undefined;
    });
  }

  /** Moves the keyboard's place among the messages. */
  move(by: number): void {
    const rows = this.rows.peek().filter((r) => r.kind === "message");
    const now = rows.findIndex((r) => r.key === this.active.peek());
    const to = now < 0 ? rows.length - 1 : Math.max(0, Math.min(rows.length - 1, now + by));
    const row = rows[to];
    if (!row) {
      return;
    }
    this.active.value = row.key;
    if (!this.view.element(row.key)) {
      this.view.toKey(row.key, by < 0 ? 0.1 : 0.8);
    }
    requestAnimationFrame(() => {
      const article = this.view.element(row.key)?.querySelector("article");
      article?.focus({ preventScroll: true });
      article?.scrollIntoView({ block: "nearest" });
    });
  }
}
