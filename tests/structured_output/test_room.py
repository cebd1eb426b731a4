"""llguidance is known in one room, so that neither the engine nor a remote backend needs it."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "llm_core"


def imports(file: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(file.read_text())))
    named = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return named | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}


def test_one_file_imports_llguidance() -> None:
    found = [file.relative_to(PACKAGE) for file in PACKAGE.rglob("*.py") if "llguidance" in imports(file)]

    assert found == [Path("structured_output/constraint.py")]
