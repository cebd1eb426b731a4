"""For MkDocs: links of the pages in docs/ to files beside docs/, such as a notebook or the Makefile.

On the site these files are not there. The links lead to them in the repository where mkdocs.yml has a `repo_url`, and
are plain text where it has none.
"""

from __future__ import annotations

import re
from posixpath import dirname, normpath
from typing import Any

_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """MkDocs calls this for each page, before it reads the Markdown."""
    return links_out_of_docs(markdown, page.file.src_uri, config.repo_url)


def links_out_of_docs(markdown: str, page: str, repository: str | None) -> str:
    """`markdown` with its links out of docs/ replaced.

    Args:
        page: Path of the page in docs/.
        repository: Address of the repository, or None.
    """

    def replaced(match: re.Match[str]) -> str:
        text, target = match.groups()
        if "://" in target or target.startswith(("#", "/")):
            return match[0]
        path = normpath(f"{dirname(page)}/{target}" if dirname(page) else target)
        if not path.startswith("../"):
            return match[0]
        return f"[{text}]({repository.rstrip('/')}/blob/HEAD/{path.removeprefix('../')})" if repository else text

    return _LINK.sub(replaced, markdown)
