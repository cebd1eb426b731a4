/** Server-sent events: from the bytes of an answer to typed events. */

import { createParser, type EventSourceMessage } from "eventsource-parser";

import { LLMError } from "./errors.js";
import type { StreamEvent } from "./types.js";

/**
 * The messages of an event stream, as they come.
 *
 * @param silence Milliseconds without a byte after which the connection counts as lost: the server fills a silence with
 *   a comment every 15 s, so a longer one means that nobody is there any more, which no socket tells.
 * @throws Whatever reading throws, and an `LLMError` after too long a silence.
 */
export async function* messagesOf(response: Response, silence: number): AsyncGenerator<EventSourceMessage, void> {
  if (!response.headers.get("Content-Type")?.startsWith("text/event-stream") || response.body === null) {
    await response.body?.cancel();
    throw new LLMError("What answers is not a stream of events.", "bad_answer", { status: response.status });
  }
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  const messages: EventSourceMessage[] = [];
  const parser = createParser({ onEvent: (message) => messages.push(message) });
  try {
    for (;;) {
      const { done, value } = await within(silence, reader.read());
      if (done) return;
      parser.feed(decoder.decode(value, { stream: true }));
      yield* messages.splice(0);
    }
  } finally {
    await reader.cancel().catch(() => undefined); // it may be broken already, and then there is nothing to close
  }
}

/**
 * The event of a message; undefined for one of a kind that this client does not know yet.
 *
 * @throws {LLMError} The event tells of an error, or is none of this server's.
 */
export function eventOf(message: EventSourceMessage): StreamEvent | undefined {
  const id = Number(message.id);
  let data: unknown;
  try {
    data = JSON.parse(message.data);
  } catch (error) {
    throw new LLMError("The stream has an event that is not JSON.", "bad_answer", { cause: error });
  }
  if (typeof data !== "object" || data === null) return undefined;
  if ("error" in data) {
    throw new LLMError(String(data.error), "code" in data ? String(data.code) : "internal_error");
  }
  const type = typeOf(data);
  return type === undefined ? undefined : ({ ...data, type, id } as StreamEvent);
}

const KINDS = [
  ["loading", "loading"],
  ["queue_position", "queue"],
  ["content", "content"],
  ["reasoning", "reasoning"],
  ["tool_calls", "tool_calls"],
  ["tool_started", "tool_started"],
  ["tool_approval", "tool_approval"],
  ["tool_result", "tool_result"],
  ["done", "done"],
] as const;

function typeOf(data: object): StreamEvent["type"] | undefined {
  return KINDS.find(([field]) => field in data)?.[1];
}

/** What `promise` comes to, unless it takes longer than `milliseconds`. */
export async function within<T>(milliseconds: number, promise: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const silence = new Promise<never>((_, reject) => {
    const error = new LLMError(`Nothing came from the server for ${milliseconds / 1000} s.`, "connection_lost");
    timer = setTimeout(() => reject(error), milliseconds);
  });
  try {
    return await Promise.race([promise, silence]);
  } finally {
    clearTimeout(timer);
  }
}
