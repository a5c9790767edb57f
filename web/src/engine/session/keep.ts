// What lets the session go on after a reload: kept by the server in a cookie that no script can read, and handed back when asked for.

/** Enough to resume: not the cursor, as what it was for is gone with the page. */
export interface Kept {
  device: string;
  token: string; // base64
  user: number;
  name: string;
}

export interface Keep {
  put(kept: Kept, seconds: number): Promise<void>;
  take(): Promise<Kept | undefined>;
  drop(): Promise<void>;
}

const path = "/web/session";

/** The keep of the page's own server. */
export const cookieKeep: Keep = {
  async put(kept, seconds) {
    await ask("", { value: JSON.stringify(kept), max_age: seconds });
  },
  async take() {
    const answer = await ask("/take");
    if (answer.status !== 200) {
      return undefined;
    }
    const { value } = (await answer.json()) as { value: string };
    const kept = JSON.parse(value) as Partial<Kept>;
    return kept.device && kept.token && kept.user ? (kept as Kept) : undefined;
  },
  async drop() {
    await ask("/drop");
  },
};

function ask(end: string, body?: object): Promise<Response> {
  return fetch(path + end, {
    method: "POST",
    cache: "no-store",
    credentials: "same-origin",
    headers: { "Teamtalk-Web": "1", "Content-Type": "application/json" },
    ...(body && { body: JSON.stringify(body) }),
  });
}
