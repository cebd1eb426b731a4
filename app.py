"""The app: one process, one port, one engine. Settings come from the environment; see the README."""

from __future__ import annotations

import logging
import os
import sys

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when Gradio is imported

from llm_core import LLMError, get_llm_client
from llm_core.access.request_log import set_up_logging
from llm_core.mqtt.worker.serve import worker_thread
from llm_core.server.serve import serve


def main() -> int:
    """Serves until it is stopped. Returns the process's exit code."""
    set_up_logging()
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        client = get_llm_client()
        with worker_thread(client):
            serve(client)
    except LLMError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
