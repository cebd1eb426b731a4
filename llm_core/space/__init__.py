"""The Space: from `Spacefile` to an app that runs on a Hugging Face Space. It knows nothing of chat."""
