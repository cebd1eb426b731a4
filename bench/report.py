"""What was measured, as tables for a terminal and as JSON for programs."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.lab import Findings, Sizes
from bench.targets import Line, lines, seconds

TITLES = {
    "single": "One stream, decode alone",
    "stop": "A reader leaves",
    "cold": "8 users arrive together, one system prompt, nothing cached",
    "throughput": "Users who chat at once",
    "arrival": "A long prompt arrives among 4 running streams",
    "dropped": "A long prompt is dropped half-way",
    "structured": "An object of six fields under a schema, as a call that is demanded and as a reply",
    "echo": "A text written once more with one change, and one where nothing repeats; one stream",
    "overflow": "A conversation that has outgrown its context",
    "restart": "The next turn of a long session, before and after the process ended",
    "swa": "A model with a sliding window: a second turn, and an earlier one edited",
    "models": "Two models in one process, the same file under two names",
    "embed": "Vectors of texts beside running streams",
    "memory": "Memory over many short requests",
    "mqtt": "20 streams over MQTT and over HTTP, from one process",
    "constraint": "8 streams held to a schema against 8 free ones",
    "dialects": "8 streams of a remote engine, each format beside OpenAI's chat completions",
    "hop": "8 streams of a remote engine through the app against its own /v1",
    "http": "8 streams over HTTP against the engine called directly",
    "page": "The page: a long reply in Chromium slowed 4 times, and a reply after many messages",
    "page_use": "The page beside Gradio's bare ChatInterface, and a reply in a full one in Chromium slowed 4 times",
}
_COLUMNS = {
    "users": "users",
    "system": "system",
    "tokens_per_second": "tokens/s",
    "first_turn_p50": "1st turn p50",
    "first_turn_p95": "p95",
    "later_turn_p50": "later p50",
    "later_turn_p95": "p95",
    "gap_p50": "gap p50",
    "gap_p95": "p95",
    "whole_replies": "full length",
}


def figures_of(findings: Mapping[str, Findings]) -> dict[str, float]:
    """All figures under `scenario.name`."""
    return {f"{name}.{key}": value for name, found in findings.items() for key, value in found.figures.items()}


def text(findings: Mapping[str, Findings]) -> str:
    """The whole report."""
    measured = lines(figures_of(findings))
    parts = []
    for name, found in findings.items():
        parts.append(f"\n{TITLES[name]}\n{'─' * len(TITLES[name])}")
        if found.rows:
            parts.append(table(found.rows))
        parts.append(found.skipped)
        parts.append(_figures(line for line in measured if line.key.startswith(f"{name}.")))
    return "\n".join(part for part in parts if part)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """First token and gap of the chats, a row for each system and number of users."""
    cells = [list(_COLUMNS.values())] + [[_cell(column, row[column]) for column in _COLUMNS] for row in rows]
    widths = [max(len(row[index]) for row in cells) for index in range(len(_COLUMNS))]
    written = []
    for number, row in enumerate(cells):
        if number > 1 and row[0] != cells[number - 1][0]:
            written.append("")
        written.append("  ".join(_aligned(cell, widths[index], index) for index, cell in enumerate(row)))
    return "\n".join(written)


def document(findings: Mapping[str, Findings], sizes: Sizes, model: Path, threads: int) -> str:
    """Everything as JSON; what is not a number is null."""
    content = {
        "about": _about(model, threads),
        "sizes": asdict(sizes),
        "figures": figures_of(findings),
        "targets": [asdict(line) for line in lines(figures_of(findings)) if line.reached is not None],
        "rows": {name: found.rows for name, found in findings.items() if found.rows},
        "raw": {name: found.raw for name, found in findings.items() if found.raw},
    }
    return json.dumps(_plain(content), indent=1, ensure_ascii=False)


def _figures(measured: Iterable[Line]) -> str:
    shown = [(line, line.written) for line in measured]
    wide = max((len(line.label) for line, _ in shown), default=0)
    return "\n".join(f"{line.label:<{wide}}  {value:>14}{_verdict(line)}" for line, value in shown)


def _verdict(line: Line) -> str:
    if line.reached is None:
        return ""
    verdict = "not measured" if math.isnan(line.value) else "reached" if line.reached else "NOT REACHED"
    return f"   target {line.target}: {verdict}"


def _cell(column: str, value: Any) -> str:
    match column:
        case "users" | "system":
            return str(value)
        case "tokens_per_second":
            return f"{value:.1f}"
        case "whole_replies":
            return f"{value:.0%}"
        case _:
            return "" if math.isnan(value) else seconds(value)


def _aligned(cell: str, width: int, index: int) -> str:
    return f"{cell:<{width}}" if index == 1 else f"{cell:>{width}}"


def _about(model: Path, threads: int) -> dict[str, Any]:
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": model.name,
        "threads": threads,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
        "llama-cpp-python": version("llama-cpp-python"),
    }


def _plain(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
