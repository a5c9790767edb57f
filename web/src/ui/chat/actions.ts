import type { Group, Message } from "../../engine/api";
import { drawn } from "../emoji";
import { t } from "../i18n";
import { type MenuItem, report, toast } from "../kit";
import type { Chat } from "./model";

/** How long one's own messages can be recalled unless the server is told otherwise. [TT-DEL-1] */
export const recallFor = 2 * 60_000;

export type Action = "reply" | "copy" | "save" | "recall" | "burn" | "retry" | "discard";

/** Whether sending a message again may bring it there. */
export function canRetry(m: Message): boolean {
  return m.delivery === "failed" && !m.lost;
}

/** What can be done with a message, in the order of the menu. */
export function actionsFor(m: Message, group: Group | undefined, me: number, now: number): Action[] {
  const out: Action[] = [];
  const stored = m.id > 0;
  const burns = m.burnSeconds !== undefined && m.burnSeconds > 0;
  if (m.state !== "live") {
    return out;
  }
  if (canRetry(m)) {
    out.push("retry");
  }
  if (stored && !group?.gone) {
    out.push("reply");
  }
  if (!burns && m.parts.some((p) => p.kind === "text" || p.kind === "link")) {
    out.push("copy");
  }
  if (m.parts.some((p) => p.kind === "file" && (p.path || p.task)) && m.progress === undefined) {
    out.push("save");
  }
  if (stored && burns) {
    out.push("burn");
  }
  if (stored && !group?.gone && ((m.mine && now - m.time < recallFor) || group?.creator === me)) {
    out.push("recall");
  }
  if (m.delivery === "failed") {
    out.push("discard");
  }
  return out;
}

async function copy(m: Message): Promise<void> {
  const text = m.parts
    .flatMap((p) => (p.kind === "text" ? [drawn(p.text)] : p.kind === "link" ? [p.url] : []))
    .join("\n");
  await navigator.clipboard.writeText(text);
  toast(t("msg.copied"));
}

/** The menu of a message. */
export function menuFor(chat: Chat, m: Message): MenuItem[] {
  const { engine, key } = chat;
  const group = key.startsWith("g") ? engine.groups.value.get(Number(key.slice(1))) : undefined;
  const items: Record<Action, MenuItem> = {
    retry: { label: t("msg.retry"), icon: "retry", onPick: () => void engine.retry(key, m.key).catch(report) },
    reply: {
      label: t("msg.reply"),
      icon: "reply",
      hint: "R",
      onPick: () => {
        chat.replyTo.value = m;
      },
    },
    copy: { label: t("msg.copy"), icon: "copy", onPick: () => void copy(m).catch(report) },
    save: {
      label: t("msg.save"),
      icon: "download",
      onPick: () => {
        for (const p of m.parts) {
          if (p.kind === "file") {
            void engine.download(p).catch(report);
          }
        }
      },
    },
    burn: {
      label: t("msg.burnNow"),
      icon: "flame",
      danger: true,
      onPick: () => void engine.burn(key, m.id).catch(report),
    },
    recall: {
      label: t("msg.recall"),
      icon: "undo",
      danger: true,
      onPick: () => void engine.recall(key, m.id).catch(report),
    },
    discard: { label: t("msg.discard"), icon: "trash", danger: true, onPick: () => engine.discard(key, m.key) },
  };
  return actionsFor(m, group, engine.me.value?.id ?? 0, Date.now()).map((a) => items[a]);
}
