"""`python -m bench`: measures, prints a table, writes a plot and a JSON file."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import httpx

from bench import plot, report
from bench.bare import silence
from bench.lab import QUICK, Findings, Lab, Sizes
from bench.measure import NoReply
from bench.peers import Peers, PeersFailed, prepare
from bench.scenarios import (
    arrival,
    cold,
    constraint,
    dialects,
    dropped,
    echo,
    embed,
    hop,
    http,
    memory,
    models,
    mqtt,
    overflow,
    page,
    page_use,
    restart,
    single,
    stop,
    structured,
    swa,
    throughput,
)
from bench.servers import ServerFailed
from bench.systems import SystemFailed
from llm_core.errors import LLMError
from llm_core.models.resolve import resolve
from llm_core.models.source import parse_source
from llm_core.settings import Settings

RESULTS = Path(__file__).resolve().parent / "results"
# In this order: the lone stream first, while no other system is open.
SCENARIOS: dict[str, Callable[[Lab], Awaitable[Findings]]] = {
    "single": single.run,
    "stop": stop.run,
    "cold": cold.run,
    "throughput": throughput.run,
    "arrival": arrival.run,
    "dropped": dropped.run,
    "structured": structured.run,
    "echo": echo.run,
    "overflow": overflow.run,
    "restart": restart.run,
    "swa": swa.run,
    "models": models.run,
    "embed": embed.run,
    "memory": memory.run,
    "mqtt": mqtt.run,
    "constraint": constraint.run,
    "hop": hop.run,
    "dialects": dialects.run,
    "http": http.run,
    "page": page.run,
    "page_use": page_use.run,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the process's exit code: a target that was missed is a finding, not a failure."""
    options = _parser().parse_args(arguments)
    sizes = QUICK if options.quick else Sizes()
    if options.users:
        sizes = replace(sizes, users=options.users)
    if options.rounds:
        sizes = replace(sizes, rounds=options.rounds)
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        made = prepare() if options.peers else None
        asyncio.run(_measure(sizes, options.only or tuple(SCENARIOS), dict(options.url), options.out, made))
    except (LLMError, NoReply, PeersFailed, ServerFailed, SystemFailed, httpx.HTTPError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


async def _measure(sizes: Sizes, names: Sequence[str], others: dict[str, str], out: Path, made: Peers | None) -> None:
    started = time.monotonic()
    model = resolve(parse_source(Settings.load().model), on_progress=lambda _done, _message: None).path
    silence()
    findings: dict[str, Findings] = {}
    async with Lab(sizes, model, out, others, made) as lab:
        for name in (name for name in SCENARIOS if name in names):
            findings[name] = await SCENARIOS[name](lab)
            _write(findings, lab, out)  # after each: who interrupts a long run keeps what there is
    print(report.text(findings))
    print(f"\n{model.name}, {lab.threads} threads, {(time.monotonic() - started) / 60:.1f} minutes")
    print(f"Figures: {out / 'bench.json'}   Plot: {out / 'bench.png'}")


def _write(findings: dict[str, Findings], lab: Lab, out: Path) -> None:
    (out / "bench.json").write_text(report.document(findings, lab.sizes, lab.model, lab.threads), encoding="utf-8")
    plot.draw(findings, out / "bench.png", subtitle=f"{lab.model.name}, {lab.threads} CPU threads")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that everything runs")
    parser.add_argument("--only", type=_scenarios, metavar="NAMES", help=f"comma-separated: {', '.join(SCENARIOS)}")
    parser.add_argument("--users", type=_numbers, metavar="NUMBERS", help="users at once, such as 1,8")
    parser.add_argument("--rounds", type=int, help="turns of each system in throughput, arrival and models")
    parser.add_argument(
        "--url",
        type=_named_url,
        action="append",
        default=[],
        metavar="NAME=URL",
        help="adds a running OpenAI-compatible server; may be given several times",
    )
    parser.add_argument(
        "--peers",
        action="store_true",
        help="adds llama-server, which is compiled once (about eight minutes), and llama-cpp-python's batching server",
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for bench.json, bench.png and servers' logs")
    return parser


def _scenarios(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := set(names) - set(SCENARIOS):
        raise argparse.ArgumentTypeError(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    return names


def _numbers(text: str) -> tuple[int, ...]:
    numbers = tuple(int(part) for part in text.split(","))
    if min(numbers) < 1:
        raise argparse.ArgumentTypeError("at least one user is needed")
    return numbers


def _named_url(text: str) -> tuple[str, str]:
    name, equals, url = text.partition("=")
    if not equals or not name or not url.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError("write NAME=http://host:port")
    return name, url


if __name__ == "__main__":
    sys.exit(main())
