import { signal } from "@preact/signals";
import type { ConversationKey } from "../../engine/api";

export type Section = "chats" | "contacts";

export interface Route {
  section: Section;
  open?: ConversationKey;
}

/** The route of an address: "#/u42", "#/contacts", "#/contacts/g7". */
export function parse(hash: string): Route {
  const words = hash.replace(/^#\/?/, "").split("/");
  const section = words[0] === "contacts" ? "contacts" : "chats";
  const open = words.find((w) => /^[ug]\d+$/.test(w)) as ConversationKey | undefined;
  return open ? { section, open } : { section };
}

export function format({ section, open }: Route): string {
  return `#/${[section === "contacts" ? section : undefined, open].filter(Boolean).join("/")}`;
}

/** What is on screen; a reload keeps it, and the browser's back button leads from a conversation to the list. */
export const route = signal<Route>(parse(globalThis.location?.hash ?? ""));

export function followRoute(): void {
  addEventListener("popstate", () => {
    route.value = parse(location.hash);
  });
}

/** Goes somewhere. From one conversation to the next takes no step back of its own, so that one step back leads to the list. */
export function go(next: Route): void {
  const now = route.peek();
  if (format(now) === format(next)) {
    return;
  }
  if (next.open && !now.open) {
    history.pushState({ fromList: true }, "", format(next));
  } else {
    history.replaceState(history.state, "", format(next));
  }
  route.value = next;
}

/** Back to the list. */
export function back(): void {
  const { section } = route.peek();
  if ((history.state as { fromList?: boolean } | null)?.fromList) {
    history.back();
  } else {
    history.replaceState(null, "", format({ section }));
    route.value = { section };
  }
}
