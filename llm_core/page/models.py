"""The page's models: which one answers in a conversation, which there are, and, for who may, changing them.

What a visitor chooses is for one conversation, from the next message on: the message names it, and the session
remembers it. Who may not change models sees those that are served, and nothing of the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import StringConstraints
from starlette.requests import HTTPConnection

from llm_core.access.admins import check_admin, is_admin
from llm_core.backends.catalog import CatalogEntry
from llm_core.client import LLMClient
from llm_core.cores import default_threads
from llm_core.errors import LLMError, ModelNotFound
from llm_core.models.info import ModelInfo
from llm_core.models.recommended import best_for, recommended
from llm_core.models.search import MAX_QUERY_CHARS, models_of, search_hub
from llm_core.models.source import MAX_SPEC_CHARS, BundledModel, HubModel, parse_source
from llm_core.page.answers import Answer, Command, answering
from llm_core.page.model_rows import ModelRow, found_row, model_row, recommended_row, repo_facts
from llm_core.settings import DEFAULT_CONTEXT_TOKENS
from llm_core.texts.told import told

MAX_REPO_CHARS = 200
_BUNDLED = str(BundledModel())
_BYTES_FOR_A_CORE = 2 * 1024**3  # of memory, keys and values counted: a larger one writes more slowly than people read

Source = Annotated[str, StringConstraints(min_length=1, max_length=MAX_SPEC_CHARS)]


class OfModel(Command):
    """A model of the list.

    Attributes:
        model: Its key.
    """

    model: Source


class Fetch(Command):
    source: Source


class Search(Command):
    query: Annotated[str, StringConstraints(max_length=MAX_QUERY_CHARS)] = ""


class Files(Command):
    repo: Annotated[str, StringConstraints(min_length=1, max_length=MAX_REPO_CHARS)]


class Choice:
    """Which model a conversation's messages go to."""

    def __init__(self, client: LLMClient) -> None:
        self._client, self._pool = client, client.models

    def of_session(self, model: str | None, connection: HTTPConnection) -> str | None:
        """The name of the model that a session goes on with; None: the default one."""
        if model is None:
            return None
        if member := self._pool.find(model):
            return member.name
        return model if self._may_name(model, connection) else None

    def check(self, model: str | None, connection: HTTPConnection) -> None:
        """
        Raises:
            ModelNotFound: A message from here may not go to it.
        """
        if model is None or self._pool.find(model) or self._may_name(model, connection):
            return
        raise ModelNotFound(f"The model {model!r} is not here any more. Choose another one at the top of the page.")

    def info(self, model: str) -> ModelInfo | None:
        """What a served model is, where it has been loaded. Never waits."""
        if known := self._pool.info(model):
            return known
        if self._pool.status(model).state != "ready":
            return None
        loaded = self._pool.start(model)
        return loaded.result() if loaded.done() else None

    def can_switch_thinking(self, model: str) -> bool:
        """Whether its thinking can be switched on and off, as far as that is known."""
        info = self.info(model)
        if info is None:
            try:
                info = self._client.catalog.entry(self._pool.member(model).name).info
            except LLMError:
                return False
        return info is not None and info.can_switch_thinking

    def _may_name(self, model: str, connection: HTTPConnection) -> bool:
        """Whether it is a model that is not served yet, and who asks may have it served."""
        return is_admin(connection, self._client.settings) and self._pool.look_further(model) is not None


class ModelCommands:
    """What the panel of models asks for."""

    def __init__(self, client: LLMClient) -> None:
        self._client, self._catalog, self._choice = client, client.catalog, Choice(client)
        self._settings = client.settings

    def all(self) -> dict[str, Answer]:
        """By the names under which the page's script calls them."""
        return {
            "models": answering(self._list, Command),
            "recommended_models": self._for_admins(self._recommended, Command),
            "search_models": self._for_admins(self._search, Search),
            "files_of_repo": self._for_admins(self._files, Files),
            "fetch_model": self._for_admins(self._fetch, Fetch),
            "stop_fetching": self._for_admins(self._stop, OfModel),
            "load_model": self._for_admins(self._load, OfModel),
            "unload_model": self._for_admins(self._unload, OfModel),
            "remove_model": self._for_admins(self._remove, OfModel),
        }

    def _for_admins(self, command: Callable[[Any], Any], kind: type[Command]) -> Answer:
        """A command that not everybody may give; it may take a while, so it runs in a thread."""

        async def checked(asked: Any, _visitor: str, connection: HTTPConnection) -> Any:
            check_admin(connection, self._settings)
            return await asyncio.to_thread(command, asked)

        return answering(checked, kind)

    # ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _list(self, _asked: Command, _visitor: str, connection: HTTPConnection) -> Any:
        may_change = is_admin(connection, self._settings)
        entries = await asyncio.to_thread(self._catalog.entries)
        rows = [self._row(each, may_change) for each in entries if may_change or each.is_served]
        return {"rows": rows, "may_change": may_change, "offer": self._offer(entries) if may_change else None}

    def _row(self, entry: CatalogEntry, may_change: bool) -> ModelRow:
        member = self._client.models.find(entry.name) if entry.is_served else None
        info = entry.info
        if info is None and member is not None:
            info = self._choice.info(member.name)
        return model_row(
            entry,
            info,
            names=member.names if member is not None else (),
            is_elsewhere=member is not None and member.served.server_url is not None,
            may_change=may_change,
            models_dir=self._settings.models_dir,
        )

    def _offer(self, entries: list[CatalogEntry]) -> dict[str, Any] | None:
        """A better model, where there is none but the one that comes with the program."""
        if [each.source for each in entries] != [_BUNDLED]:
            return None
        bound = min(self._client.models.limit, default_threads() * _BYTES_FOR_A_CORE)
        best = best_for(bound, **self._wished())
        if best is None or best.model.source == BundledModel():
            return None
        model = best.model
        sentence = told("models.offer", name=model.name, size=model.size_bytes)
        return {"sentence": sentence, "source": str(model.source), "name": model.name}

    def _wished(self) -> dict[str, Any]:
        settings = self._settings
        context = settings.context_tokens or DEFAULT_CONTEXT_TOKENS
        return {"slots": settings.parallel, "context": context, "kv_type": settings.kv_type}

    def _recommended(self, _asked: Command) -> Any:
        return {"rows": [recommended_row(each) for each in recommended(self._client.models.limit, **self._wished())]}

    def _search(self, asked: Search) -> Any:
        return {"repos": [{"repo": each.repo, "facts": repo_facts(each)} for each in search_hub(asked.query)]}

    def _files(self, asked: Files) -> Any:
        source = parse_source(f"hf:{asked.repo}")
        assert isinstance(source, HubModel)
        return {"rows": [found_row(each, self._client.models.limit) for each in models_of(source.repo)]}

    # ── changing ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _fetch(self, asked: Fetch) -> Any:
        self._catalog.fetch(asked.source)
        return {}

    def _stop(self, asked: OfModel) -> Any:
        self._catalog.stop(asked.model)
        return {}

    def _load(self, asked: OfModel) -> Any:
        return {"name": self._catalog.load(asked.model).name}

    def _unload(self, asked: OfModel) -> Any:
        self._catalog.unload(asked.model)
        return {}

    def _remove(self, asked: OfModel) -> Any:
        return {"freed": self._catalog.remove(asked.model)}
