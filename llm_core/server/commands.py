"""`llm-core serve`: its options."""

from __future__ import annotations

import argparse
import os
from typing import Any

_OPTIONS = {
    "model": ("LLM_MODEL", "SOURCE", "bundled, a .gguf file, or hf:OWNER/REPO[:FILE-OR-GLOB]; several with commas"),
    "host": ("GRADIO_SERVER_NAME", "ADDRESS", "where to listen; default: 127.0.0.1"),
    "port": ("GRADIO_SERVER_PORT", "PORT", "default: 7860"),
}


def add_serve(commands: Any) -> None:
    """Adds the command. What it needs is imported when it runs."""
    serve = commands.add_parser(
        "serve",
        help="the page and all routes on one port",
        description="Serves the chat page, the HTTP routes and, with MQTT_URL, a broker, until it is stopped.",
        epilog="Every other setting is an environment variable; docs/settings.md has them all.",
        allow_abbrev=False,
    )
    for name, (variable, value, meaning) in _OPTIONS.items():
        serve.add_argument(f"--{name}", metavar=value, help=f"{meaning} ({variable})")
    serve.set_defaults(command=_serve)


def _serve(options: argparse.Namespace) -> None:
    for name, (variable, _, _) in _OPTIONS.items():
        if (given := getattr(options, name)) is not None:
            os.environ[variable] = given  # read, checked and complained about in the one place of all settings
    from llm_core.server.app import run

    run()
