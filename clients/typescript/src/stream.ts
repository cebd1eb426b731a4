/**
 * One stream from its first event to its last, over as many connections as it takes.
 *
 * The server goes on with a session's reply when a reader is cut off, and numbers its events. So a reader who comes
 * back says which number came last, and gets what follows. A stateless stream ends with its connection.
 */

import type { Connection } from "./connection.js";
import { LLMError } from "./errors.js";
import { eventOf, messagesOf, within } from "./events.js";
import type { StreamEvent } from "./types.js";

export interface StreamOptions {
  signal?: AbortSignal | undefined;
  /**
   * Whether leaving a session's stream (an abort, a `break`) stops its reply on the server. False leaves it running, to
   * be read on by `resumeStream`. Default: true. A stateless reply always stops.
   */
  stopOnLeave?: boolean | undefined;
  /** Called before each new attempt to reach a lost session stream, with its number, from 1. */
  onReconnect?: ((attempt: number) => void) | undefined;
  /** Milliseconds before each attempt; as many attempts as there are numbers, counted anew after every event. */
  retryDelays?: readonly number[] | undefined;
  /** Milliseconds without a sign of life after which a connection counts as lost. */
  silence?: number | undefined;
}

/** Where a stream comes from: a request that begins one, or one that is there already. */
export type StreamSource =
  | { path: string; body: unknown; resumable: boolean }
  | { streamId: string; lastEventId: number };

/** Together shorter than the 30 s for which a server goes on without a reader. */
const RETRY_DELAYS = [250, 500, 1000, 2000, 4000, 8000];
const LONGEST_PAUSE = 10_000; // whatever the server asks for: it does not keep the reply for ever
const SILENCE = 45_000; // three of the server's signs of life
const FAREWELL = 5000; // for the server to say who it is, or to take leave; then it is left as it is

/**
 * The events of a stream.
 *
 * @throws {LLMError} It was refused, it failed, or its connection is lost for good. After an abort, the signal's reason.
 */
export async function* streamEvents(
  connection: Connection,
  source: StreamSource,
  options: StreamOptions = {},
): AsyncGenerator<StreamEvent, void> {
  options.signal?.throwIfAborted();
  const stream = new Stream(connection, source, options);
  try {
    for await (const event of stream.events()) {
      options.signal?.throwIfAborted();
      yield event;
    }
  } catch (error) {
    options.signal?.throwIfAborted();
    throw error;
  } finally {
    await stream.close();
  }
}

class Stream {
  readonly #connection: Connection;
  readonly #source: StreamSource;
  readonly #options: StreamOptions;
  readonly #resumable: boolean;
  readonly #stopOnLeave: boolean;
  readonly #socket = new AbortController();
  #streamId: string | undefined;
  #lastEventId = 0;
  /** Whether the server has nothing left to stop, or cannot be told. */
  #over = false;
  #farewell: ReturnType<typeof setTimeout> | undefined;

