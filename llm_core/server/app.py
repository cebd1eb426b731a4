"""The app: one process, one port, one engine. What `python app.py` and `llm-core serve` run."""

from __future__ import annotations

import logging
import os

from llm_core.access.request_log import set_up_logging
from llm_core.client import get_llm_client
from llm_core.mqtt.worker.serve import worker_thread
from llm_core.server.serve import serve


def run() -> None:
    """Serves until the process is stopped. Call it in the main thread. Settings come from the environment.

    Raises:
        LLMError: It cannot serve; the message says why.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when Gradio is imported
    set_up_logging()
    logging.getLogger("alembic").setLevel(logging.WARNING)
    client = get_llm_client()
    with worker_thread(client):
        serve(client)
