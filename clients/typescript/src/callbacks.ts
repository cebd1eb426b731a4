/** A stream as callbacks: started at once, and held by a handle. */

import { LLMError } from "./errors.js";
import { type StreamOptions } from "./stream.js";
import { isWholeCall, joinToolCalls } from "./toolCalls.js";
import type { DoneEvent, StreamEvent, ToolApprovalEvent, ToolCall, ToolCallDelta } from "./types.js";

export type OnChunk = (text: string) => void;
export type OnComplete = (done: DoneEvent) => void;
export type OnError = (error: LLMError) => void;

/** What else can be told of a stream, and how it is read. */
export interface CallbackOptions extends StreamOptions {
  /** The next piece of the model's thinking. */
  onReasoning?: (text: string) => void;
  /** How many are served before this request; 0: its turn has come. */
  onQueue?: (position: number) => void;
  /** The model is on its way: a sentence for people, and how far it is, from 0 to 1. */
  onLoading?: (message: string, progress: number) => void;
  /** A call of one of your tools, once the reply has ended. One that was cut short is not told of. */
  onToolCall?: (call: ToolCall) => void;
  /** A call of a tool of the server's that waits for somebody to agree: send `approvals` when the reply has ended. */
  onToolApproval?: (asked: ToolApprovalEvent["tool_approval"]) => void;
  /** How the reply ended, its counts of tokens and its times. Called right before `onComplete`, which gets it too. */
  onDone?: (done: DoneEvent) => void;
}

/** How a stream ended. */
export type StreamEnd =
  | { outcome: "complete"; done: DoneEvent }
  | { outcome: "failed"; error: LLMError }
  | { outcome: "aborted" };

/** A running stream. */
export interface StreamHandle {
  /** Stops the reply and closes the connection. No callback is called any more. */
  abort(): void;
  /** Its name on the server; undefined until the first event. */
  readonly streamId: string | undefined;
  /**
   * Fulfilled when all is over, after an abort when the server knows of it. It is rejected only with what one of your
   * callbacks throws, which aborts the stream.
   */
  readonly finished: Promise<StreamEnd>;
}

/**
 * Reads a stream.
 *
 * @param open Begins it; leaving it by the signal that it is given must stop it.
 */
export function startStream(
  open: (options: StreamOptions) => AsyncIterable<StreamEvent>,
  onChunk: OnChunk,
  onComplete: OnComplete | undefined,
  onError: OnError | undefined,
  options: CallbackOptions = {},
): StreamHandle {
  const controller = new AbortController();
  const abort = (): void => controller.abort();
  let streamId: string | undefined;

  const read = async (): Promise<DoneEvent> => {
    const pieces: ToolCallDelta[] = [];
    let answered = false;
    const notYours = new Set<string>(); // calls that the server answers, or that wait for somebody to agree
    for await (const event of open({ ...options, signal: controller.signal })) {
      switch (event.type) {
        case "loading":
          streamId = event.stream_id;
          options.onLoading?.(event.loading.message, event.loading.progress);
          break;
        case "queue":
          streamId = event.stream_id;
          options.onQueue?.(event.queue_position);
          break;
        case "content":
          onChunk(event.content);
          break;
        case "reasoning":
          options.onReasoning?.(event.reasoning);
          break;
        case "tool_calls":
          if (answered) pieces.length = 0; // a step has ended, and the next one counts from 0 again
          answered = false;
          pieces.push(...event.tool_calls);
          break;
        case "tool_result":
          answered = true;
          notYours.add(event.tool_result.tool_call_id);
          break;
        case "tool_approval":
          notYours.add(event.tool_approval.tool_call_id);
          options.onToolApproval?.(event.tool_approval);
          break;
        case "done":
          for (const call of joinToolCalls(pieces).filter(isWholeCall)) {
            if (!notYours.has(call.id)) options.onToolCall?.(call);
          }
          return event;
      }
      controller.signal.throwIfAborted(); // a callback may have called abort()
    }
    throw new LLMError("The stream ended before its end.", "connection_lost");
  };

  const run = async (): Promise<StreamEnd> => {
    let done: DoneEvent;
    try {
      options.signal?.throwIfAborted();
      done = await read();
    } catch (error) {
      if (controller.signal.aborted || options.signal?.aborted) return { outcome: "aborted" };
      if (!(error instanceof LLMError)) throw error;
      onError?.(error);
      return { outcome: "failed", error };
    } finally {
      options.signal?.removeEventListener("abort", abort);
    }
    if (controller.signal.aborted) return { outcome: "aborted" };
    options.onDone?.(done);
    onComplete?.(done);
    return { outcome: "complete", done };
  };

  options.signal?.addEventListener("abort", abort, { once: true });
  const finished = run();
  return {
    abort,
    get streamId() {
      return streamId;
    },
    finished,
  };
}
