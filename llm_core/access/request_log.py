"""One line in the log for each request, with an id that the caller gets too and that every line about it has."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
import uuid
from collections.abc import Callable
from contextvars import ContextVar

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llm_core.access.gate import OWNER_KEY
from llm_core.access.proxies import own_path

log = logging.getLogger("llm_core.requests")

HEADER = "X-Request-ID"
_GIVEN = re.compile(r"[A-Za-z0-9._-]{1,64}")
_request_id: ContextVar[str] = ContextVar("request_id", default="")

CountRequest = Callable[[str, str, int], None]  # method, route, status


class RequestLog:
    """Logs what `app` answered. Page files and Gradio's own traffic are left out: they are many, and say nothing.

    Args:
        count: Is told of each request too.
        prefixes: Of the paths that are logged.
    """

    def __init__(self, app: ASGIApp, count: CountRequest, prefixes: tuple[str, ...]) -> None:
        self._app, self._count, self._prefixes = app, count, prefixes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not own_path(scope).startswith(self._prefixes):
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        request_id = given if _GIVEN.fullmatch(given) else uuid.uuid4().hex[:16]
        began, status = time.monotonic(), 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        token = _request_id.set(request_id)
        try:
            await self._app(scope, receive, noting)
        finally:
            # The pattern and not the path: ids of sessions are nobody's business, and a metric needs few names.
            route = getattr(scope.get("route"), "path", "other")
            self._count(scope["method"], route, status)
            facts = {
                "method": scope["method"],
                "route": route,
                "status": status,
                "ms": round((time.monotonic() - began) * 1e3, 1),
                "owner": scope.get(OWNER_KEY, ""),
            }
            log.info("request", extra={"facts": facts})
            _request_id.reset(token)


class JsonFormatter(logging.Formatter):
    """A log record as one JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_facts(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class TextFormatter(logging.Formatter):
    """A log record as a line for people."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:
        facts = " ".join(f"{name}={value}" for name, value in _facts(record).items() if value != "")
        return f"{super().formatMessage(record)} {facts}".rstrip()


def set_up_logging() -> None:
    """Logs to stderr: lines for people on a terminal, else JSON for whatever collects them."""
    handler = logging.StreamHandler()
    handler.setFormatter(TextFormatter() if sys.stderr.isatty() else JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def _facts(record: logging.LogRecord) -> dict[str, object]:
    request_id = _request_id.get()
    return ({"request_id": request_id} if request_id else {}) | getattr(record, "facts", {})
