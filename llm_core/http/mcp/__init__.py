"""The Model Context Protocol: `/mcp`."""
