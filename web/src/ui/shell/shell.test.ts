import { expect, test } from "vitest";
import type { Conversation } from "../../engine/api";
import { best, matches } from "../list/filter";
import { format, parse } from "./route";
import { titleFor } from "./title";

test("routes are what they were after a reload", () => {
  for (const route of [
    { section: "chats" },
    { section: "contacts" },
    { section: "chats", open: "u42" },
    { section: "contacts", open: "g7" },
  ] as const) {
    expect(parse(format(route))).toEqual(route);
  }
  expect(parse("#/u42x/../<script>")).toEqual({ section: "chats" });
  expect(parse("")).toEqual({ section: "chats" });
});

test("the title counts what is unread", () => {
  expect(titleFor(0)).toBe("TeamTalk");
  expect(titleFor(3)).toBe("(3) TeamTalk");
  expect(titleFor(1200)).toBe("(999+) TeamTalk");
});

test("a name is found by its beginning, a word, letters in between, and its spelling", () => {
  expect(matches("Release 2.0", "rel")).toBeGreaterThan(matches("Prerelease", "rel"));
  expect(matches("Maria Huber", "hub")).toBeGreaterThan(matches("Schubert", "hub"));
  expect(matches("Maria Huber", "mh")).toBeGreaterThan(0);
  expect(matches("王伟", "伟")).toBeGreaterThan(0);
  expect(matches("Maria", "x")).toBe(0);
});

test("of equally good ones the more recent conversation comes first", () => {
  const c = (title: string, lastTime: number) => ({ title, lastTime }) as Conversation;
  const found = best([c("Anna A", 1), c("Anna B", 2), c("Joanna", 3)], (x) => [x.title], "anna");
  expect(found.map((x) => x.title)).toEqual(["Anna B", "Anna A", "Joanna"]);
});
