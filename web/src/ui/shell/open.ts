import type { Conversation, ConversationKey, Engine } from "../../engine/api";

/** The conversation of a key; one that there is not yet is made up, so that it can be begun. undefined: nobody knows whose it is. */
export function conversationOf(engine: Engine, key: ConversationKey): Conversation | undefined {
  const known = engine.conversations.value.find((c) => c.key === key);
  if (known) {
    return known;
  }
  const id = Number(key.slice(1));
  const kind = key.startsWith("g") ? "group" : "person";
  const whose = kind === "group" ? engine.groups.value.get(id) : engine.people.value.get(id);
  return (
    whose && {
      key,
      kind,
      id,
      title: whose.name,
      lastTime: 0,
      unread: 0,
      muted: false,
      draft: "",
      typing: [],
      remote: whose.remote,
    }
  );
}

/** The conversation above (-1) or below (1) in the list. */
export function neighbour(
  all: readonly Conversation[],
  open: ConversationKey | undefined,
  by: 1 | -1,
): ConversationKey | undefined {
  const now = all.findIndex((c) => c.key === open);
  return all[now < 0 ? 0 : Math.max(0, Math.min(all.length - 1, now + by))]?.key;
}
