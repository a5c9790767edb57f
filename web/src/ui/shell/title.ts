import { effect } from "@preact/signals";
import type { Engine } from "../../engine/api";

export function titleFor(unread: number): string {
  return unread > 0 ? `(${unread > 999 ? "999+" : unread}) TeamTalk` : "TeamTalk";
}

/** Keeps the window's title. */
export function followTitle(engine: Engine): () => void {
  return effect(() => {
    document.title = titleFor(engine.status.value.phase === "out" ? 0 : engine.unread.value);
  });
}
