import { useState } from "react";

import { useChatSession } from "llm-core-client/react";

import { Composer } from "./Composer";
import { Transcript } from "./Transcript";

const KEY = "llm-core-example.session";

export function App() {
  const [sessionId, setSessionId] = useState(() => localStorage.getItem(KEY) ?? newSession());

  return (
    <div className="page">
      <header>
        <h1>Chat</h1>
        <button type="button" className="quiet" onClick={() => setSessionId(newSession())}>
          New chat
        </button>
      </header>
      <Chat key={sessionId} sessionId={sessionId} />
    </div>
  );
}

function Chat({ sessionId }: { sessionId: string }) {
  const { messages, status, queuePosition, error, send, stop, reload } = useChatSession(sessionId);

  return (
    <>
      <Transcript messages={messages} status={status} queuePosition={queuePosition} />
      {error && (
        <p className="error" role="alert">
          <span>{error.message}</span>
          <button type="button" className="quiet" onClick={reload}>
            Reload
          </button>
        </p>
      )}
      <Composer status={status} onSend={send} onStop={stop} />
    </>
  );
}

/** The browser remembers which conversation is open; what was said is on the server. */
function newSession(): string {
  // crypto.randomUUID is missing where a page does not come over HTTPS, as from a phone in the same network.
  const numbers = crypto.getRandomValues(new Uint32Array(4));
  const id = `example-${Array.from(numbers, (number) => number.toString(36)).join("")}`;
  localStorage.setItem(KEY, id);
  return id;
}
