import { effect, signal } from "@preact/signals";

export type Theme = "auto" | "light" | "dark";
export type SendKey = "enter" | "ctrlEnter";

const store = globalThis.localStorage;

function kept<T extends string>(name: string, allowed: readonly T[], otherwise: T): T {
  const value = store?.getItem(`teamtalk.${name}`);
  return allowed.find((a) => a === value) ?? otherwise;
}

function keep(name: string, value: string): void {
  store?.setItem(`teamtalk.${name}`, value);
}

export const theme = signal<Theme>(kept("theme", ["auto", "light", "dark"], "auto"));
export const sendKey = signal<SendKey>(kept("sendKey", ["enter", "ctrlEnter"], "enter"));
export const notifications = signal(
  kept("notifications", ["on", "off"], "off") === "on" && globalThis.Notification?.permission === "granted",
);

export function setTheme(value: Theme): void {
  theme.value = value;
  keep("theme", value);
}

export function setSendKey(value: SendKey): void {
  sendKey.value = value;
  keep("sendKey", value);
}

/** Turning them on asks the browser; the answer says whether they are on now. */
export async function setNotifications(on: boolean): Promise<boolean> {
  const granted = on && "Notification" in globalThis && (await Notification.requestPermission()) === "granted";
  notifications.value = granted;
  keep("notifications", granted ? "on" : "off");
  return granted;
}

/** Whatever the choice, data-theme says "light" or "dark": the style sheet has only these. */
export function followTheme(root: HTMLElement): () => void {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const dark = signal(system.matches);
  system.addEventListener("change", (e) => {
    dark.value = e.matches;
  });
  return effect(() => {
    const chosen = theme.value === "auto" ? (dark.value ? "dark" : "light") : theme.value;
    root.dataset.theme = chosen;
  });
}
