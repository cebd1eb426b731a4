import { type KeyboardEvent, useState } from "react";

import type { ChatStatus } from "llm-core-client";

interface Props {
  status: ChatStatus;
  onSend(text: string): Promise<boolean>;
  onStop(): void;
}

export function Composer({ status, onSend, onStop }: Props) {
  const [text, setText] = useState("");
  const running = status === "waiting" || status === "streaming" || status === "reconnecting";
  const ready = (status === "idle" || status === "loading") && text.trim() !== "";

  const submit = async (): Promise<void> => {
    if (!ready) return;
    setText("");
    // A message that was not taken goes back to where it can be sent again, before what was typed meanwhile.
    if (!(await onSend(text))) setText((since) => [text, since].filter(Boolean).join("\n"));
  };

  const onKeyDown = (event: KeyboardEvent): void => {
    // While an input method composes a character, Enter chooses it.
    if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    void submit();
  };

  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      <textarea
        aria-label="Message"
        placeholder="Message"
        rows={1}
        autoFocus
        value={text}
        onChange={(event) => setText(event.target.value)}
        onKeyDown={onKeyDown}
      />
      {running ? (
        <button type="button" className="stop" onClick={onStop}>
          Stop
        </button>
      ) : (
        <button type="submit" disabled={!ready}>
          Send
        </button>
      )}
    </form>
  );
}
