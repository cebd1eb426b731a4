/** What is sent and what comes back, with the names that it has on the wire. */

export type Role = "system" | "user" | "assistant" | "tool";

export interface Message {
  role: Role;
  content: string;
  /** The model's thinking in an earlier reply. */
  reasoning?: string;
  /** What the model called. */
  tool_calls?: ToolCall[];
  /** Of a tool's message: the call that it is the result of. */
  tool_call_id?: string;
  /** Of a user's message: files, which the model is told before the text. */
  attachments?: Attachment[];
}

/** A file as text. `POST /api/llm/attachments` makes one of a PDF or a Word file. */
export interface Attachment {
  name: string;
  /** Of the file; left out, `text/plain`. */
  media_type?: string;
  text: string;
}

/** How to answer. What is left out takes the server's default. */
export interface ChatOptions {
  /** Which model answers, by name or alias; the server's first one, or the session's own. */
  model?: string;
  /** 0 to 2; 0 always takes the likeliest token. */
  temperature?: number;
  top_p?: number;
  top_k?: number;
  min_p?: number;
  typical_p?: number;
  repeat_penalty?: number;
  presence_penalty?: number;
  frequency_penalty?: number;
  /** How many tokens back the three penalties look. */
  repeat_last_n?: number;
  /** Token id to what is added to its logit, -100 to 100. */
  logit_bias?: Record<number, number>;
  /** The model's adapters that apply, by name or id, and no others; `scale` is 1 where it is left out. */
  lora?: ({ name: string; scale?: number } | { id: number; scale?: number })[];
  /** The longest reply, in tokens. */
  max_tokens?: number;
  /** The same seed draws the same tokens. */
  seed?: number;
  /** Texts that end the reply and are not part of it. */
  stop?: string | string[];
  /** Seconds after which the reply ends with what it has. */
  timeout?: number;
  /** Switches the model's thinking, where it can. */
  thinking?: boolean;
  /** What to do with a conversation that is longer than the context. */
  overflow?: "error" | "drop_oldest";
  /** Functions that the model may call. You run them, and send the results. */
  tools?: Tool[];
  /** What of the server's own tools it may call, too: names of tools or of their servers, or all. The server runs them. */
  run_tools?: boolean | string[];
  /** Whether it may call (`auto`), must not, must, or which one. */
  tool_choice?: "auto" | "none" | "required" | { type: "function"; function: { name: string } };
  /** Whether one reply may have several calls; it may, unless this is false. */
  parallel_tool_calls?: boolean;
  /** The form of the reply's text. */
  response_format?: ResponseFormat;
}

/** A conversation; its last message is answered, and nothing is remembered. */
export interface ChatRequest extends ChatOptions {
  messages: Message[];
}

/** The next message of a session, which the server remembers and makes on first use; or results of its last reply. */
export type SessionRequest = SessionOptions & SessionTurn;

export interface SessionOptions extends ChatOptions {
  /** 1 to 128 letters, digits, dots, colons, dashes or underscores. */
  session_id: string;
  /** Files of the message, as text; the model is told them before it. */
  attachments?: Attachment[];
  system_prompt?: string;
  /** The `stream_id` of a turn: this is another version of it, and what followed it is set aside. */
  replaces?: string;
  /** The `stream_id` of the turn that this one follows in place of the last one; what followed it is set aside. */
  after?: string;
}

/** What a turn begins with: a message, or what becomes of the calls of the last reply, of all of them. */
export type SessionTurn =
  | { message: string; tool_results?: undefined; approvals?: undefined }
  | { tool_results: ToolResult[]; approvals?: Approval[]; message?: undefined }
  | { approvals: Approval[]; tool_results?: undefined; message?: undefined };

/** Texts whose vectors are wanted, or texts as the ids of the model's tokens. */
export interface EmbedRequest {
  input: string | string[] | number[] | number[][];
  /** Which model; left out, the first that makes vectors. */
  model?: string;
  /** How many numbers a vector has, no more than the model's. */
  dimensions?: number;
  /** Cuts off what is too long, where the server would refuse it. */
  truncate?: boolean;
}

export interface RerankRequest {
  query: string;
  documents: string[] | { text: string }[];
  /** Which model; left out, the first that ranks, or that makes vectors. */
  model?: string;
  /** How many are wanted; all. */
  top_n?: number;
  /** Whether the documents come back. */
  return_documents?: boolean;
  truncate?: boolean;
}

export interface TokenizeRequest {
  content: string;
  /** Whose vocabulary; left out, the first one's. */
  model?: string;
  /** With what the model puts around each text, such as BOS. */
  add_special?: boolean;
  /** `<|im_start|>` and the like become control tokens. */
  parse_special?: boolean;
}

export interface DetokenizeRequest {
  tokens: number[];
  model?: string;
}

