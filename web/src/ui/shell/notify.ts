import type { Conversation, Engine, Message } from "../../engine/api";
import { t } from "../i18n";
import { discreet, nameOf } from "../names";
import { notifications } from "../prefs";
import { inFront } from "./front";
import { go, route } from "./route";

function notify(engine: Engine, c: Conversation, m: Message): void {
  const name = nameOf(engine, m.from, m.fromAddress);
  const title = c.kind === "group" ? t("notify.from", { name, group: c.title }) : name;
  const n = new Notification(title, { body: discreet(m) || t("notify.hidden"), tag: c.key });
  n.onclick = () => {
    window.focus();
    go({ section: "chats", open: c.key });
    n.close();
  };
}

/** Desktop notifications of what comes while nobody looks at it. */
export function followMessages(engine: Engine): () => void {
  return engine.onMessage((c, m) => {
    const seen = inFront.peek() && route.peek().open === c.key;
    if (notifications.peek() && !seen && !m.mine) {
      notify(engine, c, m);
    }
  });
}
