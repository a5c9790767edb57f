import type { Conversation, Engine, Message, Part } from "../engine/api";
import { drawn } from "./emoji";
import { t } from "./i18n";

/** How a person is called on screen. */
export function nameOf(engine: Engine, id: number, address?: string): string {
  return engine.people.value.get(id)?.name ?? address ?? t("msg.unknown");
}

function partText(part: Part): string {
  switch (part.kind) {
    case "text":
      return drawn(part.text);
    case "picture":
      return t("part.picture");
    case "file":
      return `${t("part.file")} ${part.name}`;
    case "link":
      return part.url;
    default:
      return t("part.voice");
  }
}

/** One line that stands for a message: in lists, quotes and notifications. */
export function preview(m: Message): string {
  if (m.state !== "live") {
    return t(m.state === "recalled" ? "list.recalled" : "list.burned");
  }
  return m.parts.map(partText).join(" ").replace(/\s+/gu, " ").trim();
}

/** The same, without what is to be burned: for where others may look on. */
export function discreet(m: Message): string {
  return m.burnSeconds ? t("list.burnPreview") : preview(m);
}

/** The avatar of a conversation. */
export function faceOf(engine: Engine, c: Conversation): string | undefined {
  return (c.kind === "group" ? engine.groups.value.get(c.id) : engine.people.value.get(c.id))?.avatar;
}
