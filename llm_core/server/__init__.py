"""One port: the application of all its doorways, and the server that it runs in."""
