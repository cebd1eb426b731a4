"""Who may fetch, load and remove models: they change what everybody gets, and what the machine holds."""

from __future__ import annotations

from starlette.requests import HTTPConnection

from llm_core.access.gate import given_token, owner_of
from llm_core.errors import Forbidden
from llm_core.settings import Settings, is_loopback
from llm_core.tokens import find_token


def is_admin(connection: HTTPConnection, settings: Settings) -> bool:
    """Whether whoever calls has one of `LLM_ADMIN_TOKENS`; where there are none and no other tokens either, whether it
    is this machine that calls a server for it alone."""
    if settings.admin_tokens:
        given = given_token(connection)
        return given is not None and find_token(given, settings.admin_tokens) is not None
    if settings.api_tokens or settings.public or not is_loopback(settings.server_name):
        return False
    # Behind a proxy on this machine the address is the one that the proxy tells.
    return not owner_of(connection) and connection.client is not None and is_loopback(connection.client.host)


def check_admin(connection: HTTPConnection, settings: Settings) -> None:
    """
    Raises:
        Forbidden: Whoever calls may not.
    """
    if not is_admin(connection, settings):
        raise Forbidden("Only who runs this server may change its models: with a token of LLM_ADMIN_TOKENS.")
