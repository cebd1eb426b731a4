"""Tools that are run here, wherever they are from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from pydantic import PrivateAttr

from llm_core.tool_spec import ToolSpec

Consent = Literal["caller", "always", "never"]
"""Who agrees to a call before it is made: `caller`, whoever passed the tool, by `on_tool_call`; `always` somebody does;
`never` anybody."""


class ArgumentsDoNotFit(Exception):
    """The arguments that the model wrote are not those that the tool takes; the message tells it what is wrong."""


class ToolFailed(Exception):
    """The tool failed; the message is what the model is told."""


class RunnableTool(ToolSpec):
    """A tool that is run here."""

    _consent: Consent = PrivateAttr("caller")
    _server: str = PrivateAttr("")

    @property
    def consent(self) -> Consent:
        return self._consent

    @property
    def server(self) -> str:
        """The name of the server whose it is; empty where it is of this program."""
        return self._server

    def bind(self, arguments: str) -> Callable[[], Any]:
        """The call with these arguments, ready to be made.

        Args:
            arguments: JSON, as the model wrote it; nothing is as good as `{}`.

        Raises:
            ArgumentsDoNotFit: They are not JSON, or not of the declared types.
        """
        raise NotImplementedError
