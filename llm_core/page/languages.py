"""The page in the reader's language: Gradio's widgets by its own means, everything else by the page's script.

Gradio chooses the language by the browser's, and the script follows it. English comes with the page; a browser in
another language asks for its table, once for each version of it.
"""

from __future__ import annotations

import json
from hashlib import sha256

import gradio as gr
from fastapi import APIRouter
from gradio.i18n import I18nData
from starlette.responses import Response

from llm_core.errors import InvalidRequest
from llm_core.page.bundle import FOR_EVER
from llm_core.page.gradio_private import TRANSLATE_CONFIG
from llm_core.texts.told import ENGLISH, LANGUAGES, table

_WIDGETS = "widgets."
WIDGETS = gr.I18n(
    **{
        language: {key: str(text) for key, text in table(language).items() if key.startswith(_WIDGETS)}
        for language in LANGUAGES
    }
)
_VERSION = sha256(json.dumps([table(language) for language in LANGUAGES]).encode()).hexdigest()[:12]

CHOOSE_LANGUAGE = TRANSLATE_CONFIG.replace("VERSION", _VERSION)


def widget(name: str) -> I18nData:
    """A text of a widget, for Gradio to translate."""
    return WIDGETS(f"{_WIDGETS}{name}")


def table_of_english() -> str:
    """A line of the page's script."""
    return f"const ENGLISH = {_script_table(ENGLISH)};"


def texts_route() -> APIRouter:
    """The table of a language, for the page's script. Its address changes with it."""
    router = APIRouter()

    @router.get("/page/texts/{language}", include_in_schema=False)
    def texts(language: str) -> Response:
        if language not in LANGUAGES:
            raise InvalidRequest("There is no such language.", param="language")
        return Response(_script_table(language), media_type="application/json", headers={"Cache-Control": FOR_EVER})

    return router


def _script_table(language: str) -> str:
    return json.dumps(table(language), ensure_ascii=False, separators=(",", ":"))
