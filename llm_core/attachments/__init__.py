"""Files that a user attaches to a message: from bytes to text, and from text to what the model is told."""
