/**
 * A conversation as a page shows it: what was said, the reply that is being made, and what went wrong.
 *
 * It knows nothing of React or any other framework: it has a state, and tells whoever subscribed when that changes.
 */

import { type Client, llmAPI } from "./client.js";
import { LLMError } from "./errors.js";
import { mayBeTaken, newKey } from "./retry.js";
import { isWholeCall, joinToolCalls } from "./toolCalls.js";
import type {
  Approval,
  ChatOptions,
  DoneEvent,
  HistoryMessage,
  SessionTurn,
  StreamEvent,
  ToolCallDelta,
  ToolResult,
  TurnStatus,
} from "./types.js";

/**
 * `closed`: nothing is known yet. `loading`: the history is being fetched. `idle`: nothing goes on. `waiting`: a message
 * was sent, and no text has come. `streaming`: text comes. `reconnecting`: the connection was lost and is made again.
 */
export type ChatStatus = "closed" | "loading" | "idle" | "waiting" | "streaming" | "reconnecting";

export interface ChatSessionState {
  /** Oldest first; the last one grows while a reply is made. */
  readonly messages: readonly HistoryMessage[];
  readonly status: ChatStatus;
  /** How many are served before this reply, while it waits; 0: its turn has come. Null when nothing waits. */
  readonly queuePosition: number | null;
  /** What went wrong last; null again with the next message. */
  readonly error: LLMError | null;
}

export interface ChatSessionOptions extends ChatOptions {
  client?: Client;
  /** From now on in this session. */
  system_prompt?: string;
}

export const CLOSED: ChatSessionState = { messages: [], status: "closed", queuePosition: null, error: null };

export class ChatSession {
  readonly sessionId: string;
  #options: ChatSessionOptions;
  #state = CLOSED;
  readonly #listeners = new Set<() => void>();
  /** Ends all reading; another one with each `open`. */
  #reading = new AbortController();
  #streamId: string | undefined;
  #stopWanted = false;
  /** A turn of which it is not known whether the server has it: said again, it has the same key. */
  #unsure: { turn: string; key: string } | undefined;

  constructor(sessionId: string, options: ChatSessionOptions = {}) {
    this.sessionId = sessionId;
    this.#options = options;
  }

  /** The state now. Another object when something has changed. */
  get state(): ChatSessionState {
    return this.#state;
  }

  /** Calls `listener` after each change. Returns what ends that. */
  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** Takes other options for the messages that follow. */
  configure(options: ChatSessionOptions): void {
    this.#options = options;
  }

  /** Loads the history, and reads on a reply that is being made. Returns what ends the reading, but not the reply. */
  open(): () => void {
    this.#reading.abort();
    const reading = new AbortController();
    this.#reading = reading;
    void this.#load(reading.signal);
    return () => {
      if (this.#reading !== reading) return;
      reading.abort();
      this.#change({ status: "closed", queuePosition: null });
    };
  }

  /** Fetches what the server has, as after an error. */
  readonly reload = (): void => {
    if (this.#state.status === "idle") void this.#load(this.#reading.signal);
  };

  /**
   * Sends a message; while the history is being fetched, as soon as it is there.
   *
   * @returns Whether the server has taken it. If not, `error` says why, and the message is not kept.
   */
  readonly send = async (text: string): Promise<boolean> =>
    await this.#say({ message: text }, [{ role: "user", content: text }]);

  /**
   * Sends the results of the calls of the last reply, all of them.
   *
   * @returns Whether the server has taken them. If not, `error` says why, and they are not kept.
   */
  readonly answer = async (results: ToolResult[]): Promise<boolean> =>
    await this.#say(
      { tool_results: results },
      results.map((result): HistoryMessage => ({ role: "tool", ...result })),
    );

  /**
   * Says whether the calls of the last reply that wait for somebody to agree are made, of all of them.
   *
   * @returns Whether the server has taken it. If not, `error` says why.
   */
  readonly decide = async (approvals: Approval[]): Promise<boolean> =>
    await this.#say(
      { approvals },
      approvals.map(({ tool_call_id, approve }): HistoryMessage => {
        return { role: "tool", content: approve ? "The call was approved." : "Error: the call was declined.", tool_call_id };
      }),
    );

