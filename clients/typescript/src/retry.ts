/** When a request is sent again, and under which name: a turn that comes twice under one key is said once. */

import { LLMError } from "./errors.js";

/** Milliseconds before each attempt. Together shorter than the 30 s for which a server goes on without a reader. */
export const RETRY_DELAYS: readonly number[] = [250, 500, 1000, 2000, 4000, 8000];
const LONGEST_PAUSE = 10_000; // whatever the server asks for: it does not keep the reply for ever

/** A key that nobody else has. Pages that came by plain HTTP have no `crypto.randomUUID`. */
export function newKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function withKey(key: string): Record<string, string> {
  return { "Idempotency-Key": key };
}

/**
 * Whether the server may have taken a request that ended with `error`, or will when it is asked again.
 *
 * @param before Whether an earlier attempt may have been taken: then a server that is away or busy is waited for.
 */
export function mayBeTaken(error: unknown, before: boolean): boolean {
  if (!(error instanceof LLMError)) return true; // reading broke off
  if (error.code === "interrupted") return false;
  if (error.status !== undefined) {
    // A refusal without a code comes from a proxy, which does not say how far the request came.
    return before ? error.status === 429 || error.status >= 500 : error.status >= 500 && error.code === "http_error";
  }
  if (error.code === "connection_failed") return before || !error.unsent;
  return error.code === "connection_lost";
}

/** What `ask` comes to, which is asked again as long as there are `delays` and it is not known to have been refused. */
export async function insisting<T>(
  ask: () => Promise<T>,
  delays: readonly number[] = RETRY_DELAYS,
  signal?: AbortSignal,
): Promise<T> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await ask();
    } catch (error) {
      const delay = delays[attempt];
      if (delay === undefined || !mayBeTaken(error, attempt > 0)) throw error;
      await pause(Math.max(delay, askedFor(error)), signal);
    }
  }
}

/** Milliseconds that the server asks to wait, as far as it may be obeyed. */
export function askedFor(error: unknown): number {
  return error instanceof LLMError ? Math.min((error.retryAfter ?? 0) * 1000, LONGEST_PAUSE) : 0;
}

/** Waits. Throws the signal's reason after an abort. */
export async function pause(milliseconds: number, signal?: AbortSignal): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const stop = (): void => {
      clearTimeout(timer);
      reject(signal?.reason as Error);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    if (signal?.aborted) stop();
    else signal?.addEventListener("abort", stop, { once: true });
  });
}
