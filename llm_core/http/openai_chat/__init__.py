"""OpenAI's chat completions: `/v1`."""
