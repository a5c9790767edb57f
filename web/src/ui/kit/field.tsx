import { useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import { t } from "../i18n";
import { IconButton } from "./button";

interface FieldProps {
  label: string;
  value: string;
  onInput: (text: string) => void;
  type?: "text" | "password" | "search" | "email";
  name?: string;
  autocomplete?: "username" | "current-password" | "off";
  error?: string | undefined;
  hint?: string;
  placeholder?: string;
  autoFocus?: boolean;
  multiline?: boolean;
  maxLength?: number;
  hideLabel?: boolean;
  disabled?: boolean;
  onKeyDown?: (e: KeyboardEvent) => void;
}

/** One labelled input; its error and its hint are read out with it. */
export function Field(props: FieldProps) {
  const id = useId();
  const input = useRef<HTMLInputElement & HTMLTextAreaElement>(null);
  const [shown, setShown] = useState(false);
  const { label, value, onInput, type = "text", error, hint, multiline, hideLabel } = props;
  useLayoutEffect(() => {
    if (props.autoFocus) {
      input.current?.focus();
    }
  }, [props.autoFocus]);
  const described = error ? `${id}-e` : hint ? `${id}-h` : undefined;
  const common = {
    id,
    ref: input,
    class: "field-input",
    value,
    name: props.name,
    placeholder: props.placeholder,
    maxLength: props.maxLength,
    disabled: props.disabled,
    "aria-invalid": error ? true : undefined,
    "aria-describedby": described,
    onInput: (e: Event) => onInput((e.currentTarget as HTMLInputElement).value),
    onKeyDown: props.onKeyDown,
  };
  return (
    <div class="field">
      <label class={hideLabel ? "sr" : "field-label"} for={id}>
        {label}
      </label>
      <div class="field-box">
        {multiline ? (
          <textarea {...common} rows={3} />
        ) : (
          <input
            {...common}
            type={(shown ? "text" : type) as "text"}
            autocomplete={props.autocomplete ?? "off"}
            spellcheck={false}
            autocapitalize="none"
          />
        )}
        {type === "password" && (
          <IconButton
            icon="eye"
            size={18}
            pressed={shown}
            label={t(shown ? "login.hide" : "login.show")}
            onClick={() => setShown(!shown)}
          />
        )}
      </div>
      {error && (
        <p class="field-error" id={`${id}-e`} role="alert">
          {error}
        </p>
      )}
      {hint && !error && (
        <p class="field-hint" id={`${id}-h`}>
          {hint}
        </p>
      )}
    </div>
  );
}
