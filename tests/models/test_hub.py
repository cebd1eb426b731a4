"""Models from a hub: a real HTTP server on loopback, huggingface_hub's real client and cache."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
from huggingface_hub import constants

from llm_core.errors import ModelError
from llm_core.models import hub as hub_module
from llm_core.models import resume
from llm_core.models.hub import is_replaced
from llm_core.models.resolve import find, resolve
from llm_core.models.source import ResolvedModel, parse_source
from tests.environment import environment_without
from tests.models.conftest import COMMIT, NEXT_COMMIT, Hub, Repository, gguf
from tests.waiting import wait_until

MANY = {"README.md": b"#", "a-Q4_K_M.gguf": gguf(3000), "a-Q8_0.gguf": gguf(5000), "mmproj-a.gguf": gguf(10)}
SPLIT = {"q/b-00001-of-00002.gguf": gguf(2000), "q/b-00002-of-00002.gguf": gguf(1500)}


@pytest.fixture(autouse=True)
def repositories(hub: Hub, cache: Path) -> dict[str, Repository]:
    hub.repositories = {
        "o/many": Repository(MANY),
        "o/split": Repository(SPLIT),
        "o/shut": Repository(MANY, gated=True),
    }
    return hub.repositories


def pulled(spec: str) -> ResolvedModel:
    return resolve(parse_source(spec), on_progress=lambda _done, _message: None)


def refusal(spec: str) -> str:
    with pytest.raises(ModelError) as refused:
        pulled(spec)
    return refused.value.message


class TestDownload:
    def test_the_file_is_in_the_cache_with_its_commit_and_licence(self, cache: Path) -> None:
        resolved = pulled("hf:o/many:a-Q8_0.gguf")

        assert resolved.path.read_bytes() == MANY["a-Q8_0.gguf"]
        assert resolved.path.is_relative_to(cache)
        assert (resolved.revision, resolved.license) == (COMMIT, "mit")

    def test_without_a_file_the_usual_quantization_comes_and_nothing_else(self, hub: Hub) -> None:
        assert pulled("hf:o/many").path.name == "a-Q4_K_M.gguf"
        assert hub.bodies_sent() == [f"/o/many/resolve/{COMMIT}/a-Q4_K_M.gguf"]

    def test_a_pattern_picks_its_one_match(self) -> None:
        assert pulled("hf:o/many:*Q8*").path.name == "a-Q8_0.gguf"

    def test_a_pattern_with_two_matches_is_refused_before_anything_is_fetched(self, hub: Hub) -> None:
        assert "matches 2 models in o/many" in refusal("hf:o/many:a-*")
        assert not hub.bodies_sent()

    def test_all_parts_of_a_split_model_come_and_the_first_is_returned(self) -> None:
        resolved = pulled("hf:o/split")

        assert resolved.path.name == "b-00001-of-00002.gguf"
        assert {file.name for file in resolved.path.parent.iterdir()} == {Path(name).name for name in SPLIT}
        assert resolved.revision == COMMIT

    def test_progress_goes_from_nothing_to_all_over_all_files(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 500)
        seen: list[tuple[float, str]] = []

        resolve(parse_source("hf:o/split"), on_progress=lambda done, message: seen.append((done, message)))

        fractions = [done for done, _ in seen]
        assert fractions[0] == 0.0
        assert fractions[-1] == 1.0
        assert fractions == sorted(fractions)
        assert len(fractions) > 5
        assert seen[-1][1] == "Downloading b.gguf: 3.5 kB of 3.5 kB"

    def test_what_the_progress_callback_raises_ends_the_download(self) -> None:
        class Leave(Exception):
            pass

        def leave(_done: float, _message: str) -> None:
            raise Leave

        with pytest.raises(Leave):
            resolve(parse_source("hf:o/many"), on_progress=leave)

    def test_the_terminal_gets_a_bar_where_one_is_asked_for(self, capsys: pytest.CaptureFixture[str]) -> None:
        resolve(parse_source("hf:o/many"), on_progress=lambda _done, _message: None, bar=True)

        shown = capsys.readouterr()
        assert "a-Q4_K_M.gguf: 100%" in shown.err
        assert shown.out == ""

    def test_nothing_is_drawn_where_stderr_is_no_terminal(self, capsys: pytest.CaptureFixture[str]) -> None:
        pulled("hf:o/many")

        assert capsys.readouterr().err == ""

    def test_what_is_no_gguf_inside_is_refused(self, repositories: dict[str, Repository]) -> None:
        repositories["o/lie"] = Repository({"a.gguf": b"<html>"})

        assert "is not a GGUF file" in refusal("hf:o/lie")


class TestRevision:
    def test_a_branch_is_resolved_to_the_commit_it_stands_at(self, repositories: dict[str, Repository]) -> None:
        repositories["o/many"].names = {"v2": NEXT_COMMIT}

        assert pulled("hf:o/many@v2").revision == NEXT_COMMIT
        assert pulled("hf:o/many").revision == COMMIT

    def test_a_pinned_file_that_is_here_needs_no_hub(self, hub: Hub) -> None:
        first = pulled(f"hf:o/many:a-Q8_0.gguf@{COMMIT}")
        hub.requests.clear()

        assert pulled(f"hf:o/many:a-Q8_0.gguf@{COMMIT}").path == first.path
        assert not hub.requests

    def test_a_branch_that_moved_is_followed(self, hub: Hub, repositories: dict[str, Repository]) -> None:
        pulled("hf:o/many")
        repositories["o/many"] = Repository({"a-Q4_K_M.gguf": gguf(4000)}, commit=NEXT_COMMIT)

        again = pulled("hf:o/many")

        assert again.revision == NEXT_COMMIT
        assert again.path.stat().st_size == 4000

    def test_a_second_call_fetches_nothing_again(self, hub: Hub) -> None:
        pulled("hf:o/split")
        hub.requests.clear()

        pulled("hf:o/split")

        assert not hub.bodies_sent()


def mended(spec: str) -> ResolvedModel:
    return resolve(parse_source(spec), on_progress=lambda _done, _message: None, mends=True)


def damage(file: Path) -> None:
    """The same size, other bytes: a disk that lies, a download that was put together wrongly."""
    size = file.stat().st_size
    file.resolve().write_bytes(gguf(size - 1) + b"x")


class TestResume:
    SIZE = 40_000
    CHUNK = 1000

    @pytest.fixture
    def large(self, repositories: dict[str, Repository], monkeypatch: pytest.MonkeyPatch) -> bytes:
        """A file that comes in forty chunks, no two of them alike."""
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", self.CHUNK)
        data = b"GGUF" + b"".join(number.to_bytes(4) for number in range(self.SIZE // 4 - 1))
        repositories["o/large"] = Repository({"large-Q8_0.gguf": data})
        return data

    @pytest.mark.slow
    def test_a_download_that_was_killed_goes_on_where_it_stopped(self, hub: Hub, cache: Path, large: bytes) -> None:
        program = (
            f"from huggingface_hub import constants; constants.DOWNLOAD_CHUNK_SIZE = {self.CHUNK}\n"
            "from llm_core.cli import main; main(['model', 'pull', 'hf:o/large'])"
        )
        environment = environment_without("LLM_", "HF_") | {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(cache)}
        hub.holds_after = 25_500
        process = subprocess.Popen([sys.executable, "-c", program], env=environment, stderr=subprocess.DEVNULL)
        try:
            wait_until(
                lambda: sum(file.stat().st_size for file in cache.rglob("*.incomplete")) >= 20_000, "half of it to come"
            )
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        hub.holds_after = None
        (unfinished,) = cache.rglob("*.incomplete")
        came, before = unfinished.stat().st_size, hub.bytes_sent

        assert pulled("hf:o/large").path.read_bytes() == large

        assert hub.bytes_sent - before == self.SIZE - came <= 20_000
        assert not list(cache.rglob("*.incomplete"))

    def test_one_that_was_broken_off_too_and_progress_begins_there(self, hub: Hub, cache: Path, large: bytes) -> None:
        class Leave(Exception):
            pass

        def leave(done: float, _message: str) -> None:
            if done >= 0.5:
                raise Leave

        seen: list[float] = []
        with pytest.raises(Leave):
            resolve(parse_source("hf:o/large"), on_progress=leave)
        before = hub.bytes_sent

        resolved = resolve(parse_source("hf:o/large"), on_progress=lambda done, _message: seen.append(done))

        assert resolved.path.read_bytes() == large
        assert hub.bytes_sent - before < 0.6 * self.SIZE
        assert seen[0] == 0.0
        assert 0.4 <= seen[1] <= 0.5
        assert seen[-1] == 1.0

    @pytest.mark.parametrize("came", ["all", "too much", "wrong"])
    def test_what_came_earlier_is_believed_only_with_the_right_hash(
        self, hub: Hub, cache: Path, large: bytes, came: str
    ) -> None:
        unfinished = cache / "models--o--large" / "blobs" / f"{hashlib.sha256(large).hexdigest()}.incomplete"
        unfinished.parent.mkdir(parents=True)
        unfinished.write_bytes({"all": large, "too much": large + b"x", "wrong": b"x" * 10_000}[came])

        if came == "wrong":
            assert "arrived damaged, and was removed" in refusal("hf:o/large")
        assert pulled("hf:o/large").path.read_bytes() == large
        assert hub.bytes_sent == {"all": 0, "too much": self.SIZE, "wrong": 2 * self.SIZE - 10_000}[came]

    def test_where_the_hub_sends_all_again_it_is_all_taken(self, hub: Hub, cache: Path, large: bytes) -> None:
        hub.knows_ranges = False
        unfinished = cache / "models--o--large" / "blobs" / f"{hashlib.sha256(large).hexdigest()}.incomplete"
        unfinished.parent.mkdir(parents=True)
        unfinished.write_bytes(large[:10_000])

        assert pulled("hf:o/large").path.read_bytes() == large

    def test_a_branch_that_moved_meanwhile_does_not_mix_two_files(
        self, hub: Hub, large: bytes, repositories: dict[str, Repository]
    ) -> None:
        class Leave(Exception):
            pass

        def leave(done: float, _message: str) -> None:
            if done >= 0.5:
                raise Leave

        with pytest.raises(Leave):
            resolve(parse_source("hf:o/large"), on_progress=leave)
        other = b"GGUF" + large[:3:-1]
        repositories["o/large"] = Repository({"large-Q8_0.gguf": other}, commit=NEXT_COMMIT)

        assert pulled("hf:o/large").path.read_bytes() == other

    def test_only_what_is_still_to_come_has_to_fit_on_the_disk(
        self, cache: Path, large: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        unfinished = cache / "models--o--large" / "blobs" / f"{hashlib.sha256(large).hexdigest()}.incomplete"
        unfinished.parent.mkdir(parents=True)
        unfinished.write_bytes(large[:10_000])
        usage = namedtuple("usage", "free")
        monkeypatch.setattr(hub_module.shutil, "disk_usage", lambda _folder: usage(free=29_999))
        assert "needs 30.0 kB" in refusal("hf:o/large")

        monkeypatch.setattr(hub_module.shutil, "disk_usage", lambda _folder: usage(free=30_000))
        assert pulled("hf:o/large").path.read_bytes() == large


class TestDamage:
    @pytest.mark.parametrize("spec", ["hf:o/many", f"hf:o/many:a-Q4_K_M.gguf@{COMMIT}"])
    def test_a_file_that_was_damaged_on_the_disk_is_fetched_again(self, hub: Hub, spec: str) -> None:
        damage(pulled(spec).path)
        hub.requests.clear()

        again = mended(spec)

        assert again.path.read_bytes() == MANY["a-Q4_K_M.gguf"]
        assert len(hub.bodies_sent()) == 1

    def test_of_a_split_model_only_the_damaged_part_is(self, hub: Hub) -> None:
        first = pulled("hf:o/split")
        damage(first.path.with_name("b-00002-of-00002.gguf"))
        hub.requests.clear()

        mended("hf:o/split")

        assert hub.bodies_sent() == [f"/o/split/resolve/{COMMIT}/q/b-00002-of-00002.gguf"]

    def test_what_is_whole_is_not_fetched_again(self, hub: Hub) -> None:
        pulled("hf:o/split")
        hub.requests.clear()

        mended("hf:o/split")

        assert not hub.bodies_sent()

    def test_what_arrives_damaged_does_not_stay(self, hub: Hub, cache: Path) -> None:
        hub.sends_damaged = True

        assert "a-Q4_K_M.gguf of o/many arrived damaged, and was removed" in refusal("hf:o/many")

        assert not [file for file in cache.rglob("*") if file.is_file() and file.stat().st_size >= 3000]
        hub.sends_damaged = False
        assert pulled("hf:o/many").path.read_bytes() == MANY["a-Q4_K_M.gguf"]

    def test_a_file_that_was_replaced_on_the_hub_is_noticed(
        self, hub: Hub, repositories: dict[str, Repository]
    ) -> None:
        resolved = pulled("hf:o/many")
        pinned = pulled(f"hf:o/many:a-Q4_K_M.gguf@{COMMIT}")
        assert not is_replaced(resolved)

        repositories["o/many"] = Repository({"a-Q4_K_M.gguf": gguf(4000)}, commit=NEXT_COMMIT)

        assert is_replaced(resolved)
        assert not is_replaced(pinned)
        hub.broken_with = 503
        assert not is_replaced(resolved), "what cannot be asked is not claimed"


class TestWithoutTheHub:
    @pytest.mark.parametrize("status", [500, 503])
    @pytest.mark.parametrize("spec", ["hf:o/many", "hf:o/many:*Q4*", "hf:o/many:a-Q4_K_M.gguf", "hf:o/many@main"])
    def test_what_is_cached_is_used_while_the_hub_is_down(self, hub: Hub, spec: str, status: int) -> None:
        first = pulled("hf:o/many")
        hub.broken_with = status

        again = pulled(spec)

        assert (again.path, again.revision) == (first.path, COMMIT)

    def test_what_is_cached_is_used_where_nothing_answers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        first = pulled("hf:o/many")
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")

        assert pulled("hf:o/many").path == first.path

    def test_what_is_cached_is_used_in_offline_mode(self, monkeypatch: pytest.MonkeyPatch) -> None:
        first = pulled("hf:o/split")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

        assert pulled("hf:o/split").path == first.path

    def test_what_is_not_cached_is_refused_with_the_reason(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")

        said = refusal("hf:o/many:a-Q8_0.gguf")

        assert said.startswith("The Hub cannot be reached at http://127.0.0.1:9 (")
        assert "hf:o/many:a-Q8_0.gguf is not in the cache" in said

    def test_another_file_of_a_cached_repository_does_not_stand_in(self, hub: Hub) -> None:
        pulled("hf:o/many")
        hub.broken_with = 503

        assert "hf:o/many:a-Q8_0.gguf is not in the cache" in refusal("hf:o/many:a-Q8_0.gguf")

    def test_find_looks_on_this_machine_only(self, hub: Hub) -> None:
        source = parse_source("hf:o/many")
        with pytest.raises(ModelError, match="python -m llm_core model pull 'hf:o/many'"):
            find(source)
        assert not hub.requests

        first = pulled("hf:o/many")
        hub.requests.clear()

        assert find(source).path == first.path
        assert not hub.requests


class TestRefusals:
    def test_no_such_repository(self) -> None:
        assert "There is no repository o/none on the Hub, or it is private" in refusal("hf:o/none")

    def test_no_such_revision(self) -> None:
        assert refusal("hf:o/many@v9") == "o/many has no branch, tag or commit v9."

    def test_no_such_file(self) -> None:
        assert "o/many has no file b.gguf. There is: a-Q4_K_M.gguf, a-Q8_0.gguf." in refusal("hf:o/many:b.gguf")

    def test_gated(self, hub: Hub) -> None:
        said = refusal("hf:o/shut")

        assert f"accept its licence at {hub.url}/o/shut" in said
        assert "HF_TOKEN" in said

    @pytest.mark.parametrize(
        ("status", "said"), [(401, "Set HF_TOKEN"), (403, "may."), (429, "asked too often"), (418, "answered 418")]
    )
    def test_other_answers(self, hub: Hub, status: int, said: str) -> None:
        hub.broken_with = status

        assert said in refusal("hf:o/many")

    def test_a_model_larger_than_the_free_disk_is_refused_before_it_is_fetched(
        self, hub: Hub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        usage = namedtuple("usage", "free")
        monkeypatch.setattr(hub_module.shutil, "disk_usage", lambda _folder: usage(free=1000))

        assert "a-Q4_K_M.gguf needs 3.0 kB" in refusal("hf:o/many")
        assert not hub.bodies_sent()

    def test_a_disk_that_fills_up_meanwhile(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object, **options: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(resume, "http_get", full)

        assert "is full. Free some space, or set HF_HOME" in refusal("hf:o/many")
