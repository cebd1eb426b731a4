export type { CallbackOptions, OnChunk, OnComplete, OnError, StreamEnd, StreamHandle } from "./callbacks.js";
export {
  ChatSession,
  type ChatSessionOptions,
  type ChatSessionState,
  type ChatStatus,
} from "./chatSession.js";
export {
  type CallOptions,
  type Client,
  createClient,
  llmAPI,
  type ResumeOptions,
  type SessionCallOptions,
} from "./client.js";
export type { ConnectionOptions } from "./connection.js";
export { LLMError } from "./errors.js";
export type { StreamOptions } from "./stream.js";
export { isWholeCall, joinToolCalls } from "./toolCalls.js";
export type * from "./types.js";
