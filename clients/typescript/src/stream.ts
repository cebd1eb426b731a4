/**
 * One stream from its first event to its last, over as many connections as it takes.
 *
 * The server goes on with a session's reply when a reader is cut off, and numbers its events. So a reader who comes
 * back says which number came last, and gets what follows. A stateless stream ends with its connection.
 */

import type { Connection } from "./connection.js";
import { LLMError } from "./errors.js";
import { eventOf, messagesOf, within } from "./events.js";
import { askedFor, mayBeTaken, newKey, pause, RETRY_DELAYS, withKey } from "./retry.js";
import type { StreamEvent } from "./types.js";

export interface StreamOptions {
  signal?: AbortSignal | undefined;
  /**
   * Whether leaving a session's stream (an abort, a `break`) stops its reply on the server. False leaves it running, to
   * be read on by `resumeStream`. Default: true. A stateless reply always stops.
   */
  stopOnLeave?: boolean | undefined;
  /**
   * The name of a session's turn before the server has named its stream; one is made where it is left out. A message
   * that is sent again under the same key comes back to the same reply, and is not said twice.
   */
  idempotencyKey?: string | undefined;
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

const NOTHING_FOLLOWS = 204;
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
  readonly #key: string;
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
    this.#key = options.idempotencyKey ?? newKey();
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
        yield* this.#connected();
        return;
      } catch (error) {
        if (this.#socket.signal.aborted || this.#options.signal?.aborted) throw error;
        if (this.#lastEventId > before) attempt = 0;
        const delay = delays[attempt];
        if (!this.#canComeBack(error, attempt) || delay === undefined) {
          this.#over = true;
          throw this.#verdict(error, attempt);
        }
        attempt += 1;
        this.#options.onReconnect?.(attempt);
        await pause(Math.max(delay, askedFor(error)), this.#options.signal);
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
  async *#connected(): AsyncGenerator<StreamEvent, void> {
    const silence = this.#options.silence ?? SILENCE;
    const answer = await this.#answer(silence);
    if (answer.status === NOTHING_FOLLOWS) {
      this.#over = true;
      return;
    }
    for await (const message of messagesOf(answer, silence)) {
      const id = Number(message.id);
      if (id <= this.#lastEventId) continue; // read before
      const event = this.#read(message);
      if (id > 0) this.#lastEventId = id;
      if (event === undefined) continue;
      if (event.type === "queue" || event.type === "loading") this.#streamId = event.stream_id;
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

  async #answer(silence: number): Promise<Response> {
    const opening = this.#open();
    try {
      return await within(silence, opening);
    } catch (error) {
      // Should it be answered after all, nobody reads it any more.
      opening.then((late) => late.body?.cancel()).catch(() => undefined);
      throw error;
    }
  }

  #open(): Promise<Response> {
    const signal = this.#socket.signal;
    if ("path" in this.#source && this.#streamId === undefined) {
      const { path, body, resumable } = this.#source;
      return this.#connection.ask("POST", path, { body, headers: resumable ? withKey(this.#key) : {}, signal });
    }
    const headers = { "Last-Event-ID": String(this.#lastEventId) };
    return this.#connection.ask("GET", `/api/llm/streams/${this.#streamId}`, { headers, signal });
  }

  #canComeBack(error: unknown, attempt: number): boolean {
    return this.#resumable && !this.#over && mayBeTaken(error, attempt > 0 || this.#streamId !== undefined);
  }

  /** What to tell of an error that ends the stream. */
  #verdict(error: unknown, attempts: number): unknown {
    if (error instanceof LLMError && error.code !== "connection_lost") {
      if (error.code !== "connection_failed" || attempts === 0 || this.#streamId === undefined) return error;
    }
    const tried = attempts > 0 ? `It did not come back in ${attempts} attempts. ` : "";
    const why = this.#resumable
      ? `${tried}The session's history has what was said.`
      : "A stream without a session cannot be read on: ask again, or use a session.";
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
