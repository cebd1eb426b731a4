"""All doorways of one port in one ASGI application: HTTP, the wire formats of others, and the page."""

from __future__ import annotations

from typing import Any

import gradio as gr
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.middleware import Middleware

from llm_core.access import problems
from llm_core.access.gate import Gate
from llm_core.access.limits import BodyLimit, CallerLimit
from llm_core.access.proxies import BehindProxies
from llm_core.access.request_log import RequestLog
from llm_core.access.sites import Hosts, Origins
from llm_core.access.visitors import BrowserKey
from llm_core.client import LLMClient
from llm_core.http import openai_embeddings, rerank
from llm_core.http.anthropic import routes as anthropic
from llm_core.http.given import give
from llm_core.http.llama_cpp import routes as llama_cpp
from llm_core.http.mcp import routes as mcp
from llm_core.http.native import attachments, chat, models, presets, sessions, tools
from llm_core.http.ollama import routes as ollama
from llm_core.http.ollama import vectors as ollama_vectors
from llm_core.http.openai_chat import routes as openai_chat
from llm_core.http.openai_completions import routes as openai_completions
from llm_core.http.openai_responses import conversations as openai_conversations
from llm_core.http.openai_responses import routes as openai_responses
from llm_core.page.app import build_app
from llm_core.page.gradio_private import BEFORE_GRADIO, cancel_route
from llm_core.page.languages import CHOOSE_LANGUAGE, texts_route
from llm_core.page.theme import CSS, ICON, page_theme
from llm_core.server import operations
from llm_core.server.operations import Metrics
from llm_core.server.page_files import PageFiles
from llm_core.server.routing import Head, PlainCurl, refuse_the_rest
from llm_core.settings import Settings

MAX_BODY_BYTES = 4 * 1024 * 1024
API_PREFIXES = (
    "/api/",
    "/v1/",
    "/metrics",
    "/health",
    "/tokenize",
    "/detokenize",
    "/apply-template",
    "/rerank",
    "/mcp",
)
_ABOUT = """One engine for every caller. Streams are server-sent events; `/v1` speaks OpenAI's wire format.

Where the server has tokens, send `Authorization: Bearer TOKEN`. Everything that goes wrong is told as
`{"error": {"message", "type", "code"}}` with the fitting status."""
# A reply may hold the address of a picture, a film, a form. Were it fetched or sent, its server would learn who reads,
# and whatever of the conversation a model was talked into putting in the address. Gradio's own scripts and styles stand
# in the page, and make functions and modules of text.
_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
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
_HEAD = f'''<meta http-equiv="Content-Security-Policy" content="{_POLICY}">{BEFORE_GRADIO}{CHOOSE_LANGUAGE}'''


def build_server(client: LLMClient) -> FastAPI:
    """The application: give it to uvicorn, or any other ASGI server."""
    settings = client.settings
    metrics = Metrics(client)
    rate_limit = CallerLimit(settings)
    page = build_app(client, rate_limit.check_caller)
    app = FastAPIOffline(  # its /docs load nothing from other servers
        title="llm-core",
        description=_ABOUT,
        version="1",
        middleware=[
            Middleware(BehindProxies, settings=settings),
            Middleware(Head, prefixes=API_PREFIXES),
            Middleware(PlainCurl, prefixes=API_PREFIXES),
            Middleware(RequestLog, count=metrics.count_http, prefixes=API_PREFIXES),
            Middleware(Hosts, settings=settings),
            Middleware(Origins, settings=settings),
            Middleware(Gate, settings=settings),
            Middleware(BrowserKey),
            Middleware(BodyLimit, max_bytes=MAX_BODY_BYTES),
            Middleware(PageFiles, page=page),
        ],
    )
    problems.install(app)
    give(app, client, rate_limit)
    app.state.metrics = metrics
    for doorway in (
        chat,
        sessions,
        models,
        openai_chat,
        openai_completions,
        anthropic,
        operations,
        openai_responses,
        openai_conversations,
        llama_cpp,
        ollama,
        ollama_vectors,
        openai_embeddings,
        rerank,
        tools,
        mcp,
        attachments,
        presets,
    ):
        app.include_router(doorway.router)
    refuse_the_rest(app)
    app.include_router(cancel_route(page))
    app.include_router(texts_route())
    gr.mount_gradio_app(app, page, path="/", **page_options(settings))
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
        "pwa": True,  # browsers offer to install it; nothing is kept for a time without the server
        "favicon_path": str(ICON),
        "mcp_server": False,
        "show_error": False,
        "footer_links": ["api"],
        "max_file_size": "1mb",
    }
