"""The command itself, with tiny sizes, on the real model and the real servers."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from bench.__main__ import SCENARIOS, main
from bench.peers import PeersFailed
from bench.report import TITLES
from bench.targets import FIGURES, lines

ROOT = Path(__file__).resolve().parents[2]
RUN_SECONDS = 500


def quick_run(out: Path, only: str, *options: str) -> str:
    """Runs scenarios at tiny sizes, as a user does; what that printed."""
    command = [sys.executable, "-m", "bench", "--quick", "--only", only, *options, "--out", str(out)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=RUN_SECONDS, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.slow
def test_a_quick_run_prints_a_table_and_writes_a_plot_and_every_figure(tmp_path: Path) -> None:
    printed = quick_run(tmp_path, "single,throughput", "--users", "2")

    assert "target ≥ 0.97" in printed
    content = json.loads((tmp_path / "bench.json").read_text())
    systems = {"engine", "Llama", "llama_cpp.server", "app", "app LLM_PREPARE=off"}
    assert {row["system"] for row in content["rows"]["throughput"]} == systems
    assert all(row["tokens_per_second"] > 0 for row in content["rows"]["throughput"])
    assert content["figures"]["single.engine_to_bare"] > 0
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_quick_run_over_http_says_what_http_adds(tmp_path: Path) -> None:
    quick_run(tmp_path, "http")

    told = json.loads((tmp_path / "bench.json").read_text())["figures"]
    figures = {key: math.nan if figure is None else figure for key, figure in told.items()}  # JSON has no NaN
    assert {line.key for line in lines(figures)} == {each.key for each in FIGURES if each.key.startswith("http.")}


@pytest.mark.slow
def test_a_quick_run_goes_on_after_an_overflow(tmp_path: Path) -> None:
    printed = quick_run(tmp_path, "structured,overflow")

    figures = json.loads((tmp_path / "bench.json").read_text())["figures"]
    assert 0 < figures["overflow.app.read"] <= figures["overflow.app.seen"]
    assert {"structured.app.call_rate", "structured.app.reply_holds"} <= set(figures)
    assert "llama-server is measured with --peers" in printed


@pytest.mark.slow
def test_a_quick_run_goes_on_after_a_restart_and_a_kill(tmp_path: Path) -> None:
    quick_run(tmp_path, "restart")

    figures = json.loads((tmp_path / "bench.json").read_text())["figures"]
    assert figures["restart.app.warm_read"] < figures["restart.app.cold_read"]
    assert {"restart.app.after_restart_to_cold", "restart.app.after_kill_to_cold"} <= set(figures)


def test_peers_that_cannot_be_made_are_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise PeersFailed("there is no cmake")

    monkeypatch.setattr("bench.__main__.prepare", fail)
    assert main(["--quick", "--peers", "--out", str(tmp_path)]) == 1
    assert "there is no cmake" in capsys.readouterr().err


def test_every_scenario_has_a_title() -> None:
    assert set(SCENARIOS) == set(TITLES)


@pytest.mark.parametrize(
    "arguments",
    [["--only", "speed"], ["--users", "0"], ["--users", "many"], ["--url", "http://nameless"], ["--url", "a=b"]],
)
def test_an_argument_that_makes_no_sense_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert arguments[0] in capsys.readouterr().err


def test_a_server_that_is_not_there_is_a_sentence_and_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--quick", "--url", "gone=http://127.0.0.1:9", "--out", str(tmp_path)]) == 1
    assert "ConnectError" in capsys.readouterr().err
