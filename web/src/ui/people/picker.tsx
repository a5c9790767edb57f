// Picks people: those here, and those of other offices that a search finds.

import type { Signal } from "@preact/signals";
import { useSignal } from "@preact/signals";
import { useMemo, useRef } from "preact/hooks";
import type { Engine, Person } from "../../engine/api";
import { t } from "../i18n";
import { Icon } from "../kit";
import { PersonLine } from "./lines";
import { Rows } from "./rows";
import { usePeopleSearch } from "./search";
import { bySpelling, find } from "./tree";
import { useWatched } from "./watched";

/** A dialog gives this the focus, and not its first button. */
const first = { autofocus: true };

export interface PickerProps {
  engine: Engine;
  chosen: Signal<readonly Person[]>;
  /** Who can't be picked, such as members. */
  without: ReadonlySet<number>;
}

export function Picker({ engine, chosen, without }: PickerProps) {
  const wanted = useSignal("");
  const field = useRef<HTMLInputElement>(null);
  const abroad = usePeopleSearch(engine, wanted.value);
  const watch = useWatched(engine);
  const people = engine.people.value;
  const list = useMemo(() => {
    const free = [...people.values()].filter((p) => !p.left && !without.has(p.id));
    if (wanted.value.trim() === "") return free.sort(bySpelling);
    const here = find(free, wanted.value);
    const known = new Set(here.map((p) => p.id));
    return [...here, ...abroad.found.filter((p) => !known.has(p.id) && !without.has(p.id) && !p.left)];
  }, [people, without, wanted.value, abroad.found]);
  const picked = new Set(chosen.value.map((p) => p.id));
  const toggle = (person: Person) => {
    chosen.value = picked.has(person.id) ? chosen.value.filter((p) => p.id !== person.id) : [...chosen.value, person];
  };
  const press = (e: KeyboardEvent) => {
    if (e.key === "Backspace" && wanted.value === "") chosen.value = chosen.value.slice(0, -1);
    else if (e.key === "ArrowDown") document.getElementById("picker-rows")?.focus();
    else if (e.key === "Enter" && list[0] && wanted.value.trim() !== "") {
      toggle(list[0]);
      wanted.value = "";
    } else return;
    e.preventDefault();
  };
  return (
    <div class="picker">
      {/* biome-ignore lint/a11y/noStaticElementInteractions: a click beside the field goes to the field, which has the keys */}
      {/* biome-ignore lint/a11y/useKeyWithClickEvents: the same */}
      <div class="picker-field" onClick={() => field.current?.focus()}>
        {chosen.value.map((person) => (
          <button
            key={person.id}
            type="button"
            class="chip"
            aria-label={t("people.unpick", { name: person.name })}
            onClick={() => toggle(person)}
          >
            {person.name}
            <Icon name="close" size={12} />
          </button>
        ))}
        <input
          ref={field}
          type="search"
          {...first}
          value={wanted.value}
          placeholder={chosen.value.length === 0 ? t("people.pick") : ""}
          aria-label={t("people.pick")}
          aria-controls="picker-rows"
          autocomplete="off"
          spellcheck={false}
          onInput={(e) => {
            wanted.value = e.currentTarget.value;
          }}
          onKeyDown={press}
        />
      </div>
      <Rows<Person>
        id="picker-rows"
        role="listbox"
        label={t("people.contacts")}
        multiple
        rows={list}
        keyOf={(p) => `u${p.id}`}
        heightOf={() => 54}
        aria={(p) => ({ "aria-selected": picked.has(p.id), "data-row": `u${p.id}` })}
        draw={(p) => (
          <div class="line">
            <PersonLine engine={engine} person={p} wanted={wanted.value}>
              <span class={`tick${picked.has(p.id) ? " tick-on" : ""}`} aria-hidden="true">
                {picked.has(p.id) && <Icon name="check" size={14} />}
              </span>
            </PersonLine>
          </div>
        )}
        onPick={toggle}
        onSeen={(seen) => watch(seen.map((p) => p.id))}
      />
      <p class="people-note" role="status">
        {abroad.busy ? t("people.searching") : list.length === 0 ? t("people.nobody") : ""}
      </p>
    </div>
  );
}
