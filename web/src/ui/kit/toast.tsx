import { signal } from "@preact/signals";
import type { Problem } from "../../engine/api";
import { t, tr } from "../i18n";
import { IconButton } from "./button";

interface Toast {
  id: number;
  text: string;
  kind: "info" | "error";
  action?: { label: string; onPick: () => void };
}

const shown = signal<readonly Toast[]>([]);
let last = 0;

function drop(id: number): void {
  shown.value = shown.value.filter((x) => x.id !== id);
}

/** A line at the bottom for some seconds; errors stay longer. The same text twice is one line. */
export function toast(text: string, options: { kind?: Toast["kind"]; action?: Toast["action"] } = {}): void {
  const { kind = "info", action } = options;
  const id = ++last;
  const next: Toast = action ? { id, text, kind, action } : { id, text, kind };
  shown.value = [...shown.value.filter((x) => x.text !== text), next].slice(-3);
  setTimeout(() => drop(id), kind === "error" ? 8000 : 4000);
}

/** The text of whatever was thrown: a Problem says its own, everything else is a general failure. */
export function problemText(thrown: unknown): string {
  const p = thrown as Partial<Problem> | undefined;
  return tr(p?.key, p?.values);
}

/** Makes a toast of whatever was thrown; use it as the catch of an action: `engine.x().catch(report)`. */
export function report(thrown: unknown): void {
  if ((thrown as Partial<Problem> | undefined)?.key !== "problem.cancelled") {
    toast(problemText(thrown), { kind: "error" });
  }
}

export function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {shown.value.map((x) => (
        <div key={x.id} class={`toast toast-${x.kind}`}>
          <span>{x.text}</span>
          {x.action && (
            <button
              type="button"
              class="toast-action"
              onClick={() => {
                drop(x.id);
                x.action?.onPick();
              }}
            >
              {x.action.label}
            </button>
          )}
          <IconButton icon="close" size={16} label={t("dismiss")} onClick={() => drop(x.id)} />
        </div>
      ))}
    </div>
  );
}
