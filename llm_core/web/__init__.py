"""The doorways of browsers and HTTP: each translates between a protocol and `LLMClient`; chat is decided below."""
