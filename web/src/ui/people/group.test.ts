import { describe, expect, it } from "vitest";
import type { Group, Person } from "../../engine/api";
import { mayAdd, mayRemove, membersOf } from "./grouppanel";
import { suggestedName } from "./newconversation";
import { bytesOf, signBytes } from "./settings";
import { en, zh } from "./words";

function group(more: Partial<Group>): Group {
  return { id: 1, name: "G", creator: 1, members: [], muted: false, fixed: false, remote: false, gone: false, ...more };
}

function person(id: number, name: string): Person {
  return {
    id,
    login: name,
    name,
    spelling: name,
    remote: false,
    gender: "",
    department: 0,
    sign: "",
    left: false,
    presence: "unknown",
  };
}

describe("a group", () => {
  it("lets every member add, and who made it remove [TT-GROUP-4]", () => {
    expect([mayAdd(group({}), 2), mayAdd(group({ fixed: true }), 2), mayAdd(group({ fixed: true }), 1)]).toEqual([
      true,
      false,
      true,
    ]);
    expect(mayAdd(group({ gone: true }), 1)).toBe(false);
    expect([mayRemove(group({}), 1, 2), mayRemove(group({}), 2, 3), mayRemove(group({}), 1, 1)]).toEqual([
      true,
      false,
      false,
    ]);
  });

  it("shows who made it first, then by spelling, and nobody who is not known", () => {
    const people = new Map([person(1, "zoe"), person(2, "mo"), person(3, "an")].map((p) => [p.id, p]));
    expect(membersOf(group({ members: [1, 2, 3, 99] }), people).map((p) => p.name)).toEqual(["zoe", "an", "mo"]);
  });

  it("is called after its members if nobody says how", () => {
    const people = ["林晓雨", "Boris (Beijing)", "Ann", "Zoe"].map((name, i) => person(i + 1, name));
    expect(suggestedName(people, "、")).toBe("林晓雨、Boris、Ann…");
    expect(suggestedName(people.slice(0, 2), ", ")).toBe("林晓雨, Boris");
  });
});

describe("settings", () => {
  it("count a signature as the server does [TT-BUDDY-8]", () => {
    expect(bytesOf("早".repeat(42))).toBeLessThanOrEqual(signBytes);
    expect(bytesOf("早".repeat(43))).toBeGreaterThan(signBytes);
  });
});

describe("the words", () => {
  it("have the same placeholders in both languages", () => {
    const holes = (text: string) => [...text.matchAll(/\{\w+\}/g)].map((m) => m[0]).sort();
    for (const [key, text] of Object.entries(en)) {
      expect(holes(zh[key as keyof typeof en]), key).toEqual(holes(text));
    }
  });
});
