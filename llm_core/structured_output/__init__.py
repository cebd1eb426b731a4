"""Structured output: replies held to a JSON schema, or to the form of a call, token by token, by llguidance."""
