/** The calls of the server, typed: whole answers, streams as callbacks or iterators, and sessions. */

import {
  type CallbackOptions,
  type OnChunk,
  type OnComplete,
  type OnError,
  startStream,
  type StreamHandle,
} from "./callbacks.js";
import { Connection, type ConnectionOptions } from "./connection.js";
import { insisting, newKey, withKey } from "./retry.js";
import { streamEvents, type StreamOptions } from "./stream.js";
import type {
  ChatReply,
  ChatRequest,
  Health,
  History,
  SessionReply,
  SessionRequest,
  SessionSummary,
  StreamEvent,
} from "./types.js";

export interface CallOptions {
  signal?: AbortSignal | undefined;
}

export type SessionCallOptions = CallOptions & Pick<StreamOptions, "idempotencyKey" | "retryDelays">;

export interface ResumeOptions extends StreamOptions {
  /** Number of the event read last; 0, the default, begins at the first. */
  lastEventId?: number | undefined;
}

/** All methods can be taken off the client and passed around. Each fails with an `LLMError`. */
export interface Client {
  /** Changes address, token or fetch for the requests that follow. */
  configure(options: ConnectionOptions): void;

  /** The whole reply to a conversation. */
  chat(request: ChatRequest, options?: CallOptions): Promise<ChatReply>;
  /** The whole reply in a session; a lost connection is made again. */
  chatSession(request: SessionRequest, options?: SessionCallOptions): Promise<SessionReply>;

  /** The reply to a conversation as it is made. One of `onComplete` and `onError` comes last, unless it is aborted. */
  chatStream(
    request: ChatRequest,
    onChunk: OnChunk,
    onComplete?: OnComplete,
    onError?: OnError,
    options?: CallbackOptions,
  ): StreamHandle;
  /** The reply in a session as it is made; a lost connection is made again. */
  chatSessionStream(
    request: SessionRequest,
    onChunk: OnChunk,
    onComplete?: OnComplete,
    onError?: OnError,
    options?: CallbackOptions,
  ): StreamHandle;

  /** The events of a reply. Leaving the loop stops it. */
  streamChat(request: ChatRequest, options?: StreamOptions): AsyncGenerator<StreamEvent, void>;
  /** The events of a reply in a session. Leaving the loop stops it, unless `stopOnLeave` is false. */
  streamSession(request: SessionRequest, options?: StreamOptions): AsyncGenerator<StreamEvent, void>;
  /** The events of a session's stream that somebody began, also up to an hour after its end. */
  resumeStream(streamId: string, options?: ResumeOptions): AsyncGenerator<StreamEvent, void>;
  /** Stops a reply. Its stream ends with the finish reason `cancelled`; one that has ended already stays as it is. */
  cancel(streamId: string, options?: CallOptions): Promise<void>;

  /** What was said in a session. */
  history(sessionId: string, options?: CallOptions): Promise<History>;
  /** Your sessions, the one used last first; `search` looks into titles and messages. */
  sessions(
    query?: { search?: string; limit?: number; offset?: number },
    options?: CallOptions,
  ): Promise<SessionSummary[]>;
  renameSession(sessionId: string, title: string, options?: CallOptions): Promise<History>;
  deleteSession(sessionId: string, options?: CallOptions): Promise<void>;
  /** A session as a file's text. */
  exportSession(sessionId: string, format: "json" | "markdown", options?: CallOptions): Promise<string>;

  /** Whether the server can answer, also while it loads its model. */
  health(options?: CallOptions): Promise<Health>;
}

/** A client of one server. */
export function createClient(options: ConnectionOptions = {}): Client {
  const connection = new Connection(options);
  const post = <T>(path: string, body: unknown, { signal }: CallOptions = {}): Promise<T> =>
    connection.json<T>("POST", path, { body, signal });

  const streamChat: Client["streamChat"] = (body, options) =>
    streamEvents(connection, { path: "/api/llm/chat/stream", body, resumable: false }, options);
  const streamSession: Client["streamSession"] = (body, options) =>
    streamEvents(connection, { path: "/api/llm/chat/session/stream", body, resumable: true }, options);

  return {
    configure: (changed) => connection.configure(changed),
    chat: (request, options) => post("/api/llm/chat", request, options),
    chatSession: (body, { signal, idempotencyKey = newKey(), retryDelays } = {}) => {
      const asked = { body, headers: withKey(idempotencyKey), signal };
      return insisting(() => connection.json("POST", "/api/llm/chat/session", asked), retryDelays, signal);
    },

    chatStream: (request, onChunk, onComplete, onError, options) =>
      startStream((reading) => streamChat(request, reading), onChunk, onComplete, onError, options),
    chatSessionStream: (request, onChunk, onComplete, onError, options) =>
      startStream((reading) => streamSession(request, reading), onChunk, onComplete, onError, options),

    streamChat,
    streamSession,
    resumeStream: (streamId, { lastEventId = 0, ...options } = {}) =>
      streamEvents(connection, { streamId, lastEventId }, options),
    cancel: async (streamId, { signal } = {}) => {
      await connection.ask("DELETE", `/api/llm/streams/${encodeURIComponent(streamId)}`, { signal });
    },

    history: (sessionId, { signal } = {}) => connection.json("GET", `${session(sessionId)}/history`, { signal }),
    sessions: async (query = {}, { signal } = {}) => {
      const path = `/api/llm/sessions${queryOf(query)}`;
      return (await connection.json<{ sessions: SessionSummary[] }>("GET", path, { signal })).sessions;
    },
    renameSession: (sessionId, title, { signal } = {}) =>
      connection.json("PATCH", session(sessionId), { body: { title }, signal }),
    deleteSession: async (sessionId, { signal } = {}) => {
      await connection.ask("DELETE", session(sessionId), { signal });
    },
    exportSession: (sessionId, format, { signal } = {}) =>
      connection.text("GET", `${session(sessionId)}/export${queryOf({ format })}`, { signal }),

    health: ({ signal } = {}) => connection.json("GET", "/api/llm/health", { signal, alsoGood: 503 }), // while it loads
  };
}

function session(sessionId: string): string {
  return `/api/llm/chat/session/${encodeURIComponent(sessionId)}`;
}

function queryOf(fields: Record<string, string | number | undefined>): string {
  const given = Object.entries(fields).filter(([, value]) => value !== undefined);
  return given.length === 0 ? "" : `?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}`;
}

/** The client that most programs need: of the page's own server, or, in Node, of this machine's. */
export const llmAPI: Client = createClient();
