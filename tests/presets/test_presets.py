"""Presets: the operator's file, files that people open, and what everybody keeps."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from pydantic import ValidationError
from sqlalchemy import event, text

from llm_core.errors import Forbidden, InvalidRequest, PresetExists, PresetNotFound, SettingsError
from llm_core.presets.preset import MAX_FILE_CHARS, Preset, operators_presets, presets_of_file
from llm_core.presets.presets import Presets
from llm_core.presets.store import MAX_PRESETS
from llm_core.sessions.database import open_database
from llm_core.settings import Settings
from tests.sessions.conftest import postgres as postgres  # the same fixture
from tests.sessions.postgres import Postgres
from tests.waiting import wait_until

FILE = """presets:
  - name: Translator
    system_prompt: Translate what is said into French.
    temperature: 0
  - name: Ideas
    model: Qwen3-4B
    temperature: 1.2
    top_p: 1
    max_tokens: -1
    thinking: true
    run_tools: [calculate]
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "presets.yaml"
    path.write_text(FILE)
    return path


@pytest.fixture
def presets(path: Path, tmp_path: Path) -> Presets:
    engine = open_database(f"sqlite:///{tmp_path}/sessions.db")
    return Presets(Settings(presets=path), lambda: engine)


def names(presets: Presets, owner: str) -> list[str]:
    return [kept.preset.name for kept in presets.list(owner=owner)]


def test_the_operators_file_names_presets(path: Path) -> None:
    translator, ideas = operators_presets(path)
    assert translator.fields() == {"system_prompt": "Translate what is said into French.", "temperature": 0}
    assert ideas.run_tools == ("calculate",)
    assert ideas.thinking is True


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("presets:\n  - name: A\n    temperature: 9\n", 3, "temperature: input should be less than or equal to 2"),
        ("presets:\n  - name: A\n    heat: 1\n", 3, "Allowed: system_prompt, model, temperature, top_p, max_tokens"),
        ("presets:\n  - temperature: 1\n", 2, "name: field required"),
        ("presets:\n  - name: A/B\n", 2, "name: must have 1 to 60 characters"),
        ("presets:\n  - name: A\n  - just text\n", 3, "a preset: "),
    ],
)
def test_what_is_wrong_in_a_file_is_told_with_its_line_and_what_is_allowed(
    path: Path, text: str, line: int, said: str
) -> None:
    path.write_text(text)
    with pytest.raises(SettingsError) as refused:
        operators_presets(path)
    assert refused.value.message.startswith(f"LLM_PRESETS={str(path)!r}, line {line}: ")
    assert said in refused.value.message
    with pytest.raises(InvalidRequest, match=f"The file, line {line}: "):
        presets_of_file(text)


BOMB = "a: &a {k: v}\nb: &b {<<: [*a, *a]}\npresets:\n  - name: A\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it has no `presets:`"),
        ("[1, 2", "cannot be read"),
        ("presets: []", "it has no `presets:`"),
        ("presets: [{name: A}, {name: A}]", "two presets have the name 'A'"),
        ("presets: 2026-13-01", "cannot be read"),
        ("[" * 20_000, "brackets"),
        ("- " * 20_000, "cannot be read"),
        ("\x00", "cannot be read"),
        (BOMB, "aliases"),
        ("!!python/object/apply:os.system [true]", "cannot be read"),
        ("x" * (MAX_FILE_CHARS + 1), "larger"),
    ],
    ids=range(11),
)
def test_a_file_that_is_no_preset_is_refused_in_a_sentence(text: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        presets_of_file(text)


def test_a_file_may_be_json_too() -> None:
    (preset,) = presets_of_file('{"presets": [{"name": "A", "temperature": 1}]}')
    assert preset == Preset(name="A", temperature=1)


def test_everyone_has_their_own_before_the_operators(presets: Presets) -> None:
    presets.add(Preset(name="Pirate", temperature=1.5), owner="ann")
    presets.add(Preset(name="Ideas", temperature=0.1), owner="ann")

    assert names(presets, "ann") == ["Pirate", "Ideas", "Translator"]
    assert names(presets, "bob") == ["Translator", "Ideas"]
    assert presets.get("Ideas", owner="ann").preset.temperature == 0.1
    assert presets.get("Ideas", owner="bob").preset.temperature == 1.2
    with pytest.raises(PresetNotFound):
        presets.get("Pirate", owner="bob")
    with pytest.raises(PresetNotFound):
        presets.delete("Pirate", owner="bob")


def test_a_name_is_taken_once(presets: Presets) -> None:
    presets.add(Preset(name="One"), owner="ann")
    presets.add(Preset(name="Two"), owner="ann")
    with pytest.raises(PresetExists):
        presets.add(Preset(name="One"), owner="ann")
    with pytest.raises(PresetExists):
        presets.put("Two", Preset(name="One"), owner="ann")
    assert names(presets, "ann")[:2] == ["One", "Two"]


def test_the_default_follows_a_new_name_and_goes_with_what_is_deleted(presets: Presets) -> None:
    presets.add(Preset(name="One"), owner="ann")
    presets.set_default("One", owner="ann")
    presets.put("One", Preset(name="Uno", top_p=0.5), owner="ann")
    assert [kept.preset.name for kept in presets.list(owner="ann") if kept.is_default] == ["Uno"]
    presets.delete("Uno", owner="ann")
    assert not any(kept.is_default for kept in presets.list(owner="ann"))
    presets.set_default("Ideas", owner="ann")
    assert presets.get("Ideas", owner="ann").is_default
    assert not presets.get("Ideas", owner="bob").is_default


def test_two_that_choose_a_default_at_once_wait_for_each_other_on_postgresql(postgres: Postgres) -> None:
    engine = open_database(postgres.make_database())
    other = Presets(Settings(), lambda: engine)
    for name in ("One", "Two"):
        other.add(Preset(name=name), owner="ann")
    chooser = threading.Thread(target=other.set_default, args=("Two",), kwargs={"owner": "ann"})
    waits = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    mine = open_database(engine.url)

    def the_other_waits_or_is_done() -> bool:
        with engine.connect() as connection:
            return not chooser.is_alive() or connection.execute(waits).scalar_one() > 0

    @event.listens_for(mine, "after_cursor_execute")
    def let_it_choose(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("DELETE"):
            chooser.start()
            wait_until(the_other_waits_or_is_done, "the other chooses")

    Presets(Settings(), lambda: mine).set_default("One", owner="ann")
    chooser.join()

    assert other.get("Two", owner="ann").is_default
    mine.dispose()
    engine.dispose()


def test_the_operators_stay(presets: Presets) -> None:
    with pytest.raises(Forbidden):
        presets.delete("Translator", owner="ann")
    presets.put("Translator", Preset(name="Translator", temperature=1), owner="ann")
    assert presets.get("Translator", owner="ann").is_own
    presets.delete("Translator", owner="ann")
    assert not presets.get("Translator", owner="ann").is_own


def test_an_owner_has_so_many_and_no_more(presets: Presets) -> None:
    for number in range(MAX_PRESETS):
        presets.add(Preset(name=f"Preset {number}"), owner="ann")
    with pytest.raises(InvalidRequest, match="Delete one first"):
        presets.add(Preset(name="One more"), owner="ann")
    presets.add(Preset(name="One more"), owner="bob")


def test_a_whole_number_is_one_however_json_writes_it() -> None:
    assert Preset.model_validate({"name": "A", "max_tokens": 512.0}).max_tokens == 512
    for number in (512.5, "512", True):
        with pytest.raises(ValidationError):
            Preset.model_validate({"name": "A", "max_tokens": number})
