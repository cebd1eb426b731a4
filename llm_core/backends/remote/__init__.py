"""OpenAI-compatible engines elsewhere: their replies over HTTP, spread over several, with failover."""
