// Failures as people are told them: a key of the dictionary, with values.

import { Code } from "../pb/sessionpb/session_pb";
import type { Problem } from "./api";

class Trouble extends Error implements Problem {
  readonly key: string;
  readonly values?: Record<string, string | number>;

  constructor(key: string, values?: Record<string, string | number>) {
    super(key);
    this.key = key;
    if (values) {
      this.values = values;
    }
  }
}

export function problem(key: string, values?: Record<string, string | number>): Problem {
  return new Trouble(key, values);
}

/** Makes a Problem of whatever was thrown. */
export function problemOf(error: unknown): Problem {
  return error instanceof Trouble ? error : problem("problem.internal", { text: String(error) });
}

const keys = new Map<number, string>([
  [Code.INVALID, "problem.invalid"],
  [Code.UNAUTHENTICATED, "problem.expired"],
  [Code.FORBIDDEN, "problem.forbidden"],
  [Code.NOT_FOUND, "problem.notFound"],
  [Code.RATE_LIMITED, "problem.rateLimited"],
  [Code.TOO_LARGE, "problem.tooLarge"],
  [Code.UNAVAILABLE, "problem.unavailable"],
  [Code.OVERLOADED, "problem.full"],
  [Code.KICKED, "problem.kicked"],
  [Code.DRAINING, "problem.unavailable"],
  [Code.QUOTA, "problem.quota"],
  [Code.INTERNAL, "problem.internal"],
  [Code.REPLACED, "problem.replaced"],
]);

export function keyOf(code: number): string {
  return keys.get(code) ?? "problem.internal";
}

/** Whether repeating a message would come to the same. */
export function isFinal(code: number): boolean {
  return (
    code === Code.INVALID ||
    code === Code.FORBIDDEN ||
    code === Code.NOT_FOUND ||
    code === Code.TOO_LARGE ||
    code === Code.QUOTA
  );
}
