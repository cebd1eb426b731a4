"""What was said: conversations that the server remembers, one turn at a time in each, each with one owner."""
