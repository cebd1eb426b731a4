"""Where the server listens, where it refuses to, and in which words."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from llm_core.errors import SettingsError
from llm_core.server.serve import check_address, listen
from llm_core.settings import Settings, is_loopback
from tests.waiting import free_port


def at(name: str = "127.0.0.1", *, port: int | None = None, public: bool = False) -> Settings:
    port = free_port() if port is None else port
    return Settings(GRADIO_SERVER_NAME=name, GRADIO_SERVER_PORT=port, public=public)


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "::1", "127.8.9.10"])
def test_names_of_this_machine_alone_are_loopback(name: str) -> None:
    assert is_loopback(name)


@pytest.mark.parametrize("name", ["0.0.0.0", "::", "", "192.168.1.7", "example.org", "127.0.0.1.example.org"])
def test_every_other_name_is_not(name: str) -> None:
    assert not is_loopback(name)


def test_a_free_port_on_loopback_is_accepted() -> None:
    check_address(at())


@pytest.mark.parametrize("name", ["0.0.0.0", "::", "192.168.1.7"])
def test_an_address_open_to_others_is_refused_unless_that_is_meant(name: str) -> None:
    with pytest.raises(SettingsError, match="LLM_PUBLIC=1") as refused:
        check_address(at(name))

    assert f"GRADIO_SERVER_NAME={name}" in refused.value.message


def test_an_address_open_to_others_is_accepted_where_that_is_meant() -> None:
    check_address(at("0.0.0.0", public=True))


def test_a_space_is_meant_to_be_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACE_ID", "owner/name")

    check_address(Settings(GRADIO_SERVER_NAME="0.0.0.0", GRADIO_SERVER_PORT=free_port()))


def test_an_address_open_to_others_is_accepted_where_tokens_say_who_may_use_it() -> None:
    check_address(Settings(GRADIO_SERVER_NAME="0.0.0.0", api_tokens="ann:secret"))


def try_to_listen(settings: Settings) -> None:
    with listen(settings):
        pass


def test_a_busy_port_is_told_with_the_variable_that_changes_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(SettingsError) as refused:
        try_to_listen(at(port=other.getsockname()[1]))

    assert "is in use by another program" in refused.value.message
    assert "GRADIO_SERVER_PORT" in refused.value.message


def test_a_name_that_is_not_an_address_of_this_machine_is_told() -> None:
    with pytest.raises(SettingsError, match=r"Nothing can listen on GRADIO_SERVER_NAME=203\.0\.113\.5"):
        try_to_listen(at("203.0.113.5", public=True))


def test_a_port_that_needs_rights_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> socket.socket:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(socket, "create_server", refuse)

    with pytest.raises(SettingsError, match="above 1023"):
        try_to_listen(at())
