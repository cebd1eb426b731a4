"""Gradio's scripts and styles that the page uses: all scripts in one file, all styles in another, in place of seventy.

Gradio's build is of small modules, since an app of it may use any of its components. Which of them this page needs
stands in the modules themselves: what one imports, and what is fetched for each type of component. The browser gets
their text at once and makes modules of it (static/modules.js). One that is not among them, such as that which sets
formulas, is fetched when it is needed, as ever. Where Gradio's files are not as they are known here, all are.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import quote

import gradio as gr

from llm_core.page.gradio_private import BEFORE_LANGUAGE
from llm_core.page.theme import ICON

FRONTEND = Path(gr.__file__).parent / "templates" / "frontend"
FOR_EVER = "public, max-age=31536000, immutable"  # of files whose addresses change with what is in them
PLACE = "assets"  # of Gradio's files below the page's address, and of ours beside them

_ENTRY = re.compile(r'<script type="module" crossorigin src="\./assets/([\w.-]+\.js)"></script>')
_SHEET = re.compile(r'<link rel="stylesheet" crossorigin href="\./assets/([\w.-]+\.css)">')
_BASE = re.compile(r"<base [^>]*>")
_SOCIAL = re.compile(r'<meta\s+(?:property="og:|name="twitter:)[^>]*>\s*')
_FRAME_SCRIPT = "document.head.appendChild(script);"
# What a module imports when it is made, and when it is asked to; and the latter with the list of all that takes.
_IMPORT = re.compile(r'\b(from|import)"\./([\w.-]+\.js)"')
_LAZY = re.compile(r"\bimport\(`\./([\w.-]+\.js)`\)")
_WHOLE = re.compile(_LAZY.pattern + r"[^`]{0,40}?,__vite__mapDeps\(\[([\d,]*)\]\)")
_NUMBERED = re.compile(r"\bm\.f=(\[.*?\])")
_COMPONENT = r"\b{type}:\{{(?:[^{{}}]*,)?component:([^{{}}]*)\}}"

_ICON = f"data:image/svg+xml,{quote(ICON.read_text(encoding='utf-8'))}"
_LOADER = (Path(__file__).parent / "static" / "modules.js").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Bundle:
    """The two files, and the page that loads them.

    Attributes:
        entry: The module that the page begins with; "" where nothing is bundled.
        theme: Where Gradio's scripts would fetch the theme's style, which is among the styles.
        markers: What keeps Gradio's scripts from fetching the parts.
        files: The scripts (modules by their names, as JSON) and the styles: names of files below `PLACE`, with their
            content and its media type.
    """

    entry: str
    theme: str
    markers: str
    files: dict[str, tuple[bytes, str]]

    @classmethod
    def of(cls, blocks: gr.Blocks) -> Bundle:
        """What the page `blocks` needs."""
        page = (FRONTEND / "index.html").read_text(encoding="utf-8")
        entry, sheet = _ENTRY.search(page), _SHEET.search(page)
        if entry is None or sheet is None:
            return cls("", "", "", {})
        # What is not shown is not fetched either.
        types = dict.fromkeys(
            each.get_block_name() for each in blocks.blocks.values() if getattr(each, "visible", True)
        )
        names = _needed(entry[1], types)
        scripts = {name: _renamed(_text(name)) for name in names if name.endswith(".js")}
        sheets = [sheet[1], *(name for name in names if name.endswith(".css") and name != sheet[1])]
        files = dict(
            [
                _named("json", json.dumps(scripts, ensure_ascii=False), "application/json"),
                _named("css", "\n".join([*(_text(name) for name in sheets), blocks.theme_css]), "text/css"),
            ]
        )
        # One that is disabled is not fetched; one whose kind nobody knows neither.
        markers = [f'<link rel="stylesheet" disabled href="./{PLACE}/{name}">' for name in sheets]
        markers += [f'<link rel="bundled" href="./{PLACE}/{name}">' for name in scripts]
        return cls(entry[1], f"theme.css?v={blocks.theme_hash}", "".join(markers), files)

    def page(self, html: str, *, title: str) -> str:
        """Gradio's page as it is sent, with a name and an icon of its own."""
        html = _SOCIAL.sub("", html)
        named = f'<title>{title}</title><link rel="icon" type="image/svg+xml" href="{_ICON}">{BEFORE_LANGUAGE}'
        html = html.replace(_FRAME_SCRIPT, f"if (window.parent !== window) {_FRAME_SCRIPT}", 1)
        if not self.entry:
            return html.replace("</head>", f"{named}</head>", 1)
        scripts, styles = self.files
        loader = _LOADER.replace("SCRIPTS", scripts).replace("ENTRY", self.entry).replace("THEME", self.theme)
        html = _ENTRY.sub("", html, count=1)
        html = _SHEET.sub("", html, count=1)
        sheet = f'<link rel="stylesheet" href="./{PLACE}/{styles}">'
        # Ahead of what is long, and below what the addresses begin at.
        return _BASE.sub(lambda base: f"{base[0]}{named}<script>{loader}</script>{sheet}{self.markers}", html, count=1)


def _needed(entry: str, types: Iterable[str]) -> list[str]:
    """Names of the files that are fetched for a page with components of these types, each once."""
    found = [entry, *_LAZY.findall(_text(entry))]
    for name, parts in _fetched(entry):
        found += parts
        lazy = _text(name)
        found += [part for frame, of in _fetched(name) if frame.startswith("Blocks-") for part in of]
        for kind in types:
            if component := re.search(_COMPONENT.format(type=kind), lazy):
                found += [part for _, of in _fetched(name, component[1]) for part in of]
    return [name for name in dict.fromkeys(found) if (FRONTEND / PLACE / name).exists()]


def _fetched(name: str, text: str | None = None) -> Iterator[tuple[str, list[str]]]:
    """What a module imports when it is asked to: each with the files that takes."""
    whole = _text(name)
    numbered = _NUMBERED.search(whole)
    files: list[str] = json.loads(numbered[1]) if numbered else []
    for match in _WHOLE.finditer(whole if text is None else text):
        yield match[1], [Path(files[int(number)]).name for number in match[2].split(",") if number]


def _renamed(text: str) -> str:
    """A module that finds the others by name, as text has no place that an address could begin at."""
    text = _LAZY.sub(r"import(`gradio/\1`)", _IMPORT.sub(r'\1"gradio/\2"', text))
    return text.replace("import.meta.url", "globalThis.gradioAssets")


def _named(ending: str, text: str, media_type: str) -> tuple[str, tuple[bytes, str]]:
    """A file whose name says what is in it: it can be kept for ever."""
    content = text.encode()
    return f"page-{hashlib.sha256(content).hexdigest()[:12]}.{ending}", (content, media_type)


@cache
def _text(name: str) -> str:
    return (FRONTEND / PLACE / name).read_text(encoding="utf-8")
