/** The React hook. All that it does is done by `ChatSession`; this ties one to a component. */

import { useEffect, useMemo, useSyncExternalStore } from "react";

import { ChatSession, type ChatSessionOptions, type ChatSessionState, CLOSED } from "./chatSession.js";
import type { Approval, ToolResult } from "./types.js";

export interface UseChatSession extends ChatSessionState {
  /** Sends a message. False: the server has not taken it, and `error` says why. */
  send(text: string): Promise<boolean>;
  /** Sends the results of the calls of the last reply, all of them. False as with `send`. */
  answer(results: ToolResult[]): Promise<boolean>;
  /** Says whether calls that wait for somebody to agree are made. */
  decide(approvals: Approval[]): Promise<boolean>;
  /** Stops the reply. What came of it stays. */
  stop(): void;
  /** Fetches what the server has, as after an error. */
  reload(): void;
}

/**
 * A session of the server as state of a component.
 *
 * The history is loaded when the component mounts, and a reply that is being made then is read on. A component that
 * goes away leaves its reply running.
 *
 * @param options How to answer; may change with every render.
 */
export function useChatSession(sessionId: string, options: ChatSessionOptions = {}): UseChatSession {
  const { client } = options;
  // The options of the first render are enough here: the effect below keeps them up to date.
  const session = useMemo(() => new ChatSession(sessionId, client === undefined ? {} : { client }), [sessionId, client]);
  const state = useSyncExternalStore(
    session.subscribe,
    () => session.state,
    () => CLOSED,
  );
  useEffect(() => session.configure(options));
  useEffect(() => session.open(), [session]);
  const { send, answer, decide, stop, reload } = session;
  return { ...state, send, answer, decide, stop, reload };
}