/** What a call gave back. */
export interface ToolResult {
  tool_call_id: string;
  content: string;
}

/** Whether a call of a tool of the server's, which waits for somebody to agree, is made. */
export interface Approval {
  tool_call_id: string;
  approve: boolean;
  /** Why not, for the model. */
  reason?: string;
}

export interface Tool {
  type: "function";
  function: { name: string; description?: string; /** JSON schema. */ parameters?: Record<string, unknown> };
}

export type ResponseFormat =
  | { type: "text" | "json_object" }
  | { type: "json_schema"; json_schema: { name?: string; schema: Record<string, unknown>; strict?: boolean } };

export interface ToolCall {
  id: string;
  type: "function";
  function: { name: string; /** JSON, as the model wrote it. */ arguments: string };
}

/** A piece of a call: the first one of an `index` has its id and name, the others go on with its arguments. */
export interface ToolCallDelta {
  index: number;
  id?: string;
  type?: "function";
  function?: { name?: string; arguments?: string };
}

// ── answers ─────────────────────────────────────────────────────────────────────────────────────────────────────────

export type FinishReason = "stop" | "length" | "cancelled" | "timeout" | "tool_calls";

/**
 * Why more of a prompt was computed than what was said just now: it was not known; older turns were left out, so that it
 * begins otherwise; it had made room for others; it was computed by another model.
 */
export type CacheMiss = "new" | "trimmed" | "evicted" | "model_changed";

/** Counts of tokens; `cached_tokens` of the prompt were not computed again. */
export interface Usage {
  prompt_tokens: number;
  cached_tokens: number;
  completion_tokens: number;
  /** `null` where no more was computed than what is new, or the engine does not say. */
  cache_miss?: CacheMiss | null;
  /** Tokens that were tried before it was known whether they come next, and those of them that did. */
  draft_tokens?: number;
  accepted_tokens?: number;
  /** Those of `completion_tokens` up to the end of the thinking, with the marks around it. */
  reasoning_tokens?: number;
}

/** Times as the engine saw them. */
export interface Timings {
  queue_ms: number;
  ttft_ms: number;
  tokens_per_second: number;
}

interface Ending {
  finish_reason: FinishReason;
  usage: Usage;
  timings: Timings;
  /** How many of the oldest messages were left out to make the conversation fit. */
  dropped_messages?: number;
  /** Why the session has not got this reply, in a sentence. */
  not_kept?: string;
  /** The name of the model that made it. */
  model?: string;
  /** The ids of its calls that the server makes once somebody agrees; send `approvals`. */
  awaiting_approval?: string[];
}

/** A whole reply. */
export interface ChatReply extends Ending {
  content: string;
  reasoning?: string;
  tool_calls?: ToolCall[];
}

/** A whole reply in a session. */
export interface SessionReply extends ChatReply {
  session_id: string;
}

/** How far a turn is, or how it ended. `interrupted`: the server ended under it, or its time was up. */
export type TurnStatus = "running" | "complete" | "cancelled" | "interrupted" | "failed";

/** A message that the server remembers. The last one of a turn has the turn's status and figures. */
export interface HistoryMessage extends Message {
  status?: TurnStatus;
  stream_id?: string;
  /** The streams of the turns that can stand at this one's place, the oldest first; left out where it is the only one. */
  versions?: string[];
  finish_reason?: FinishReason;
  usage?: Usage;
  timings?: Timings;
  dropped_messages?: number;
  /** The ids of its calls that the server makes once somebody agrees. */
  awaiting_approval?: string[];
  /** What went wrong, in a sentence. */
  error?: string;
  created_at?: string;
}

export interface History {
  session_id: string;
  title: string;
  system_prompt: string | null;
  /** The one that was asked for last; null is the server's first one. */
  model: string | null;
  created_at: string;
  updated_at: string;
  /** Oldest first. */
  messages: HistoryMessage[];
}

/** A turn, whether it is what was said or was set aside. */
export interface Version {
  stream_id: string;
  /** The turn that it follows; null where it is the first. */
  after: string | null;
  /** Whether it is what was said. */
  chosen: boolean;
  created_at: string;
  messages: HistoryMessage[];
}

export interface SessionSummary {
  session_id: string;
  title: string;
  turns: number;
  /** Whether a reply is being made in it. */
  busy: boolean;
  /** Whether it stands before those that are not. */
  pinned: boolean;
  created_at: string;
  updated_at: string;
}

/** What a preset sets; what it does not say, or is null, stays as it is. */
export interface PresetFields {
  system_prompt?: string | null;
  model?: string | null;
  temperature?: number | null;
  top_p?: number | null;
  max_tokens?: number | null;
  thinking?: boolean | null;
  /** Names of tools that the server runs, or of their servers; true: all of them. */
  run_tools?: boolean | string[] | null;
}

