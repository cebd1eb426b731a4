"""`python -m llm_core mqtt`."""

from __future__ import annotations

import argparse
import logging
from typing import Any


def add_mqtt(commands: Any) -> None:
    """Adds the command. What it needs is imported when it runs."""
    mqtt = commands.add_parser(
        "mqtt",
        help="serve an MQTT broker",
        description="Answers the requests that come through the broker of MQTT_URL, without a page and without HTTP.",
        epilog="Any number of these share one broker; give all of them the same LLM_DATABASE_URL. Ctrl-C ends it when "
        "the running replies have ended.",
        allow_abbrev=False,
    )
    mqtt.set_defaults(command=_serve)


def _serve(_options: argparse.Namespace) -> None:
    from llm_core.client import LLMClient
    from llm_core.mqtt.worker.serve import serve_broker

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with LLMClient() as client:
        serve_broker(client)
