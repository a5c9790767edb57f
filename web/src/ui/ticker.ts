import { signal } from "@preact/signals";

let timer: ReturnType<typeof setInterval> | undefined;

/** The time, every half second, as long as something on screen counts down. */
export const ticker = signal(Date.now(), {
  watched() {
    ticker.value = Date.now();
    timer = setInterval(() => {
      ticker.value = Date.now();
    }, 500);
  },
  unwatched() {
    clearInterval(timer);
  },
});
