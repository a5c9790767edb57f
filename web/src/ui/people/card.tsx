// Everything there is to know of a person, and the way to write to him.

import { useEffect, useState } from "preact/hooks";
import type { ConversationKey, Engine, Person } from "../../engine/api";
import { t } from "../i18n";
import { Avatar, Button, Dialog } from "../kit";
import { presenceText } from "./lines";
import { departmentPath } from "./tree";

export interface PersonCardProps {
  engine: Engine;
  id: number;
  onConversation(key: ConversationKey): void;
  onClose(): void;
}

export function PersonCard({ engine, id, onConversation, onClose }: PersonCardProps) {
  useEffect(() => engine.watch([id]), [engine, id]);
  const person = engine.people.value.get(id);
  if (!person) {
    return (
      <Dialog title={t("people.person")} onClose={onClose}>
        <p class="people-note">{t("people.gone")}</p>
      </Dialog>
    );
  }
  return (
    <Dialog
      title={person.name}
      onClose={onClose}
      footer={
        !person.left && (
          <Button
            kind="primary"
            autoFocus
            onClick={() => {
              onClose();
              onConversation(`u${id}`);
            }}
          >
            {t("people.message")}
          </Button>
        )
      }
    >
      <div class="card-head">
        <Avatar
          engine={engine}
          name={person.name}
          id={person.id}
          {...(person.avatar ? { path: person.avatar } : {})}
          box={72}
          presence={person.presence}
        />
        <div>
          <p class="card-presence">{person.left ? t("people.left") : presenceText(person)}</p>
          {person.sign !== "" && <p class="card-sign">{person.sign}</p>}
        </div>
      </div>
      <dl class="facts">
        {factsOf(engine, person).map(([name, value]) => (
          <Fact key={name} name={name} value={value} />
        ))}
      </dl>
    </Dialog>
  );
}

function factsOf(engine: Engine, person: Person): [string, string][] {
  const path = departmentPath(engine.departments.value, person.department).join(" / ");
  const all: [string, string | undefined][] = [
    [t("people.login"), person.remote ? undefined : person.login],
    [t("people.address"), person.remote ? person.address : undefined],
    [person.remote ? t("people.office") : t("people.department"), path],
    [t("people.mail"), person.email],
    [t("people.phone"), person.phone],
  ];
  return all.flatMap(([name, value]) => (value ? [[name, value] as [string, string]] : []));
}

/** A fact that can be copied by clicking it. */
function Fact({ name, value }: { name: string; value: string }) {
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return;
    const timer = setTimeout(() => setCopied(false), 1500);
    return () => clearTimeout(timer);
  }, [copied]);
  const copy = () => {
    navigator.clipboard?.writeText(value).then(
      () => setCopied(true),
      () => setCopied(false), // the text can be selected instead
    );
  };
  return (
    <div class="fact">
      <dt>{name}</dt>
      <dd>
        <button type="button" class="fact-copy" title={t("copy")} onClick={copy}>
          {value}
        </button>
        <span class="fact-copied" role="status">
          {copied ? t("people.copied") : ""}
        </span>
      </dd>
    </div>
  );
}
