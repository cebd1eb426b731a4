"""Where tokens come from: `local`, the engine in this process, or `remote`, OpenAI-compatible engines elsewhere."""
