import { useLayoutEffect, useRef } from "react";

import type { ChatStatus, HistoryMessage } from "llm-core-client";

const NEAR_THE_END = 80; // pixels

interface Props {
  messages: readonly HistoryMessage[];
  status: ChatStatus;
  queuePosition: number | null;
}

export function Transcript({ messages, status, queuePosition }: Props) {
  const log = useFollowedEnd(messages);

  return (
    <main ref={log} role="log" aria-label="Conversation" aria-busy={status === "streaming"}>
      {messages.length === 0 && status === "idle" && <p className="empty">What would you like to know?</p>}
      {messages.map((message, place) => (
        <article key={place} className={message.role}>
          {message.reasoning && (
            <details>
              <summary>Thinking</summary>
              {message.reasoning}
            </details>
          )}
          <div className="text">{message.content}</div>
          <Footnote message={message} />
        </article>
      ))}
      {status === "waiting" && <p className="waiting">{waiting(queuePosition)}</p>}
      {status === "reconnecting" && <p className="waiting">Connection lost. Trying again…</p>}
    </main>
  );
}

function waiting(position: number | null): string {
  return position ? `${position} before you…` : "Reading…";
}

function Footnote({ message }: { message: HistoryMessage }) {
  const notes = [];
  if (message.status === "cancelled") notes.push("Stopped");
  if (message.status === "interrupted") notes.push("Interrupted");
  if (message.error) notes.push(message.error);
  if (message.usage && message.usage.completion_tokens > 0) notes.push(`${message.usage.completion_tokens} tokens`);
  if (message.timings?.tokens_per_second) notes.push(`${message.timings.tokens_per_second.toFixed(0)} a second`);
  return notes.length === 0 ? null : <footer>{notes.join(" · ")}</footer>;
}

/** Keeps the end in view, unless the reader has scrolled away from it. */
function useFollowedEnd(content: unknown) {
  const box = useRef<HTMLElement>(null);
  const follows = useRef(true);

  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return;
    const look = (): void => {
      follows.current = element.scrollHeight - element.scrollTop - element.clientHeight < NEAR_THE_END;
    };
    element.addEventListener("scroll", look, { passive: true });
    return () => element.removeEventListener("scroll", look);
  }, []);

  useLayoutEffect(() => {
    if (follows.current) box.current?.scrollTo({ top: box.current.scrollHeight });
  }, [content]);

  return box;
}