  async #say(turn: SessionTurn, shown: HistoryMessage[]): Promise<boolean> {
    if (this.#state.status === "loading") await this.#changeFrom("loading");
    if (this.#state.status === "closed") {
      this.#change({ error: new LLMError("This conversation is closed: open() it first.", "client_error") });
      return false;
    }
    if (this.#state.status !== "idle") {
      this.#change({ error: new LLMError("One message at a time: wait for the reply, or stop it.", "session_busy") });
      return false;
    }
    const { client, ...options } = this.#options;
    const { signal } = this.#reading;
    const before = this.#state.messages;
    const request = { ...options, session_id: this.sessionId, ...turn };
    const said = JSON.stringify(turn);
    this.#unsure = { turn: said, key: this.#unsure?.turn === said ? this.#unsure.key : newKey() };
    const reading = { ...this.#streamOptions(signal), idempotencyKey: this.#unsure.key };
    const events = (client ?? llmAPI).streamSession(request, reading);
    this.#begin([...before, ...shown]);
    return await new Promise((resolve) => {
      const read = this.#follow(events, signal, before, () => resolve(true));
      void read.then(() => resolve(false)); // without effect where it was taken
    });
  }

  /** Stops the reply. What came of it stays. */
  readonly stop = (): void => {
    if (!["waiting", "streaming", "reconnecting"].includes(this.#state.status)) return;
    this.#stopWanted = true;
    if (this.#streamId !== undefined) void this.#cancel(this.#streamId);
  };

  get #client(): Client {
    return this.#options.client ?? llmAPI;
  }

  async #load(signal: AbortSignal): Promise<void> {
    this.#set({ ...this.#state, status: "loading", error: null });
    try {
      const messages = await this.#history(signal);
      this.#unsure = undefined; // now it is known
      const last = messages.at(-1);
      if (last?.status !== "running" || last.stream_id === undefined) {
        this.#set({ messages, status: "idle", queuePosition: null, error: null });
        return;
      }
      // The stream has the whole reply, from its first piece: what the history has of it already goes.
      this.#begin(messages.slice(0, endOfWhatWasSaid(messages)));
      this.#streamId = last.stream_id;
      await this.#follow(this.#client.resumeStream(last.stream_id, this.#streamOptions(signal)), signal, messages);
    } catch (error) {
      if (!signal.aborted) this.#change({ status: "idle", error: asLLMError(error) });
    }
  }

  async #history(signal: AbortSignal): Promise<HistoryMessage[]> {
    try {
      return (await this.#client.history(this.sessionId, { signal })).messages;
    } catch (error) {
      if (error instanceof LLMError && error.code === "session_not_found") return []; // it is made by its first message
      throw error;
    }
  }

  #begin(messages: readonly HistoryMessage[]): void {
    this.#streamId = undefined;
    this.#stopWanted = false;
    this.#set({ messages, status: "waiting", queuePosition: null, error: null });
  }

  #streamOptions(signal: AbortSignal) {
    return { signal, stopOnLeave: false, onReconnect: () => this.#change({ status: "reconnecting" }) };
  }

  /**
   * Reads a reply to its end, whatever that is.
   *
   * @param otherwise The messages to show where not even the first event comes.
   */
  async #follow(
    events: AsyncIterable<StreamEvent>,
    signal: AbortSignal,
    otherwise: readonly HistoryMessage[],
    onBegin?: () => void,
  ): Promise<void> {
    const said = this.#state.messages;
    const reply = new GrowingReply();
    let begun = false;
    try {
      for await (const event of events) {
        if (signal.aborted) return;
        begun = true;
        if (event.type === "queue" || event.type === "loading") {
          this.#streamId = event.stream_id;
          this.#unsure = undefined;
          onBegin?.();
          if (this.#stopWanted) void this.#cancel(event.stream_id);
          this.#change({ status: "waiting", queuePosition: event.type === "queue" ? event.queue_position : null });
          continue;
        }
        reply.add(event);
        const status = event.type === "done" ? "idle" : "streaming";
        this.#change({ messages: reply.after(said), status, queuePosition: null });
      }
    } catch (error) {
      if (signal.aborted) return;
      const problem = asLLMError(error);
      if (!mayBeTaken(problem, true)) this.#unsure = undefined;
      reply.fail(problem.message);
      const messages = begun ? reply.after(said) : otherwise;
      this.#change({ messages, status: "idle", queuePosition: null, error: problem });
    }
  }

  async #cancel(streamId: string): Promise<void> {
    try {
      await this.#client.cancel(streamId);
    } catch (error) {
      const problem = asLLMError(error);
      if (problem.status !== 404) this.#change({ error: problem }); // 404: it has ended by itself
    }
  }

