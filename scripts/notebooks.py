"""Runs the notebooks, from top to bottom in a new kernel each, and keeps their outputs.

Run as `python -m scripts.notebooks [NAME...]`. What differs between two machines or two runs and says nothing to a
reader is not kept, so that a notebook changes only where its text, its code or its results do.
"""

from __future__ import annotations

import re
import socket
import sys
import time
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
CELL_SECONDS = 120
_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
_PATH = re.compile(r"(?<![\w.:/<])/(?:home|root|Users|usr|opt|tmp|var|work|workspace|mnt|private)/|\b[A-Z]:\\")

Notebook = dict[str, Any]


def cleaned(notebook: Notebook) -> Notebook:
    """The notebook without what only its last run had: times, metadata of tools, outputs in pieces."""
    number = 0
    cells: list[dict[str, Any]] = []
    for cell in notebook["cells"]:
        kept: dict[str, Any] = {"cell_type": cell["cell_type"], "id": f"cell-{len(cells) + 1}", "metadata": {}}
        if cell["cell_type"] == "code":
            number += 1
            kept |= {"execution_count": number, "outputs": _outputs(cell["outputs"], number)}
        cells.append(kept | {"source": _text(cell["source"]).strip("\n")})
    return {"cells": cells, "metadata": _METADATA, "nbformat": 4, "nbformat_minor": 5}


def problems(notebook: Notebook) -> list[str]:
    """What a stored notebook must not have: no outputs, errors, warnings, or where it was run."""
    found = []
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    if not any(cell["outputs"] for cell in code):
        found.append("it has no outputs")
    if [cell["execution_count"] for cell in code] != list(range(1, len(code) + 1)):
        found.append("its cells were not run once each, from top to bottom")
    for cell in code:
        for output in cell["outputs"]:
            said = _said(output)
            if output["output_type"] == "error" or output.get("name") == "stderr":
                found.append(f"{cell['id']} ended with an error or a warning: {said[:200]}")
            elif path := _PATH.search(said):
                found.append(f"{cell['id']} names a path: {said[path.start() : path.start() + 60]}")
            elif socket.gethostname() in said:
                found.append(f"{cell['id']} names this machine")
    return found


def _outputs(outputs: list[dict[str, Any]], number: int) -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = []
    for output in outputs:
        kind = output["output_type"]
        if kind == "stream":
            if kept and kept[-1].get("name") == output["name"]:
                kept[-1]["text"] += _text(output["text"])
            else:
                kept.append({"output_type": kind, "name": output["name"], "text": _text(output["text"])})
        elif kind == "error":
            kept.append({**output})
        else:
            data = {mime: _text(content) for mime, content in sorted(output["data"].items())}
            result = {"execution_count": number} if kind == "execute_result" else {}
            kept.append({"output_type": kind, "data": data, "metadata": {}} | result)
    return kept


def _said(output: dict[str, Any]) -> str:
    """What a reader sees of an output, pictures aside."""
    if output["output_type"] == "error":
        return f"{output['ename']}: {output['evalue']}"
    data = output.get("data", {})
    texts = [_text(content) for mime, content in data.items() if mime.startswith("text/")]
    return "\n".join([*texts, _text(output.get("text", ""))])


def _text(source: str | list[str]) -> str:
    """Jupyter writes a text as one string or as a list of lines."""
    return source if isinstance(source, str) else "".join(source)


def _run(path: Path) -> bool:
    """Runs one notebook and writes it. False where it has a problem, which is printed."""
    import nbformat
    from nbclient import NotebookClient

    started = time.monotonic()
    notebook: Any = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    NotebookClient(notebook, timeout=CELL_SECONDS, resources={"metadata": {"path": str(path.parent)}}).execute()
    clean = cleaned(notebook)
    write(clean, path)
    print(f"{path.name}: {time.monotonic() - started:.0f} s", flush=True)
    for problem in problems(clean):
        print(f"{path.name}: {problem}", file=sys.stderr)
    return not problems(clean)


def write(notebook: Notebook, path: Path) -> None:
    """Writes a notebook as Jupyter does: texts as lists of lines, so that a change is a change of a line."""
    import nbformat

    nbformat.write(nbformat.from_dict(notebook), path)  # type: ignore[no-untyped-call]


def main() -> int:
    wanted = sys.argv[1:]
    paths = [path for path in sorted(FOLDER.glob("*.ipynb")) if not wanted or path.stem in wanted]
    if not paths:
        print(f"There is no such notebook in {FOLDER.name}/.", file=sys.stderr)
        return 1
    passed = [_run(path) for path in paths]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
