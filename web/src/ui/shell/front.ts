import { signal } from "@preact/signals";

const look = () => globalThis.document?.visibilityState === "visible" && document.hasFocus();

/** Whether somebody may be looking at this window. */
export const inFront = signal(look());

/** Keeps it right. */
export function followFront(): void {
  const note = () => {
    inFront.value = look();
  };
  addEventListener("focus", note);
  addEventListener("blur", note);
  document.addEventListener("visibilitychange", note);
}
