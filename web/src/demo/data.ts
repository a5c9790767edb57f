// Invented people and conversations for the demo page: every state that the interface can show is somewhere in here.

import type { Conversation, Department, Group, Message, Part, Person } from "../engine/api";

const names: readonly [login: string, name: string, department: number, sign: string][] = [
  ["lin", "林晓雨", 2, "今天也要好好写代码"],
  ["wang.wei", "王伟", 2, ""],
  ["maria.huber", "Maria Huber", 3, "On site until Thursday"],
  ["chen", "陈思远", 3, ""],
  ["j.okafor", "Jonathan Okafor", 4, "Back at 14:00"],
  ["zhao", "赵敏", 4, "请发邮件"],
  [
    "bartholomew",
    "Bartholomew Featherstonehaugh-Winterbottom de la Vega",
    2,
    "A rather long signature that does not fit into any column of this world",
  ],
  ["liu.yang", "刘洋", 5, ""],
  ["sofia", "Sofia Lindqvist", 5, ""],
  ["old.hand", "孙大伟", 5, ""],
];

export const departments: Department[] = [
  { id: 1, parent: 0, name: "总部", rank: 0, office: false },
  { id: 2, parent: 1, name: "研发 Engineering", rank: 1, office: false },
  { id: 3, parent: 1, name: "设计 Design", rank: 2, office: false },
  { id: 4, parent: 1, name: "市场 Marketing", rank: 3, office: false },
  { id: 5, parent: 0, name: "财务 Finance", rank: 4, office: false },
  { id: 0x40000000, parent: 0, name: "berlin.example", rank: 9, office: true },
];

const states: Person["presence"][] = ["online", "offline", "online", "unknown"];

export const people: Person[] = [
  ...names.map(
    ([login, name, department, sign], i): Person => ({
      id: i + 1,
      login,
      name,
      spelling: login,
      remote: false,
      gender: i % 2 ? "m" : "f",
      department,
      sign,
      email: `${login}@example.com`,
      phone: `+86 10 5555 ${1000 + i}`,
      left: login === "old.hand",
      presence: states[i % states.length] ?? "unknown",
    }),
  ),
  {
    id: 0x40000001,
    login: "anna",
    name: "Anna Berger",
    spelling: "anna",
    address: "anna@berlin.example",
    remote: true,
    gender: "f",
    department: 0x40000000,
    sign: "",
    left: false,
    presence: "unknown",
  },
];

export const groups: Group[] = [
  {
    id: 1,
    name: "全体员工",
    creator: 9,
    members: people.map((p) => p.id),
    muted: false,
    fixed: true,
    remote: false,
    gone: false,
  },
  {
    id: 2,
    name: "Release 2.0",
    creator: 1,
    members: [1, 2, 3, 5, 7],
    muted: false,
    fixed: false,
    remote: false,
    gone: false,
  },
  {
    id: 3,
    name: "午饭去哪儿",
    creator: 4,
    members: [1, 2, 4, 6],
    muted: true,
    fixed: false,
    remote: false,
    gone: false,
  },
  {
    id: 4,
    name: "Berlin ↔ 北京",
    creator: 1,
    members: [1, 4, 0x40000001],
    muted: false,
    fixed: false,
    remote: true,
    gone: false,
  },
  { id: 5, name: "Offsite 2025", creator: 3, members: [3, 5], muted: false, fixed: false, remote: false, gone: true },
];

let keys = 0;

/** A message with everything that is not said taken from its text. */
export function make(values: Partial<Message> & { id: number; from: number; time: number }, ...parts: Part[]): Message {
  const plain = parts.map((p) => (p.kind === "text" ? p.text : p.kind === "link" ? p.url : `[${p.kind}]`)).join(" ");
  const mine = values.from === 1;
  return {
    key: `k${++keys}`,
    order: values.id,
    mine,
    parts,
    plain,
    state: "live",
    ...(mine ? { delivery: "read" as const } : {}),
    ...values,
  };
}

const text = (s: string): Part => ({ kind: "text", text: s });

const talk = [
  "早[呵呵]",
  "The build is green again[good]",
  "我把新的首页稿放在共享盘了，大家有空看一下，主要是导航那一块，其他的基本没有变化。",
  "Can you have a look at https://git.example.com/teamtalk/merge_requests/1287 before lunch? It touches the login queue, and I would like a second pair of eyes on the part that counts the waiting ones.",
  "好的",
  "收到[ok]",
  "Sure, give me ten minutes.",
  "明天下午三点开会，别忘了[嘘]",
  "func (q *Queue) Push(v int) {\n\tq.items = append(q.items, v)\n}",
  "[哈哈][哈哈]",
  "👍",
  "客户说下周二之前要拿到报价，我们周一先对一遍数字，然后我来写邮件。",
];

