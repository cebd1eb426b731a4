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
  DetokenizeRequest,
  Embeddings,
  EmbedRequest,
  Health,
  History,
  Preset,
  PresetChange,
  Model,
  Ranking,
  RerankRequest,
  ServedTools,
  SessionReply,
  SessionRequest,
  SessionSummary,
  TokenizeRequest,
  Version,
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
  /** What can stand at the place of a turn, the oldest first: each reply to a message, each wording of it. */
  versions(sessionId: string, streamId: string, options?: CallOptions): Promise<Version[]>;
  /** The session goes on with this version of a turn, and with what followed it. */
  chooseVersion(sessionId: string, streamId: string, options?: CallOptions): Promise<History>;
  /** Your sessions, pinned ones first, then the one used last; `search` looks into titles and messages. */
  sessions(
    query?: { search?: string; limit?: number; offset?: number },
    options?: CallOptions,
  ): Promise<SessionSummary[]>;
  renameSession(sessionId: string, title: string, options?: CallOptions): Promise<History>;
  /** Whether it stands before those that are not pinned. */
  pinSession(sessionId: string, pinned: boolean, options?: CallOptions): Promise<History>;
  deleteSession(sessionId: string, options?: CallOptions): Promise<void>;
  /** A session as a file's text. */
  exportSession(sessionId: string, format: "json" | "markdown", options?: CallOptions): Promise<string>;

  /** Keeps the text of a file that was exported as JSON as a new session of yours. */
  importSession(text: string, options?: CallOptions): Promise<History>;

  /** Your presets, the oldest first, then the operator's. */
  presets(options?: CallOptions): Promise<Preset[]>;
  /** Keeps a preset of yours in the place of the one of that name, or as a new one. */
  savePreset(name: string, preset: PresetChange, options?: CallOptions): Promise<Preset>;
  deletePreset(name: string, options?: CallOptions): Promise<void>;
  /** Vectors of texts, in their order, each of length 1. Needs a model that makes them. */
  embed(request: EmbedRequest, options?: CallOptions): Promise<Embeddings>;
  /** How well documents answer a query, the best first. Needs a model that ranks, or that makes vectors. */
  rerank(request: RerankRequest, options?: CallOptions): Promise<Ranking>;
  /** The ids of a text's tokens. */
  tokenize(request: TokenizeRequest, options?: CallOptions): Promise<number[]>;
  /** The text of tokens, with the names of control tokens. */
  detokenize(request: DetokenizeRequest, options?: CallOptions): Promise<string>;
  /** The prompt that a conversation makes; nothing is generated. */
  applyTemplate(request: ChatRequest, options?: CallOptions): Promise<string>;

  /** All models, the default one first. */
  models(options?: CallOptions): Promise<Model[]>;
  /** What `run_tools` may name, and the tool servers that cannot be used now, with the reason. */
  tools(options?: CallOptions): Promise<ServedTools>;

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
    versions: async (sessionId, streamId, { signal } = {}) => {
      const path = `${turn(sessionId, streamId)}/versions`;
      return (await connection.json<{ versions: Version[] }>("GET", path, { signal })).versions;
    },
    chooseVersion: (sessionId, streamId, { signal } = {}) =>
      connection.json("POST", `${turn(sessionId, streamId)}/choose`, { signal }),
    sessions: async (query = {}, { signal } = {}) => {
      const path = `/api/llm/sessions${queryOf(query)}`;
      return (await connection.json<{ sessions: SessionSummary[] }>("GET", path, { signal })).sessions;
    },
    renameSession: (sessionId, title, { signal } = {}) =>
      connection.json("PATCH", session(sessionId), { body: { title }, signal }),
    pinSession: (sessionId, pinned, { signal } = {}) =>
      connection.json("PATCH", session(sessionId), { body: { pinned }, signal }),
    deleteSession: async (sessionId, { signal } = {}) => {
      await connection.ask("DELETE", session(sessionId), { signal });
    },
    exportSession: (sessionId, format, { signal } = {}) =>
      connection.text("GET", `${session(sessionId)}/export${queryOf({ format })}`, { signal }),
    importSession: (text, { signal } = {}) => connection.json("POST", "/api/llm/sessions", { json: text, signal }),

    presets: async ({ signal } = {}) =>
      (await connection.json<{ presets: Preset[] }>("GET", "/api/llm/presets", { signal })).presets,
    savePreset: (name, body, { signal } = {}) => connection.json("PUT", preset(name), { body, signal }),
    deletePreset: async (name, { signal } = {}) => {
      await connection.ask("DELETE", preset(name), { signal });
    },

    embed: (request, options) => post("/v1/embeddings", request, options),
    rerank: (request, options) => post("/v1/rerank", request, options),
    tokenize: async (request, options) =>
      (await post<{ tokens: number[] }>("/tokenize", request, options)).tokens,
    detokenize: async (request, options) => (await post<{ content: string }>("/detokenize", request, options)).content,
    applyTemplate: async (request, options) =>
      (await post<{ prompt: string }>("/apply-template", request, options)).prompt,

    models: async ({ signal } = {}) =>
      (await connection.json<{ models: Model[] }>("GET", "/api/llm/models", { signal })).models,
    tools: ({ signal } = {}) => connection.json("GET", "/api/llm/tools", { signal }),

    health: ({ signal } = {}) => connection.json("GET", "/api/llm/health", { signal, alsoGood: 503 }), // while it loads
  };
}

function session(sessionId: string): string {
  return `/api/llm/chat/session/${encodeURIComponent(sessionId)}`;
}

function preset(name: string): string {
  return `/api/llm/presets/${encodeURIComponent(name)}`;
}

function queryOf(fields: Record<string, string | number | undefined>): string {
  const given = Object.entries(fields).filter(([, value]) => value !== undefined);
  return given.length === 0 ? "" : `?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}`;
}

/** The client that most programs need: of the page's own server, or, in Node, of this machine's. */
export const llmAPI: Client = createClient();

function turn(sessionId: string, streamId: string): string {
  return `${session(sessionId)}/turns/${encodeURIComponent(streamId)}`;
}
