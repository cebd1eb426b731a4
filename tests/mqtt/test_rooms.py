"""The rooms of MQTT: worker and client know what they share, not each other, and imports make no circle."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

MQTT = Path(__file__).resolve().parents[2] / "llm_core" / "mqtt"
SHARED = {"connection", "packets", "payloads", "topics"}


def imported(file: Path) -> set[str]:
    """The files of these rooms that a file imports, named from `llm_core.mqtt` on."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "llm_core.mqtt":
            names |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("llm_core.mqtt."):
            names.add(str(node.module).removeprefix("llm_core.mqtt."))
    return names


IMPORTS = {
    ".".join(file.relative_to(MQTT).with_suffix("").parts): imported(file)
    for file in MQTT.rglob("*.py")
    if file.name != "__init__.py"
}


def test_a_room_knows_itself_and_what_is_shared() -> None:
    for name in IMPORTS.keys() - {"commands"}:  # the command line, which starts a worker
        room = name.rpartition(".")[0] or "none"
        assert {each for each in IMPORTS[name] if not each.startswith(f"{room}.")} <= SHARED, name


def test_no_import_leads_back() -> None:
    TopologicalSorter(IMPORTS).prepare()


def test_a_room_has_at_most_a_dozen_files() -> None:
    for room in ("worker", "client"):
        assert 2 < len([name for name in IMPORTS if name.startswith(f"{room}.")]) <= 12
