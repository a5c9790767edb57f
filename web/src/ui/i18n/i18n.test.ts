import { afterEach, expect, test } from "vitest";
import { fill, keysOf, language, t, textOf, tr } from "./index";

afterEach(() => {
  language.value = "en";
});

test("both languages have the same keys, none empty, with the same placeholders", () => {
  expect(keysOf("zh").sort()).toEqual(keysOf("en").sort());
  const holes = (text: string) => [...new Set(text.match(/\{\w+\}/g) ?? [])].sort();
  for (const key of keysOf("en")) {
    const [en, zh] = [textOf("en", key), textOf("zh", key)];
    expect(en.trim() !== "" && zh.trim() !== "", key).toBe(true);
    expect(holes(zh), key).toEqual(holes(en));
  }
});

test("plurals come in pairs", () => {
  const stems = (ending: string) =>
    keysOf("en")
      .filter((k) => k.endsWith(ending))
      .map((k) => k.slice(0, -ending.length));
  expect(stems("_one").sort()).toEqual(stems("_other").sort());
});

test("the Chinese texts are Chinese, but for names of things", () => {
  const rest = (text: string) => text.replace(/\{\w+\}|TeamTalk|WebTransport|WebSocket|QUIC/g, "");
  const foreign = keysOf("zh").filter(
    (k) => /[a-z]/i.test(rest(textOf("zh", k))) && !/\p{Script=Han}/u.test(textOf("zh", k)),
  );
  expect(foreign).toEqual([]);
});

test("values and plurals", () => {
  language.value = "en";
  expect(t("list.unread", { n: 1 })).toBe("1 unread message");
  expect(t("list.unread", { n: 2 })).toBe("2 unread messages");
  expect(fill("{a} {b}", { a: "{b}", b: "$1" })).toBe("{b} $1");
  expect(tr("problem.timeout")).toBe("The server did not answer in time.");
  expect(tr("no.such.key")).toBe(t("problem.unknown"));
  expect(tr(undefined)).toBe(t("problem.unknown"));
});
