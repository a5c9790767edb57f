import { useState } from "preact/hooks";
import type { Engine } from "../../engine/api";
import { language, setLanguage, t } from "../i18n";
import { Button, Field, problemText } from "../kit";

/** The line above the fields: why one has to log in again, or how long it takes. */
function Notice({ engine }: { engine: Engine }) {
  const { phase, queue, ended } = engine.status.value;
  const text =
    phase === "queued" && queue
      ? t("login.queue", { position: queue.position, seconds: queue.etaSeconds })
      : ended
        ? t(`login.ended.${ended}`)
        : undefined;
  return (
    <div role="status">
      {text && <p class={`login-notice ${ended === "loggedOut" || phase === "queued" ? "" : "login-warn"}`}>{text}</p>}
    </div>
  );
}

export function Login({ engine }: { engine: Engine }) {
  const [name, setName] = useState("");
  const [password, setPassword] = useState("");
  const [error, setError] = useState<string>();
  const [busy, setBusy] = useState(false);
  const submit = async (e: Event) => {
    e.preventDefault();
    if (name.trim() === "" || password === "") {
      setError(t("login.missing"));
      return;
    }
    setBusy(true);
    setError(undefined);
    try {
      await engine.login(name.trim(), password);
    } catch (thrown) {
      setError(problemText(thrown));
    } finally {
      setBusy(false);
    }
  };
  const other = language.value === "zh" ? "en" : "zh";
  return (
    <main class="login">
      <form class="login-card" onSubmit={submit} noValidate>
        <Logo />
        <h1>TeamTalk</h1>
        <p class="login-lead">{t("login.lead")}</p>
        <Notice engine={engine} />
        <Field
          label={t("login.name")}
          name="username"
          autocomplete="username"
          value={name}
          onInput={setName}
          autoFocus
          disabled={busy}
        />
        <Field
          label={t("login.password")}
          name="password"
          type="password"
          autocomplete="current-password"
          value={password}
          onInput={setPassword}
          error={error}
          disabled={busy}
        />
        <Button kind="primary" submit busy={busy}>
          {busy ? t("login.busy") : t("login.submit")}
        </Button>
      </form>
      <button
        type="button"
        class="link login-language"
        lang={other === "zh" ? "zh-CN" : "en"}
        onClick={() => setLanguage(other)}
      >
        {other === "zh" ? "中文" : "English"}
      </button>
    </main>
  );
}

/** Two bubbles that overlap. */
export function Logo({ size = 44 }: { size?: number }) {
  return (
    <svg class="logo" width={size} height={size} viewBox="0 0 44 44" aria-hidden="true">
      <path class="logo-back" d="M17 8h17a6 6 0 0 1 6 6v10a6 6 0 0 1-6 6v6l-7-6H17a6 6 0 0 1-6-6V14a6 6 0 0 1 6-6Z" />
      <path class="logo-front" d="M9 4h17a6 6 0 0 1 6 6v9a6 6 0 0 1-6 6H16l-7 6v-6a6 6 0 0 1-6-6v-9a6 6 0 0 1 6-6Z" />
    </svg>
  );
}
