"""Messages in, prompt tokens out; text in, content and reasoning out. Nothing here knows the engine but `reply`."""