export interface Preset extends PresetFields {
  name: string;
  /** Whether it is yours to change, and not the operator's. */
  own: boolean;
  /** Whether your new conversations on the page begin with it. */
  default: boolean;
}

export interface PresetChange extends PresetFields {
  /** Another name. */
  name?: string;
  default?: boolean;
}

/** Counts of tokens of a request that has no reply. */
export interface TextUsage {
  prompt_tokens: number;
  total_tokens: number;
}

/** Vectors, in the order of the texts. */
export interface Embeddings {
  data: { index: number; embedding: number[] }[];
  model: string;
  usage: TextUsage;
}

/** Documents, the best first; `index` is the place in the request. */
export interface Ranking {
  results: { index: number; relevance_score: number; document?: { text: string } }[];
  model: string;
  usage: TextUsage;
}

/** A model. What is not known is null. */
export interface Model {
  /** By which requests name it. */
  name: string;
  aliases: string[];
  source: string;
  state: "absent" | "fetching" | "here" | "loading" | "ready" | "failed";
  /** The state in a sentence for people. */
  message: string;
  /** 0 to 1, of fetching or loading. */
  progress: number;
  /** Of fetching. */
  seconds_left: number | null;
  /** Requests can name it. */
  is_served: boolean;
  is_default: boolean;
  /** It stays loaded. */
  is_pinned: boolean;
  /** Memory that it needs, and whether that is there. */
  need_bytes: number | null;
  fit: "fits" | "tight" | "too_large" | null;
  /** What it is for. */
  task: "chat" | "embedding" | "rerank" | null;
  architecture: string | null;
  quantization: string | null;
  parameters: number | null;
  size_bytes: number | null;
  context_train: number | null;
  license: string | null;
  has_chat_template: boolean | null;
  can_switch_thinking: boolean | null;
}

/** The tools that the server runs for you. */
export interface ServedTools {
  tools: {
    /** By which `run_tools` names it. */
    name: string;
    description: string;
    /** JSON schema of its arguments. */
    parameters: Record<string, unknown>;
    /** The MCP server that has it; empty where it comes with this one. */
    server: string;
    /** Whether somebody has to agree to each call. */
    approval: "always" | "never";
  }[];
  /** Servers that cannot be used now, and why. */
  unusable: Record<string, string>;
}

export interface Health {
  /** `ok` when it can answer, else what it does instead, such as `loading`. */
  status: string;
  message: string;
  progress: number;
  model?: string;
  queue?: { slots: number; running: number; waiting: number };
}

// ── events ──────────────────────────────────────────────────────────────────────────────────────────────────────────

interface Numbered {
  /** Number in the stream, from 1. */
  id: number;
  /** In a session's stream. */
  session_id?: string;
}

/** The place in the queue: how many are served before. Comes first, and again when the place changes. */
export interface QueueEvent extends Numbered {
  type: "queue";
  stream_id: string;
  queue_position: number;
}

/** The model is on its way. Comes before the place in the queue. */
export interface LoadingEvent extends Numbered {
  type: "loading";
  stream_id: string;
  /** A sentence for people, and how far it is, from 0 to 1. */
  loading: { message: string; progress: number };
}

/** The next piece of the reply's text. */
export interface ContentEvent extends Numbered {
  type: "content";
  content: string;
}

/** The next piece of the model's thinking, where it marks it. */
export interface ReasoningEvent extends Numbered {
  type: "reasoning";
  reasoning: string;
}

/** The next pieces of calls. Where the server runs some, `index` counts those since the last result. */
export interface ToolCallsEvent extends Numbered {
  type: "tool_calls";
  tool_calls: ToolCallDelta[];
}

/** A call of a tool of the server's is made now. */
export interface ToolStartedEvent extends Numbered {
  type: "tool_started";
  tool_started: { tool_call_id: string; name: string; server: string };
}

/** A call of a tool of the server's waits for somebody to agree; send `approvals` when the reply has ended. */
export interface ToolApprovalEvent extends Numbered {
  type: "tool_approval";
  tool_approval: { tool_call_id: string; name: string; /** JSON. */ arguments: string; server: string };
}

/** What came of a call of a tool of the server's. The reply goes on after it. */
export interface ToolResultEvent extends Numbered {
  type: "tool_result";
  tool_result: { tool_call_id: string; name: string; content: string; failed?: boolean };
}

/** The last event of every stream that did not fail. */
export interface DoneEvent extends Numbered, Ending {
  type: "done";
}

/** An event of a stream. Told apart by `type`; the other names are those of the JSON on the wire. */
export type StreamEvent =
  | LoadingEvent
  | QueueEvent
  | ContentEvent
  | ReasoningEvent
  | ToolCallsEvent
  | ToolStartedEvent
  | ToolApprovalEvent
  | ToolResultEvent
  | DoneEvent;
