import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/kit.css";
import "./styles/shell.css";
import "./styles/list.css";
import "./styles/chat.css";
import "./styles/compose.css";
import "./styles/media.css";
import { render } from "preact";
import type { Engine } from "../engine/api";
import { followLanguage } from "./i18n";
import { followTheme } from "./prefs";
import { App } from "./shell/app";
import { followFront } from "./shell/front";
import { followMessages } from "./shell/notify";
import { followRoute } from "./shell/route";
import { followTitle } from "./shell/title";

/** Puts the interface into the page, for good. */
export function mount(engine: Engine, root: HTMLElement): void {
  followTheme(document.documentElement);
  followLanguage(document.documentElement);
  followFront();
  followRoute();
  followTitle(engine);
  followMessages(engine);
  render(<App engine={engine} />, root);
}
