// Something that is on or off, or one of a few.

import { useState } from "preact/hooks";

export interface SwitchProps {
  label: string;
  hint?: string;
  on: boolean;
  /** What is answered later decides how the switch is in the end. */
  onChange(on: boolean): unknown;
}

export function Switch({ label, hint, on, onChange }: SwitchProps) {
  const [, drawAgain] = useState(0);
  const change = async (wanted: boolean) => {
    await onChange(wanted);
    drawAgain((n) => n + 1);
  };
  return (
    <label class="switch">
      <span class="switch-text">
        <span>{label}</span>
        {hint && <small>{hint}</small>}
      </span>
      <input
        type="checkbox"
        role="switch"
        aria-checked={on}
        checked={on}
        onChange={(e) => void change(e.currentTarget.checked)}
      />
    </label>
  );
}

export interface ChoiceProps<V extends string> {
  label: string;
  value: V;
  options: readonly { value: V; label: string }[];
  onChange(value: V): void;
}

/** One of a few. */
export function Choice<V extends string>({ label, value, options, onChange }: ChoiceProps<V>) {
  return (
    <fieldset class="choice">
      <legend>{label}</legend>
      <div class="choice-options">
        {options.map((o) => (
          <label key={o.value} class={o.value === value ? "choice-on" : ""}>
            <input
              type="radio"
              name={label}
              value={o.value}
              checked={o.value === value}
              onChange={() => onChange(o.value)}
            />
            {o.label}
          </label>
        ))}
      </div>
    </fieldset>
  );
}
