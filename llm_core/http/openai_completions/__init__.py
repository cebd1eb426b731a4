"""OpenAI's completions of raw prompts: `/v1/completions`."""
