import { effect, signal } from "@preact/signals";
import { en as peopleEn, zh as peopleZh } from "../people/words";
import { en as uiEn } from "./en";
import { zh as uiZh } from "./zh";

const dictionaries = {
  en: { ...uiEn, ...peopleEn } as Readonly<Record<string, string>>,
  zh: { ...uiZh, ...peopleZh } as Readonly<Record<string, string>>,
};

export type Language = keyof typeof dictionaries;

type Entry = keyof typeof uiEn | keyof typeof peopleEn;
type Stem<K> = K extends `${infer S}_one` | `${infer S}_other` ? S : never;

/** What t takes: the keys, and for plurals the key without its ending. */
export type Key = Entry | Stem<Entry>;

export type Values = Readonly<Record<string, string | number>>;

const stored = "teamtalk.language";

function preferred(): Language {
  const kept = globalThis.localStorage?.getItem(stored);
  if (kept === "en" || kept === "zh") {
    return kept;
  }
  const wanted = globalThis.navigator?.languages ?? [];
  const known = wanted.map((l) => l.slice(0, 2).toLowerCase()).find((l) => l === "zh" || l === "en");
  return known === "zh" ? "zh" : "en";
}

/** The language in use; whoever calls t while rendering is rendered again when it changes. */
export const language = signal<Language>(preferred());

export function setLanguage(l: Language): void {
  language.value = l;
  globalThis.localStorage?.setItem(stored, l);
}

/** Keeps <html lang> right: screen readers and line breaking go by it. */
export function followLanguage(root: HTMLElement): () => void {
  return effect(() => {
    root.lang = language.value === "zh" ? "zh-CN" : "en";
  });
}

/** The BCP 47 tag for dates and numbers. */
export function locale(): string {
  return language.value === "zh" ? "zh-CN" : "en-GB";
}

function lookUp(key: string, values: Values | undefined): string | undefined {
  const words = dictionaries[language.value];
  if (values && "n" in values) {
    const plural = words[`${key}_${Number(values.n) === 1 ? "one" : "other"}`];
    if (plural !== undefined) {
      return plural;
    }
  }
  return words[key];
}

export function fill(text: string, values: Values | undefined): string {
  return values ? text.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole)) : text;
}

export function t(key: Key, values?: Values): string {
  return fill(lookUp(key, values) ?? key, values);
}

/** The text of a key that comes from the engine; one that is not in the dictionary is shown as a general failure. */
export function tr(key: string | undefined, values?: Values): string {
  const text = key === undefined ? undefined : lookUp(key, values);
  return text === undefined ? t("problem.unknown") : fill(text, values);
}

/** A reason: a key of the dictionary, or the server's own words. */
export function reasonText(reason: string): string {
  return lookUp(reason, undefined) ?? reason;
}

/** For the test of completeness. */
export function keysOf(l: Language): string[] {
  return Object.keys(dictionaries[l]);
}
export function textOf(l: Language, key: string): string {
  return dictionaries[l][key] ?? "";
}
