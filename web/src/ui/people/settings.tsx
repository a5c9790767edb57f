// Oneself, and how the page is for oneself.

import { useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import type { Engine, Person } from "../../engine/api";
import { language, setLanguage, t } from "../i18n";
import { Avatar, Button, Dialog, Field, report, toast } from "../kit";
import {
  notifications,
  type SendKey,
  sendKey,
  setNotifications,
  setSendKey,
  setTheme,
  type Theme,
  theme,
} from "../prefs";
import { Choice, Switch } from "./switch";

export interface SettingsProps {
  engine: Engine;
  onClose(): void;
}

/** What a server stores of a signature, in bytes of UTF-8 [TT-BUDDY-8]. */
export const signBytes = 128;

export function bytesOf(text: string): number {
  return new TextEncoder().encode(text).length;
}

export function Settings({ engine, onClose }: SettingsProps) {
  const me = engine.me.value;
  const leaving = useSignal(false);
  const logOut = async () => {
    leaving.value = true;
    try {
      await engine.logout();
      onClose();
    } catch (problem) {
      leaving.value = false;
      report(problem);
    }
  };
  return (
    <Dialog
      title={t("settings.title")}
      onClose={onClose}
      footer={
        <Button kind="danger" busy={leaving.value} onClick={logOut}>
          {t("settings.logOut")}
        </Button>
      }
    >
      {me && <Profile engine={engine} me={me} />}
      <Look />
      <Alerts />
      <Connection engine={engine} />
    </Dialog>
  );
}

function Profile({ engine, me }: { engine: Engine; me: Person }) {
  const sign = useSignal(me.sign);
  const saving = useSignal(false);
  const sending = useSignal(false);
  const file = useRef<HTMLInputElement>(null);
  const tooLong = bytesOf(sign.value) > signBytes;
  const save = async () => {
    if (tooLong || saving.value) return;
    saving.value = true;
    try {
      await engine.setSign(sign.value.trim());
      toast(t("settings.saved"));
    } catch (problem) {
      report(problem);
    } finally {
      saving.value = false;
    }
  };
  const picture = async (chosen: File | undefined) => {
    if (!chosen) return;
    sending.value = true;
    try {
      await engine.setAvatar(chosen);
    } catch (problem) {
      report(problem);
    } finally {
      sending.value = false;
    }
  };
  return (
    <section class="settings-part" aria-label={t("settings.profile")}>
      <div class="card-head">
        <Avatar engine={engine} name={me.name} id={me.id} {...(me.avatar ? { path: me.avatar } : {})} box={72} />
        <div>
          <p class="settings-name">{me.name}</p>
          <p class="settings-login">{me.login}</p>
          <Button kind="plain" busy={sending.value} onClick={() => file.current?.click()}>
            {t("settings.picture")}
          </Button>
          <input
            ref={file}
            hidden
            type="file"
            accept="image/png,image/jpeg,image/webp,image/gif"
            onChange={(e) => {
              void picture(e.currentTarget.files?.[0]);
              e.currentTarget.value = "";
            }}
          />
        </div>
      </div>
      <form
        class="settings-sign"
        onSubmit={(e) => {
          e.preventDefault();
          void save();
        }}
      >
        <Field
          label={t("settings.sign")}
          value={sign.value}
          onInput={(text: string) => {
            sign.value = text;
          }}
          {...(tooLong ? { error: t("settings.signLong") } : {})}
        />
        <Button kind="plain" submit busy={saving.value} disabled={tooLong || sign.value.trim() === me.sign}>
          {t("save")}
        </Button>
      </form>
    </section>
  );
}

function Look() {
  const themes: { value: Theme; label: string }[] = [
    { value: "auto", label: t("settings.themeAuto") },
    { value: "light", label: t("settings.themeLight") },
    { value: "dark", label: t("settings.themeDark") },
  ];
  const keys: { value: SendKey; label: string }[] = [
    { value: "enter", label: "Enter" },
    { value: "ctrlEnter", label: "Ctrl + Enter" },
  ];
  return (
    <section class="settings-part" aria-label={t("settings.look")}>
      <Choice
        label={t("settings.language")}
        value={language.value}
        options={[
          { value: "en", label: "English" },
          { value: "zh", label: "中文" },
        ]}
        onChange={setLanguage}
      />
      <Choice label={t("settings.theme")} value={theme.value} options={themes} onChange={setTheme} />
      <Choice label={t("settings.sendKey")} value={sendKey.value} options={keys} onChange={setSendKey} />
    </section>
  );
}

function Alerts() {
  const refused = useSignal(false);
  const change = async (on: boolean) => {
    refused.value = on && !(await setNotifications(on));
    if (!on) await setNotifications(false);
  };
  return (
    <section class="settings-part" aria-label={t("settings.notifications")}>
      <Switch
        label={t("settings.notifications")}
        hint={refused.value ? t("settings.notificationsRefused") : t("settings.notificationsHint")}
        on={notifications.value}
        onChange={change}
      />
    </section>
  );
}

function Connection({ engine }: { engine: Engine }) {
  const status = engine.status.value;
  const { domain, node } = engine.server();
  const rows: [string, string][] = [
    [t("settings.state"), t(`settings.phase.${status.phase}`)],
    [t("settings.transport"), status.transport ? t(`settings.by.${status.transport}`) : "–"],
    [t("settings.server"), [domain, node].filter(Boolean).join(" · ") || location.host],
  ];
  return (
    <section class="settings-part" aria-label={t("settings.connection")}>
      <h3>{t("settings.connection")}</h3>
      <dl class="facts">
        {rows.map(([name, value]) => (
          <div key={name} class="fact">
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      {status.phase === "offline" && (
        <Button kind="plain" onClick={() => engine.retryNow()}>
          {t("retry")}
        </Button>
      )}
    </section>
  );
}