/** A long conversation, for scrolling. */
export function long(n: number, end: number, authors: readonly number[]): Message[] {
  const messages: Message[] = [];
  let time = end - n * 140_000;
  for (let i = 1; i <= n; i++) {
    time += ((i * 7919) % 11) * 28_000;
    const from = authors[((i * 31) >> 2) % authors.length] ?? 1;
    const words = talk[(i * 7) % talk.length] ?? "";
    messages.push(
      make(
        { id: i, from, time: Math.min(time, end), ...(i % 57 === 0 ? { replyTo: i - 5 } : {}) },
        text(i % 29 === 0 ? `${i}: ${words}` : words),
      ),
    );
  }
  return messages;
}

const picture = (n: number, w: number, h: number): Part => ({
  kind: "picture",
  path: `g0/000/00${n}/demo_${w}x${h}.png`,
  width: w,
  height: h,
});

/** The conversation with everything in it. */
export function gallery(now: number): Message[] {
  const m = (minutesAgo: number) => now - minutesAgo * 60_000;
  let id = 0;
  const next = () => ++id;
  return [
    make({ id: next(), from: 2, time: m(2900) }, text("周报我已经发到群里了，你有空看一下[呵呵]")),
    make({ id: next(), from: 1, time: m(2880) }, text("好的，谢谢！")),
    make({ id: next(), from: 2, time: m(1500) }, text("这是昨天拍的白板："), picture(1, 1600, 1000)),
    make({ id: next(), from: 2, time: m(1499) }, text("还有流程图"), picture(2, 700, 1200)),
    make({ id: next(), from: 1, time: m(1490), replyTo: 3 }, text("字有点小，能再拍一张吗？")),
    make(
      { id: next(), from: 2, time: m(1488) },
      { kind: "file", name: "会议纪要 2026-11-21 终版（修订）.docx", sizeText: "1.4 MB", path: "g0/000/003/demo.docx" },
    ),
    make(
      { id: next(), from: 2, time: m(1480) },
      { kind: "voice", seconds: 12, path: "g0/000/004/demo.webm", type: "audio/webm" },
    ),
    make({ id: next(), from: 2, time: m(1479) }, { kind: "speex", seconds: 5, data: new Uint8Array(64) }),
    make({ id: next(), from: 1, time: m(1470), state: "recalled" }),
    make({ id: next(), from: 2, time: m(1465), state: "burned", burnSeconds: 30 }),
    make({ id: next(), from: 2, time: m(40) }, text("[赞][赞]")),
    make(
      { id: next(), from: 1, time: m(38), delivery: "delivered" },
      text(
        "See https://example.com/a/very/long/path/that/goes/on/and/on?with=parameters&and=more for the details, and ask me if anything is unclear.",
      ),
    ),
    make({ id: next(), from: 1, time: m(37), delivery: "sent", burnSeconds: 60 }, text("门禁密码 4711")),
    make({ id: next(), from: 2, time: m(30), burnSeconds: 30, burnsAt: now + 95_000 }, text("这条会消失")),
    make({ id: next(), from: 1, time: m(3), delivery: "pending" }, text("pending: on its way to Berlin")),
    make({ id: next(), from: 1, time: m(3), delivery: "delayed" }, text("delayed: Berlin has been out of reach")),
    make(
      { id: next(), from: 1, time: m(2), delivery: "undeliverable", reason: "problem.federation" },
      text("undeliverable"),
    ),
    make(
      { id: 0, order: 900, from: 1, time: m(2), delivery: "failed", reason: "problem.timeout" },
      text("This one did not make it."),
    ),
    make(
      { id: 0, order: 901, from: 1, time: m(1), delivery: "sending", progress: 0.42 },
      { kind: "file", name: "release-2.0.0-linux-amd64.tar.gz", sizeText: "48 MB", path: "" },
    ),
    make({ id: 0, order: 902, from: 1, time: m(1), delivery: "sending" }, text("sending…")),
  ];
}

const row = (key: Conversation["key"], title: string, values: Partial<Conversation>): Conversation => ({
  key,
  kind: key.startsWith("g") ? "group" : "person",
  id: Number(key.slice(1)),
  title,
  lastTime: 0,
  unread: 0,
  muted: false,
  draft: "",
  typing: [],
  remote: false,
  ...values,
});

/** The list; the last messages come from the timelines. */
export function conversations(): Conversation[] {
  return [
    row("u2", "王伟", { unread: 0 }),
    row("g2", "Release 2.0", { unread: 12 }),
    row("u3", "Maria Huber", { unread: 2, typing: [3] }),
    row("g3", "午饭去哪儿", { unread: 48, muted: true }),
    row("u1073741825", "Anna Berger", { remote: true }),
    row("g4", "Berlin ↔ 北京", { remote: true, unread: 1 }),
    row("u7", people[6]?.name ?? "", { draft: "Dear Bartholomew, about the" }),
    row("g1", "全体员工", {}),
    row("u6", "赵敏", {}),
    row("u5", "Jonathan Okafor", {}),
    row("g5", "Offsite 2025", {}),
    row("u10", "孙大伟", {}),
  ];
}
