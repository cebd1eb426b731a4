"""`/api/llm/presets`, and sessions that come as a file, on a real server: everyone has their own."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.served import loaded_client, served

TOKENS = "ann:ann-secret, bob:bob-secret"
PIRATE = {"name": "Pirate", "system_prompt": "You are a pirate.", "temperature": 1.5}
FILE = "presets:\n  - name: Translator\n    temperature: 0\n"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("data")
    (folder / "presets.yaml").write_text(FILE)
    with (
        loaded_client(folder, api_tokens=TOKENS, presets=folder / "presets.yaml") as client,
        served(client) as url,
    ):
        yield url


@pytest.fixture
def ann(url: str) -> Iterator[httpx.Client]:
    yield from caller(url, "ann")


@pytest.fixture
def bob(url: str) -> Iterator[httpx.Client]:
    yield from caller(url, "bob")


def caller(url: str, name: str) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {name}-secret"}
    with httpx.Client(base_url=f"{url}api/llm", headers=headers, timeout=60) as http:
        yield http
        for preset in http.get("presets").json()["presets"]:
            http.delete(f"presets/{preset['name']}")


def names(http: httpx.Client) -> list[str]:
    return [preset["name"] for preset in http.get("presets").json()["presets"]]


def test_everyone_keeps_their_own_beside_the_operators(ann: httpx.Client, bob: httpx.Client) -> None:
    kept = ann.post("presets", json=PIRATE)
    assert kept.status_code == 200
    assert kept.json() == PIRATE | {
        "model": None,
        "top_p": None,
        "max_tokens": None,
        "thinking": None,
        "run_tools": None,
        "own": True,
        "default": False,
    }
    assert names(ann) == ["Pirate", "Translator"]
    assert names(bob) == ["Translator"]
    assert bob.get("presets/Pirate").status_code == 404
    assert bob.delete("presets/Pirate").json()["error"]["code"] == "preset_not_found"


def test_a_preset_is_replaced_renamed_and_made_the_default(ann: httpx.Client) -> None:
    ann.post("presets", json=PIRATE | {"default": True})
    changed = ann.put("presets/Pirate", json={"name": "Captain", "top_p": 0.5}).json()
    assert (changed["name"], changed["top_p"], changed["temperature"]) == ("Captain", 0.5, None)
    assert changed["default"] is True
    assert ann.put("presets/Captain", json={"default": False}).json()["default"] is False


def test_what_cannot_be_is_refused_with_its_status(ann: httpx.Client) -> None:
    ann.post("presets", json=PIRATE)
    ann.post("presets", json={"name": "Other"})
    taken = ann.post("presets", json=PIRATE)
    assert (taken.status_code, taken.json()["error"]["code"]) == (409, "preset_exists")
    assert ann.put("presets/Other", json={"name": "Pirate"}).status_code == 409
    assert ann.delete("presets/Translator").status_code == 403
    assert ann.get("presets/None").status_code == 404
    wrong = ann.post("presets", json=PIRATE | {"temperature": 9}).json()["error"]
    assert wrong["param"] == "temperature"
    assert ann.post("presets", json={"name": "a/b"}).status_code == 422
    assert httpx.get(f"{ann.base_url}presets").status_code == 401


def test_an_exported_session_becomes_one_of_ones_own(ann: httpx.Client, bob: httpx.Client) -> None:
    ann.post("chat/session", json={"session_id": "anns", "message": "Say hello.", "max_tokens": 2}).raise_for_status()
    document = ann.get("chat/session/anns/export").json()

    opened = bob.post("sessions", json=document)

    assert opened.status_code == 200, opened.text
    session = opened.json()
    assert session["session_id"] != "anns"
    said = [(each["role"], each["content"]) for each in session["messages"]]
    assert said == [(each["role"], each["content"]) for each in document["messages"]]
    again = {"session_id": session["session_id"], "message": "And again.", "max_tokens": 2}
    assert bob.post("chat/session", json=again).status_code == 200
    alone = bob.post("sessions", json={"messages": [{"role": "assistant", "content": "Hi"}]})
    assert (alone.status_code, alone.json()["error"]["param"]) == (400, "messages")
    assert bob.post("sessions", json={"messages": []}).status_code == 422
