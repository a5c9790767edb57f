// The directory as rows of a list: what is open of the tree of departments, in the order in which it is shown. Nothing here draws.

import type { Department, Group, Person } from "../../engine/api";

export type Row =
  | { kind: "section"; key: string; level: number; name: string; open: boolean; count: number; office: boolean }
  | { kind: "person"; key: string; level: number; person: Person }
  | { kind: "group"; key: string; level: number; group: Group };

export interface Directory {
  departments: readonly Department[];
  people: ReadonlyMap<number, Person>;
  groups: ReadonlyMap<number, Group>;
}

/** Names of sections that are no departments. */
export interface SectionNames {
  groups: string;
  /** People whose department is not known. */
  others: string;
  /** People of other offices, among what was found. */
  abroad: string;
}

const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

/** By spelling, so that Chinese names are where their pinyin is; then by name. */
export function bySpelling(a: Person, b: Person): number {
  return (
    collator.compare(a.spelling || a.name, b.spelling || b.name) || collator.compare(a.name, b.name) || a.id - b.id
  );
}

function byName(a: { name: string; id: number }, b: { name: string; id: number }): number {
  return collator.compare(a.name, b.name) || a.id - b.id;
}

const groupsKey = "groups";
const othersKey = "others";

export function departmentKey(id: number): string {
  return `d${id}`;
}

interface Node {
  department: Department;
  children: Node[];
  people: Person[];
  count: number; // of people, with those of departments below
}

/** The trees of departments; a department whose parent is unknown or below itself is at the top. */
function forest(departments: readonly Department[], people: Iterable<Person>): { roots: Node[]; others: Person[] } {
  const nodes = new Map<number, Node>();
  for (const department of departments) nodes.set(department.id, { department, children: [], people: [], count: 0 });
  const others: Person[] = [];
  for (const person of people) {
    if (person.left) continue;
    (nodes.get(person.department)?.people ?? others).push(person);
  }
  const roots: Node[] = [];
  for (const node of nodes.values()) {
    const parent = underItself(node.department, nodes) ? undefined : nodes.get(node.department.parent);
    (parent?.children ?? roots).push(node);
  }
  for (const root of roots) total(root);
  return { roots: roots.filter((n) => n.count > 0).sort(byRank), others };
}

function underItself(d: Department, nodes: ReadonlyMap<number, Node>): boolean {
  const seen = new Set([d.id]);
  for (let at = nodes.get(d.parent); at; at = nodes.get(at.department.parent)) {
    if (seen.has(at.department.id)) return true;
    seen.add(at.department.id);
  }
  return false;
}

function total(node: Node): number {
  node.count = node.people.length;
  for (const child of node.children) node.count += total(child);
  node.children = node.children.filter((n) => n.count > 0).sort(byRank);
  node.people.sort(bySpelling);
  return node.count;
}

/** This office's departments come before other offices. */
function byRank(a: Node, b: Node): number {
  const x = a.department;
  const y = b.department;
  return Number(x.office) - Number(y.office) || x.rank - y.rank || byName(x, y);
}

/** The rows of the directory. Sections begin open unless they are closed, save for groups, offices and what is below the top. */
export function rows(directory: Directory, toggled: ReadonlySet<string>, names: SectionNames): Row[] {
  const out: Row[] = [];
  const groups = [...directory.groups.values()].filter((g) => !g.gone).sort(byName);
  if (groups.length > 0) {
    const open = toggled.has(groupsKey);
    out.push({
      kind: "section",
      key: groupsKey,
      level: 1,
      name: names.groups,
      open,
      count: groups.length,
      office: false,
    });
    if (open) for (const group of groups) out.push({ kind: "group", key: `g${group.id}`, level: 2, group });
  }
  const { roots, others } = forest(directory.departments, directory.people.values());
  for (const root of roots) push(out, root, 1, toggled);
  if (others.length > 0) {
    const open = roots.length === 0 ? !toggled.has(othersKey) : toggled.has(othersKey);
    out.push({
      kind: "section",
      key: othersKey,
      level: 1,
      name: names.others,
      open,
      count: others.length,
      office: false,
    });
    if (open) pushPeople(out, others.sort(bySpelling), 2);
  }
  return out;
}

