"""One picture of a run: rate, first token and gap by number of users, and the gaps while a long prompt arrives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # no window: this runs on servers too

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from bench.lab import Findings

_COLOURS = {
    "app": "#c2410c",
    "engine": "#f59e0b",
    "llama_cpp.server": "#1d4ed8",
    "Llama": "#60a5fa",
    "llama-server": "#15803d",
    "server.py": "#0f766e",
}
_MORE_COLOURS = ("#7e22ce", "#be123c")
_PANELS = (
    ("tokens_per_second", "Tokens per second, all users together", "linear"),
    ("later_turn_p95", "First token of a later turn, p95, seconds", "log"),
    ("gap_p95", "Gap between two tokens, p95, seconds", "log"),
)


def draw(findings: Mapping[str, Findings], path: Path, *, subtitle: str) -> bool:
    """Writes a PNG. False where nothing was measured that could be drawn."""
    rows = findings["throughput"].rows if "throughput" in findings else []
    traces = findings["arrival"].raw if "arrival" in findings else {}
    panels: list[Callable[[Axes], None]] = []
    if rows:
        panels += [lambda axes, panel=panel: _by_users(axes, rows, *panel) for panel in _PANELS]  # type: ignore[misc]
    if traces:
        panels.append(lambda axes: _arrival(axes, *next(iter(traces.items()))))
    if not panels:
        return False
    _paint(panels, path, subtitle)
    return True


def _paint(panels: Sequence[Callable[[Axes], None]], path: Path, subtitle: str) -> None:
    wide = min(2, len(panels))
    high = -(-len(panels) // wide)
    with plt.rc_context({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}):
        figure, grid = plt.subplots(high, wide, figsize=(6.2 * wide, 4.0 * high), squeeze=False, layout="constrained")
        for axes, panel in zip(grid.flat, panels, strict=False):
            panel(axes)
        for axes in list(grid.flat)[len(panels) :]:
            axes.set_visible(False)
        figure.suptitle(subtitle, fontsize=10, color="#555555")
        figure.savefig(path, dpi=130)
        plt.close(figure)


def _by_users(axes: Axes, rows: Sequence[Mapping[str, Any]], column: str, title: str, scale: str) -> None:
    for system, colour in _colours_of(rows).items():
        points = [(row["users"], row[column]) for row in rows if row["system"] == system]
        axes.plot(*zip(*points, strict=True), marker="o", color=colour, label=system, linewidth=1.8, markersize=4.5)
    users = sorted({row["users"] for row in rows})
    axes.set_xscale("log", base=2)
    axes.set_xticks(users, [str(count) for count in users])
    axes.set_yscale(scale)
    if scale == "linear":
        axes.set_ylim(bottom=0)
    for formatted in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        formatted(FuncFormatter(lambda value, _place: f"{value:g}"))
    axes.set_title(title, loc="left", fontsize=10.5)
    axes.set_xlabel("users at once")
    axes.grid(axis="y", color="#e5e5e5")
    axes.legend(frameon=False, fontsize=9)


def _arrival(axes: Axes, system: str, trace: Mapping[str, Any]) -> None:
    for arrivals in trace["arrivals"]:
        gaps = [later - earlier for earlier, later in pairwise(arrivals)]
        axes.plot(arrivals[1:], [gap * 1e3 for gap in gaps], ".", markersize=3, color=_COLOURS.get(system, "#555555"))
    axes.axvspan(trace["arrived"], trace["first_token"], color="#f3f4f6", zorder=0)
    axes.annotate("the prompt is computed", (trace["arrived"], 1), xycoords=("data", "axes fraction"), xytext=(4, -12),
                  textcoords="offset points", fontsize=9, color="#555555")  # fmt: skip
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.set_title(f"Gaps of 4 streams while a long prompt arrives, ms ({system})", loc="left", fontsize=10.5)
    axes.set_xlabel("seconds")
    axes.grid(axis="y", color="#e5e5e5")


def _colours_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    systems = list(dict.fromkeys(row["system"] for row in rows))
    others = iter(_MORE_COLOURS * len(systems))
    return {system: _COLOURS.get(system) or next(others) for system in systems}
