"""OpenAI's responses: `/v1/responses`, and the conversations that they belong to."""