function push(out: Row[], node: Node, level: number, toggled: ReadonlySet<string>): void {
  const d = node.department;
  const key = departmentKey(d.id);
  const open = (level === 1 && !d.office) !== toggled.has(key);
  out.push({ kind: "section", key, level, name: d.name, open, count: node.count, office: d.office });
  if (!open) return;
  for (const child of node.children) push(out, child, level + 1, toggled);
  pushPeople(out, node.people, level + 1);
}

function pushPeople(out: Row[], people: readonly Person[], level: number): void {
  for (const person of people) out.push({ kind: "person", key: `u${person.id}`, level, person });
}

/** How well a person fits what is searched for: smaller is better, undefined: not at all. */
export function likeness(person: Person, wanted: string): number | undefined {
  const text = wanted.trim().toLocaleLowerCase();
  if (text === "") return undefined;
  const fields = [
    person.name,
    person.login,
    person.spelling,
    person.address ?? "",
    person.email ?? "",
    person.phone ?? "",
  ];
  let best: number | undefined;
  for (const field of fields) {
    const at = field.toLocaleLowerCase().indexOf(text);
    if (at < 0) continue;
    const worth = at === 0 ? (field.length === text.length ? 0 : 1) : 2;
    best = best === undefined ? worth : Math.min(best, worth);
  }
  return best ?? (initials(person.spelling).startsWith(text) ? 1 : undefined);
}

/** Of "zhang san": "zs", as names are typed in a hurry. */
function initials(spelling: string): string {
  const words = spelling.toLocaleLowerCase().split(/[\s,]+/);
  return words.length > 1 ? words.map((w) => w.charAt(0)).join("") : "";
}

/** Those who fit, the best first. */
export function find(people: Iterable<Person>, wanted: string): Person[] {
  const found: { person: Person; worth: number }[] = [];
  for (const person of people) {
    const worth = person.left ? undefined : likeness(person, wanted);
    if (worth !== undefined) found.push({ person, worth });
  }
  return found.sort((a, b) => a.worth - b.worth || bySpelling(a.person, b.person)).map((f) => f.person);
}

/** The rows of a search: people here, groups, then people of other offices: those that they have found and those that are known. */
export function results(directory: Directory, abroad: readonly Person[], wanted: string, names: SectionNames): Row[] {
  const text = wanted.trim().toLocaleLowerCase();
  const all = find(directory.people.values(), wanted);
  const answered = abroad.filter((p) => p.remote);
  const known = new Set(answered.map((p) => p.id));
  const away = [...answered, ...all.filter((p) => p.remote && !known.has(p.id))];
  const out = all
    .filter((p) => !p.remote)
    .map((person): Row => ({ kind: "person", key: `u${person.id}`, level: 1, person }));
  for (const group of directory.groups.values()) {
    if (!group.gone && group.name.toLocaleLowerCase().includes(text)) {
      out.push({ kind: "group", key: `g${group.id}`, level: 1, group });
    }
  }
  if (away.length === 0) return out;
  out.push({
    kind: "section",
    key: "away",
    level: 1,
    name: names.abroad,
    open: true,
    count: away.length,
    office: true,
  });
  pushPeople(out, away, 2);
  return out;
}

/** Of a department, the names from the top down to it. */
export function departmentPath(departments: readonly Department[], id: number): string[] {
  const byId = new Map(departments.map((d) => [d.id, d]));
  const path: string[] = [];
  const seen = new Set<number>();
  for (let at = byId.get(id); at && !seen.has(at.id); at = byId.get(at.parent)) {
    seen.add(at.id);
    path.unshift(at.name);
  }
  return path;
}
