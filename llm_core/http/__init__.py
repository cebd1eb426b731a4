"""HTTP: the native API and the dialects that people's programs speak, each a room over the same bodies and streams."""
