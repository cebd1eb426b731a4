"""Ollama's API: `/api/chat`, `/api/generate` and its routes of models."""
