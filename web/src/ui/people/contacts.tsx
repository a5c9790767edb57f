// Who there is: groups, the departments of this office, other offices; and a search that asks other offices too.

import { type Signal, useSignal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import type { ConversationKey, Engine } from "../../engine/api";
import { t } from "../i18n";
import { Icon } from "../kit";
import { GroupFace, Marked, PersonLine } from "./lines";
import { Rows } from "./rows";
import { usePeopleSearch } from "./search";
import { type Row, results, rows } from "./tree";
import { useWatched } from "./watched";

export interface ContactsProps {
  engine: Engine;
  onPerson(id: number): void;
  onConversation(key: ConversationKey): void;
}

const listId = "contacts-rows";
const sectionHeight = 38;
const lineHeight = 54;

export function Contacts({ engine, onPerson, onConversation }: ContactsProps) {
  const wanted = useSignal("");
  const toggled = useSignal<ReadonlySet<string>>(new Set());
  const watch = useWatched(engine);
  const abroad = usePeopleSearch(engine, wanted.value);
  const people = engine.people.value;
  const departments = engine.departments.value;
  const groups = engine.groups.value;
  const words = { groups: t("people.groups"), others: t("people.noDepartment"), abroad: t("people.elsewhere") };
  const directory = { departments, people, groups };
  const list = useMemo(
    () =>
      wanted.value.trim() === ""
        ? rows(directory, toggled.value, words)
        : results(directory, abroad.found, wanted.value, words),
    [departments, people, groups, toggled.value, wanted.value, abroad.found, words.groups],
  );

  const toggle = (key: string) => {
    const next = new Set(toggled.value);
    if (!next.delete(key)) next.add(key);
    toggled.value = next;
  };
  const pick = (row: Row) => {
    if (row.kind === "person") onPerson(row.person.id);
    else if (row.kind === "group") onConversation(`g${row.group.id}`);
    else toggle(row.key);
  };
  return (
    <section class="contacts" aria-label={t("people.contacts")}>
      <SearchField wanted={wanted} />
      <Rows<Row>
        id={listId}
        role="tree"
        label={t("people.contacts")}
        rows={list}
        keyOf={(r) => `${r.key}-${r.level}`}
        heightOf={(r) => (r.kind === "section" ? sectionHeight : lineHeight)}
        aria={(r) => ({
          "aria-level": r.level,
          "aria-expanded": r.kind === "section" ? r.open : undefined,
          "data-row": r.key,
        })}
        draw={(r) => <Line engine={engine} row={r} wanted={wanted.value} />}
        onPick={pick}
        onKey={(r, key) => {
          if (r.kind !== "section" || (key !== "ArrowRight" && key !== "ArrowLeft")) return false;
          if (r.open === (key === "ArrowLeft")) toggle(r.key);
          return true;
        }}
        onSeen={(seen) => watch(seen.flatMap((r) => (r.kind === "person" ? [r.person.id] : [])))}
      />
      <p class="people-note" role="status">
        {abroad.busy
          ? t("people.searching")
          : wanted.value.trim() !== "" && list.length === 0
            ? t("people.nobody")
            : ""}
      </p>
    </section>
  );
}

function SearchField({ wanted }: { wanted: Signal<string> }) {
  const down = (e: KeyboardEvent) => {
    if (e.key === "ArrowDown") document.getElementById(listId)?.focus();
    else if (e.key === "Escape" && wanted.value !== "") wanted.value = "";
    else return;
    e.preventDefault();
    e.stopPropagation();
  };
  return (
    <div class="side-head">
      <label class="side-search">
        <Icon name="search" size={16} />
        <input
          type="search"
          value={wanted.value}
          placeholder={t("people.search")}
          aria-label={t("people.search")}
          autocomplete="off"
          spellcheck={false}
          onKeyDown={down}
          onInput={(e) => {
            wanted.value = e.currentTarget.value;
          }}
        />
      </label>
    </div>
  );
}

function Line({ engine, row, wanted }: { engine: Engine; row: Row; wanted: string }) {
  const indent = { paddingInlineStart: `${12 + 14 * (row.level - 1)}px` };
  switch (row.kind) {
    case "section":
      return (
        <div class={`line-section${row.office ? " line-office" : ""}`} style={indent}>
          <span class={`twist${row.open ? " twist-open" : ""}`} aria-hidden="true" />
          <span class="line-name">{row.name}</span>
          <span class="line-count">{row.count}</span>
        </div>
      );
    case "group":
      return (
        <div class="line" style={indent}>
          <GroupFace engine={engine} group={row.group} size={36} />
          <span class="line-text">
            <Marked text={row.group.name} wanted={wanted} />
            <small>{t("people.members", { n: row.group.members.length })}</small>
          </span>
        </div>
      );
    default:
      return (
        <div class="line" style={indent}>
          <PersonLine engine={engine} person={row.person} wanted={wanted} />
        </div>
      );
  }
}
