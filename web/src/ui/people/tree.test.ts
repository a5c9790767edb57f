import { describe, expect, it } from "vitest";
import type { Department, Group, Person } from "../../engine/api";
import { type Directory, departmentPath, find, likeness, type Row, results, rows } from "./tree";

function person(id: number, name: string, department: number, more: Partial<Person> = {}): Person {
  return {
    id,
    login: `user${id}`,
    name,
    spelling: name.toLowerCase(),
    remote: false,
    gender: "",
    department,
    sign: "",
    left: false,
    presence: "unknown",
    ...more,
  };
}

function department(id: number, name: string, parent = 0, rank = 0, office = false): Department {
  return { id, parent, name, rank, office };
}

function group(id: number, name: string, more: Partial<Group> = {}): Group {
  return { id, name, creator: 1, members: [], muted: false, fixed: false, remote: false, gone: false, ...more };
}

const departments = [
  department(9, "Beijing", 0, 0, true),
  department(3, "Sales", 0, 2),
  department(1, "Engineering", 0, 1),
  department(2, "Server team", 1, 0),
  department(4, "Nobody's"),
];
const people = [
  person(1, "林", 1, { spelling: "lin" }),
  person(2, "Ma", 1),
  person(3, "安", 1, { spelling: "an" }),
  person(4, "Zoe", 2),
  person(5, "Bo", 3),
  person(6, "Gone", 3, { left: true }),
  person(7, "Mei (Beijing)", 9, { remote: true, address: "mei@beijing.example" }),
];
const names = { groups: "Groups", others: "Others", abroad: "Elsewhere" };

function directory(departments: Department[], people: Person[], groups: Group[] = []): Directory {
  return { departments, people: new Map(people.map((p) => [p.id, p])), groups: new Map(groups.map((g) => [g.id, g])) };
}

function shown(list: Row[]): string[] {
  return list.map((r) => {
    const name =
      r.kind === "section"
        ? `${r.name} ${r.count}${r.open ? " -" : " +"}`
        : r.kind === "person"
          ? r.person.name
          : r.group.name;
    return `${"  ".repeat(r.level - 1)}${name}`;
  });
}

describe("the directory", () => {
  it("has departments by rank, people by spelling, other offices last, and nobody who has left", () => {
    expect(shown(rows(directory(departments, people), new Set(), names))).toEqual([
      "Engineering 4 -",
      "  Server team 1 +",
      "  安",
      "  林",
      "  Ma",
      "Sales 1 -",
      "  Bo",
      "Beijing 1 +",
    ]);
  });

  it("opens and closes what was toggled", () => {
    expect(
      shown(
        rows(
          directory(departments, people, [group(5, "Lunch"), group(6, "Old", { gone: true })]),
          new Set(["groups", "d1", "d3", "d9"]),
          names,
        ),
      ),
    ).toEqual(["Groups 1 -", "  Lunch", "Engineering 4 +", "Sales 1 +", "Beijing 1 -", "  Mei (Beijing)"]);
  });

  it("shows people of no known department, and departments that go round in circles", () => {
    const circle = [department(1, "One", 2), department(2, "Two", 1)];
    expect(shown(rows(directory(circle, [person(1, "A", 1), person(2, "B", 77)]), new Set(["others"]), names))).toEqual(
      ["One 1 -", "  A", "Others 1 -", "  B"],
    );
    expect(departmentPath(circle, 1)).toEqual(["Two", "One"]);
  });
});

describe("search", () => {
  it("finds by name, login, spelling, initials and address", () => {
    const zhang = person(8, "张三", 1, { spelling: "zhang san" });
    for (const text of ["张", "user8", "ZHANG", "san", "zs"]) expect(likeness(zhang, text), text).toBeDefined();
    expect(likeness(zhang, "  ")).toBeUndefined();
    expect(likeness(zhang, "wu")).toBeUndefined();
    expect(find(people, "beijing.example").map((p) => p.id)).toEqual([7]);
  });

  it("has people here, groups, and people elsewhere, each once", () => {
    const answer = [
      person(7, "Mei (Beijing)", 9, { remote: true }),
      person(20, "Melly (Singapore)", 10, { remote: true }),
    ];
    const here = [...people, person(8, "Tim", 1), person(9, "Left", 1, { left: true, name: "Mel" })];
    const list = results(
      directory(departments, here, [group(5, "Meeting"), group(6, "Meals", { gone: true })]),
      answer,
      " ME ",
      names,
    );
    expect(shown(list)).toEqual(["Meeting", "Elsewhere 2 -", "  Mei (Beijing)", "  Melly (Singapore)"]);
    expect(shown(results(directory(departments, here), [], "mei", names))).toEqual([
      "Elsewhere 1 -",
      "  Mei (Beijing)",
    ]);
  });

  it("puts what begins so before what has it inside, and leaves out who has left", () => {
    const list = [
      person(1, "Roman", 1),
      person(2, "Man", 1),
      person(3, "Mann", 1),
      person(4, "Man", 1, { left: true }),
    ];
    expect(find(list, "man").map((p) => p.name)).toEqual(["Man", "Mann", "Roman"]);
  });
});
