import { expect, test } from "vitest";
import { found, tokens } from "./text";

const flat = (text: string, query?: string) =>
  tokens(text, query).map((t) => ({ text: t.text, link: `<${t.text}>`, mark: `*${t.text}*` })[t.kind]);

test("links end where their sentence goes on", () => {
  expect(flat("see https://a.example/x?y=1&z=(2). ok")).toEqual(["see ", "<https://a.example/x?y=1&z=(2)>", ". ok"]);
  expect(flat("(https://a.example/b)")).toEqual(["(", "<https://a.example/b>", ")"]);
  expect(flat("看http://例子.example/路径，好吗")).toEqual(["看", "<http://例子.example/路径>", "，好吗"]);
});

test("only what a browser can open safely is a link", () => {
  for (const text of ["javascript:alert(1)", "data:text/html,x", "http://", "https://?", "ftp://a.example"]) {
    expect(tokens(text).some((t) => t.kind === "link")).toBe(false);
  }
});

test("old emoji are drawn, but not within links", () => {
  expect(flat("[呵呵] https://a.example/[ok]")).toEqual(["🙂 ", "<https://a.example/[ok]>"]);
});

test("what was searched for is marked, as often as it is there", () => {
  expect(flat("Build the BUILD", "build")).toEqual(["*Build*", " the ", "*BUILD*"]);
  expect(flat("天天向上", "天")).toEqual(["*天*", "*天*", "向上"]);
  expect(flat("İstanbul", "stan").join("")).toBe("İstanbul");
});

test("finding", () => {
  expect(found("Hello [呵呵]", "hello 🙂")).toBe(true);
  expect(found("Hello", "")).toBe(false);
});