  constructor(connection: Connection, source: StreamSource, options: StreamOptions) {
    this.#connection = connection;
    this.#source = source;
    this.#options = options;
    this.#resumable = "streamId" in source || source.resumable;
    this.#stopOnLeave = this.#resumable && (options.stopOnLeave ?? true);
    if ("streamId" in source) {
      this.#streamId = source.streamId;
      this.#lastEventId = source.lastEventId;
    }
    options.signal?.addEventListener("abort", this.#abort, { once: true });
  }

  async *events(): AsyncGenerator<StreamEvent, void> {
    const delays = this.#options.retryDelays ?? RETRY_DELAYS;
    let attempt = 0;
    for (;;) {
      const before = this.#lastEventId;
      try {
        yield* this.#connected(attempt > 0);
        return;
      } catch (error) {
        if (this.#socket.signal.aborted || this.#options.signal?.aborted) throw error;
        if (this.#lastEventId > before) attempt = 0;
        const delay = delays[attempt];
        if (!this.#canComeBack(error) || delay === undefined) {
          this.#over = true;
          throw this.#verdict(error, attempt);
        }
        attempt += 1;
        this.#options.onReconnect?.(attempt);
        await pause(Math.max(delay, askedFor(error)), this.#socket.signal);
      }
    }
  }

  /** Takes leave: closes the connection, and stops the reply where leaving means that. */
  async close(): Promise<void> {
    clearTimeout(this.#farewell);
    this.#options.signal?.removeEventListener("abort", this.#abort);
    this.#socket.abort();
    if (this.#over || !this.#stopOnLeave || this.#streamId === undefined) return;
    const options = { signal: AbortSignal.timeout(FAREWELL), keepalive: true };
    // Where it cannot be told, or has just ended, there is nothing more to do: without a reader it stops by itself.
    await this.#connection.ask("DELETE", `/api/llm/streams/${this.#streamId}`, options).catch(() => undefined);
  }

  /** The events of one connection, to the last of the stream. Throws where the connection ends before that. */
  async *#connected(again: boolean): AsyncGenerator<StreamEvent, void> {
    const silence = this.#options.silence ?? SILENCE;
    for await (const message of messagesOf(await this.#answer(again, silence), silence)) {
      const id = Number(message.id);
      if (id <= this.#lastEventId) continue; // read before
      const event = this.#read(message);
      if (id > 0) this.#lastEventId = id;
      if (event === undefined) continue;
      if (event.type === "queue") this.#streamId = event.stream_id;
      if (event.type === "done") this.#over = true;
      yield event;
      if (event.type === "done") return;
    }
    throw new LLMError("The connection was lost in the middle of the stream.", "connection_lost");
  }

  #read(message: Parameters<typeof eventOf>[0]): StreamEvent | undefined {
    try {
      return eventOf(message);
    } catch (error) {
      this.#over = true;
      throw error;
    }
  }

  async #answer(again: boolean, silence: number): Promise<Response> {
    const opening = this.#open(again);
    try {
      return await within(silence, opening);
    } catch (error) {
      // Should it be answered after all, nobody reads it any more.
      opening.then((late) => late.body?.cancel()).catch(() => undefined);
      throw error;
    }
  }

  #open(again: boolean): Promise<Response> {
    const signal = this.#socket.signal;
    if ("path" in this.#source && !again) {
      return this.#connection.ask("POST", this.#source.path, { body: this.#source.body, signal });
    }
    const headers = { "Last-Event-ID": String(this.#lastEventId) };
    return this.#connection.ask("GET", `/api/llm/streams/${this.#streamId}`, { headers, signal });
  }

  #canComeBack(error: unknown): boolean {
    if (!this.#resumable || this.#streamId === undefined || this.#over) return false;
    if (!(error instanceof LLMError)) return true; // reading broke off
    if (error.status === undefined) return error.code === "connection_lost" || error.code === "connection_failed";
    return error.status === 429 || error.status >= 500;
  }

  /** What to tell of an error that ends the stream. */
  #verdict(error: unknown, attempts: number): unknown {
    if (error instanceof LLMError && error.code !== "connection_lost") {
      if (error.code !== "connection_failed" || attempts === 0) return error;
    }
    const why = !this.#resumable
      ? "A stream without a session cannot be read on: ask again, or use a session."
      : attempts > 0
        ? `It did not come back in ${attempts} attempts. The session's history has what was said.`
        : "It was lost before the stream had a name to come back to. The session's history has what was said.";
    return new LLMError(`The connection to the server was lost. ${why}`, "connection_lost", { cause: error });
  }

  readonly #abort = (): void => {
    // Only the first event says what to stop: it is about to come, so the connection is kept open for it.
    if (this.#stopOnLeave && this.#streamId === undefined) {
      this.#farewell = setTimeout(() => this.#socket.abort(), FAREWELL);
    } else {
      this.#socket.abort();
    }
  };
}

/** Milliseconds that the server asks to wait, as far as it may be obeyed. */
function askedFor(error: unknown): number {
  return error instanceof LLMError ? Math.min((error.retryAfter ?? 0) * 1000, LONGEST_PAUSE) : 0;
}

async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    const stop = (): void => {
      clearTimeout(timer);
      reject(signal.reason as Error);
    };
    if (signal.aborted) stop();
    else signal.addEventListener("abort", stop, { once: true });
  });
}
