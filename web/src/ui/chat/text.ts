// A text as it is shown: links, and what was searched for.

import { drawn } from "../emoji";

export type Token =
  | { kind: "text"; text: string }
  | { kind: "link"; text: string; url: string }
  | { kind: "mark"; text: string };

const address = /https?:\/\/[^\s<>"'「」『』《》（），。；！？、]+/giu;

/** A link does not take the punctuation of its sentence with it, nor a bracket that was opened before it. */
function trimmed(url: string): string {
  let end = url.replace(/[.,;:!?…]+$/u, "");
  while (/[)\]]$/.test(end)) {
    const close = end.at(-1) ?? "";
    const open = close === ")" ? "(" : "[";
    if (end.split(open).length >= end.split(close).length) {
      break;
    }
    end = end.slice(0, -1);
  }
  return end;
}

function isLink(url: string): boolean {
  return URL.canParse(url) && new URL(url).hostname !== "";
}

function marked(text: string, query: string): Token[] {
  if (query === "") {
    return text === "" ? [] : [{ kind: "text", text }];
  }
  const tokens: Token[] = [];
  const low = text.toLowerCase();
  // Letters whose lower case is longer would shift what is found: such a text is shown without marks.
  let from = 0;
  for (let at = low.indexOf(query); at >= 0 && low.length === text.length; at = low.indexOf(query, from)) {
    if (at > from) {
      tokens.push({ kind: "text", text: text.slice(from, at) });
    }
    tokens.push({ kind: "mark", text: text.slice(at, at + query.length) });
    from = at + query.length;
  }
  return from < text.length ? [...tokens, { kind: "text", text: text.slice(from) }] : tokens;
}

/** The parts of a text; query is in lower case, empty for no search. */
export function tokens(raw: string, query = ""): Token[] {
  const out: Token[] = [];
  let from = 0;
  for (const match of raw.matchAll(address)) {
    const url = trimmed(match[0]);
    if (isLink(url)) {
      out.push(...marked(drawn(raw.slice(from, match.index)), query), { kind: "link", text: url, url });
      from = match.index + url.length;
    }
  }
  return [...out, ...marked(drawn(raw.slice(from)), query)];
}

/** Whether a search finds a message. */
export function found(plain: string, query: string): boolean {
  return query !== "" && drawn(plain).toLowerCase().includes(query);
}
