import type { SendKey } from "../prefs";

export interface Stroke {
  key: string;
  keyCode?: number;
  shiftKey: boolean;
  ctrlKey: boolean;
  metaKey: boolean;
  altKey: boolean;
  isComposing: boolean;
}

/**
 * What Enter does: sends, begins a line by itself ("line": the text box does not do so with Ctrl), or what it always does. While an input method
 * composes, Enter chooses a word and never sends; Safari ends the composition before that key arrives, and marks it with code 229.
 */
export function enterDoes(e: Stroke, composing: boolean, mode: SendKey): "send" | "line" | "default" {
  if (e.key !== "Enter" || composing || e.isComposing || e.keyCode === 229) {
    return "default";
  }
  const command = e.ctrlKey || e.metaKey;
  if (mode === "ctrlEnter") {
    return command ? "send" : "default";
  }
  if (e.shiftKey) {
    return "default";
  }
  return command || e.altKey ? "line" : "send";
}
