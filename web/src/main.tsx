import { createEngine } from "./engine";
import { mount } from "./ui/mount";

const root = document.getElementById("app");
if (root) {
  mount(createEngine(), root);
}
