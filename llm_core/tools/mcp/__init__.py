"""Tools of MCP servers (https://modelcontextprotocol.io): which there are, who may use them, and the way to them."""
