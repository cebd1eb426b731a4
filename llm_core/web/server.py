"""All doorways of one port in one ASGI application: HTTP, OpenAI's wire format, and the page."""

from __future__ import annotations

from typing import Any

import gradio as gr
from fastapi import FastAPI, Request
from fastapi_offline import FastAPIOffline
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from llm_core.client import LLMClient
from llm_core.settings import LOOPBACK_NAMES, Settings, is_loopback
from llm_core.web import problems
from llm_core.web.chat_routes import chat_routes
from llm_core.web.gate import Gate
from llm_core.web.limits import BodyLimit, CallerLimit
from llm_core.web.openai import openai_routes
from llm_core.web.operations import Metrics, operations_routes
from llm_core.web.page.app import build_app
from llm_core.web.page.gradio_private import STORAGE_STAND_IN
from llm_core.web.page.theme import CSS, page_theme
from llm_core.web.proxies import BehindProxies
from llm_core.web.request_log import RequestLog
from llm_core.web.session_routes import session_routes
from llm_core.web.visitors import BrowserKey

MAX_BODY_BYTES = 4 * 1024 * 1024
API_PREFIXES = ("/api/", "/v1/", "/metrics")
_ABOUT = """One engine for every caller. Streams are server-sent events; `/v1` speaks OpenAI's wire format.

Where the server has tokens, send `Authorization: Bearer TOKEN`. Everything that goes wrong is told as
`{"error": {"message", "type", "code"}}` with the fitting status."""
# A reply may hold the address of a picture, a film, a form. Were it fetched or sent, its server would learn who reads,
# and whatever of the conversation a model was talked into putting in the address. Gradio's own scripts and styles stand
# in the page, and make functions of text.
_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "media-src 'self' data: blob:",
        "font-src 'self' data:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "frame-src 'none'",
        "form-action 'none'",
        "base-uri 'self'",
    )
)
_HEAD = f'''<meta http-equiv="Content-Security-Policy" content="{_POLICY}">{STORAGE_STAND_IN}'''


def build_server(client: LLMClient) -> FastAPI:
    """The application: give it to uvicorn, or any other ASGI server."""
    settings = client.settings
    metrics = Metrics(client)
    redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
    rate_limit = CallerLimit(settings.rate_limit, redis_url)
    app = FastAPIOffline(  # its /docs load nothing from other servers
        title="llm-core",
        description=_ABOUT,
        version="1",
        middleware=[
            Middleware(BehindProxies, settings=settings),
            Middleware(RequestLog, count=metrics.count_http, prefixes=API_PREFIXES),
            Middleware(TrustedHostMiddleware, allowed_hosts=_allowed_hosts(settings), www_redirect=False),
            Middleware(
                CORSMiddleware,
                allow_origins=list(settings.allowed_origins),
                allow_methods=["GET", "POST", "PATCH", "DELETE"],
                allow_headers=["Authorization", "Content-Type", "Last-Event-ID", "X-Request-ID"],
                expose_headers=["Retry-After", "X-Request-ID"],
            ),
            Middleware(Gate, settings=settings),
            Middleware(BrowserKey),
            Middleware(BodyLimit, max_bytes=MAX_BODY_BYTES),
        ],
    )
    problems.install(app)

    async def admit(request: Request) -> None:  # not a plain function, for which FastAPI would change threads
        rate_limit.check_caller(request)

    app.include_router(chat_routes(client, admit))
    app.include_router(session_routes(client))
    app.include_router(openai_routes(client, admit))
    app.include_router(operations_routes(client, metrics))
    gr.mount_gradio_app(app, build_app(client, rate_limit.check_caller), path="/", **page_options(settings))
    return app


def page_options(settings: Settings) -> dict[str, Any]:
    """What Gradio is told of the page: our look, and nothing that leaves the machine."""
    return {
        "server_name": settings.server_name,
        "server_port": settings.server_port,
        "theme": page_theme(),
        "css": CSS,
        "head": _HEAD,
        "ssr_mode": False,  # with it on, Node would have to own the port
        "enable_monitoring": False,
        "run_history": False,
        "pwa": False,
        "mcp_server": False,
        "show_error": False,
        "footer_links": ["api"],
        "max_file_size": "1mb",
    }


def _allowed_hosts(settings: Settings) -> list[str]:
    """By which names the server may be called. A page of another site that makes its own name mean this machine (DNS
    rebinding) would else be a caller from this machine."""
    if settings.allowed_hosts:
        return list(settings.allowed_hosts)
    return [*LOOPBACK_NAMES, "[::1]", settings.server_name] if is_loopback(settings.server_name) else ["*"]