  /** Ends when the status is another one. */
  async #changeFrom(status: ChatStatus): Promise<void> {
    await new Promise<void>((resolve) => {
      const end = this.subscribe(() => {
        if (this.#state.status === status) return;
        end();
        resolve();
      });
    });
  }

  #change(changed: Partial<ChatSessionState>): void {
    this.#set({ ...this.#state, ...changed });
  }

  #set(state: ChatSessionState): void {
    this.#state = state;
    for (const listener of this.#listeners) listener();
  }
}

/** The message that the events of a reply add up to, in the form that the history will have. */
class GrowingReply {
  #content = "";
  #reasoning = "";
  #calls: ToolCallDelta[] = [];
  #results: HistoryMessage[] = [];
  readonly #steps: HistoryMessage[] = [];
  #ending: Partial<HistoryMessage> = { status: "running" };

  add(event: StreamEvent): void {
    if (event.type === "tool_result") {
      const { tool_call_id, content } = event.tool_result;
      this.#results.push({ role: "tool", content, tool_call_id });
      return;
    }
    if (this.#results.length > 0 && ["content", "reasoning", "tool_calls"].includes(event.type)) this.#endStep();
    if (event.type === "content") this.#content += event.content;
    if (event.type === "reasoning") this.#reasoning += event.reasoning;
    if (event.type === "tool_calls") this.#calls.push(...event.tool_calls);
    if (event.type === "done") this.#ending = endingOf(event);
  }

  fail(sentence: string): void {
    this.#ending = { status: "failed", error: sentence };
  }

  /** `said` and this reply; where nothing came of it, the turn's status is its last message's, as in the history. */
  after(said: readonly HistoryMessage[]): readonly HistoryMessage[] {
    const messages = [...said, ...this.#steps, ...this.#step()];
    const last = messages.at(-1);
    return last === undefined ? said : [...messages.slice(0, -1), { ...last, ...this.#ending }];
  }

  /** What was said since the last results, and the results that have come for it. */
  #step(): HistoryMessage[] {
    const calls = this.#isOver ? joinToolCalls(this.#calls).filter(isWholeCall) : joinToolCalls(this.#calls);
    if (this.#content === "" && this.#reasoning === "" && calls.length === 0) return this.#results;
    const message: HistoryMessage = { role: "assistant", content: this.#content };
    if (this.#reasoning !== "") message.reasoning = this.#reasoning;
    if (calls.length > 0) message.tool_calls = calls;
    return [message, ...this.#results];
  }

  #endStep(): void {
    this.#steps.push(...this.#step());
    this.#content = this.#reasoning = "";
    this.#calls = [];
    this.#results = [];
  }

  get #isOver(): boolean {
    return this.#ending.status !== "running";
  }
}

/** Where the reply of the last turn begins: after the user's message, or after the results that it answers. */
function endOfWhatWasSaid(messages: readonly HistoryMessage[]): number {
  const first = messages.findLastIndex((message) => message.created_at !== undefined); // a turn's first message has it
  const reply = messages.slice(first + 1).findIndex((message) => message.role === "assistant");
  return reply < 0 ? messages.length : first + 1 + reply;
}

function endingOf(done: DoneEvent): Partial<HistoryMessage> {
  const statuses: Partial<Record<string, TurnStatus>> = { cancelled: "cancelled", timeout: "interrupted" };
  const { finish_reason, usage, timings, dropped_messages } = done;
  const ending: Partial<HistoryMessage> = { status: statuses[finish_reason] ?? "complete", finish_reason, usage, timings };
  if (dropped_messages !== undefined) ending.dropped_messages = dropped_messages;
  if (done.awaiting_approval !== undefined) ending.awaiting_approval = done.awaiting_approval;
  return ending;
}

function asLLMError(error: unknown): LLMError {
  if (error instanceof LLMError) return error;
  return new LLMError(error instanceof Error ? error.message : String(error), "client_error", { cause: error });
}
