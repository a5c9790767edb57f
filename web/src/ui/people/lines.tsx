// How a person or a group looks in a list.

import type { ComponentChildren } from "preact";
import type { Engine, Group, Person } from "../../engine/api";
import { t } from "../i18n";
import { Avatar } from "../kit";

/** A text in which what was searched for stands out. */
export function Marked({ text, wanted }: { text: string; wanted?: string }) {
  const part = wanted?.trim().toLocaleLowerCase() ?? "";
  const at = part === "" ? -1 : text.toLocaleLowerCase().indexOf(part);
  if (at < 0) return <span class="line-name">{text}</span>;
  return (
    <span class="line-name">
      {text.slice(0, at)}
      <mark>{text.slice(at, at + part.length)}</mark>
      {text.slice(at + part.length)}
    </span>
  );
}

/** What is said below a name: where somebody of another office is, what he says of himself, or whom the search has found him by. */
function below(person: Person, wanted?: string): string {
  const part = wanted?.trim().toLocaleLowerCase() ?? "";
  if (part !== "" && !person.name.toLocaleLowerCase().includes(part)) {
    const field = [person.address, person.login, person.email, person.phone].find((f) =>
      f?.toLocaleLowerCase().includes(part),
    );
    if (field) return field;
  }
  return person.sign || (person.remote ? (person.address ?? "") : "");
}

export interface PersonLineProps {
  engine: Engine;
  person: Person;
  wanted?: string;
  /** After the name, such as "group owner". */
  tag?: string;
  children?: ComponentChildren;
}

export function PersonLine({ engine, person, wanted = "", tag, children }: PersonLineProps) {
  const note = below(person, wanted);
  return (
    <>
      <Avatar
        engine={engine}
        name={person.name}
        id={person.id}
        {...(person.avatar ? { path: person.avatar } : {})}
        box={36}
        presence={person.presence}
      />
      <span class="line-text">
        <span class="line-title">
          <Marked text={person.name} wanted={wanted} />
          {tag && <span class="line-tag">{tag}</span>}
        </span>
        {note !== "" && <small>{note}</small>}
      </span>
      {children}
    </>
  );
}

export function GroupFace({ engine, group, size }: { engine: Engine; group: Group; size: 36 | 72 }) {
  return (
    <Avatar
      engine={engine}
      name={group.name}
      id={group.id}
      {...(group.avatar ? { path: group.avatar } : {})}
      box={size}
      group
    />
  );
}

export function presenceText(person: Person): string {
  switch (person.presence) {
    case "online":
      return t("people.online");
    case "offline":
      return t("people.offline");
    default:
      return t("people.presenceUnknown");
  }
}
