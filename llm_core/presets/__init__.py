"""Named sets of what is set for a conversation: the operator's, from a file, and people's own."""
