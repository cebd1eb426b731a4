"""Gradio's API: the endpoints that `gradio_client` calls."""
