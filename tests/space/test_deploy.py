"""Deploying: a real HTTP server on loopback in place of the Hub, and huggingface_hub's real client."""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from llm_core.cli import main
from llm_core.space import build, commands, spacefile, wait
from llm_core.space.wheels import listed
from tests.space.conftest import REPO, TOKEN, Failure, Hub, Project, Space

ROOT = Path(__file__).resolve().parents[2]

SECRET = "sesame-of-the-tests"

# With which status, None for a lost connection; and whether the Hub did what it was asked all the same.
WAYS_TO_FAIL = [(403, False), (500, False), (500, True), (None, False), (None, True)]

Deploy = Callable[..., int]


@pytest.fixture(autouse=True)
def wheels(hub: Hub, project: Project) -> None:
    """The index of wheels, which is on the same server."""
    project.edit("Spacefile", spacefile.CPU_WHEELS, f"{hub.url}/whl/cpu")


@pytest.fixture
def deploy(project: Project) -> Deploy:
    def run(*options: str) -> int:
        return main(["space", "deploy", REPO, *options])

    return run


@pytest.fixture
def space(hub: Hub, deploy: Deploy) -> Space:
    """A Space that was deployed."""
    assert deploy() == 0
    hub.writes.clear()
    hub.requests.clear()
    return hub.spaces[REPO]


def ask(monkeypatch: pytest.MonkeyPatch, answer: str) -> list[str]:
    """A terminal on which somebody types `answer`; returns what was asked."""
    asked: list[str] = []

    def typed(prompt: str) -> str:
        asked.append(prompt)
        return answer

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(commands, "getpass", typed)
    return asked


class TestCreation:
    def test_one_call_makes_it_with_its_settings_and_one_commit_brings_all_files(
        self, hub: Hub, deploy: Deploy, project: Project
    ) -> None:
        assert deploy() == 0

        space = hub.spaces[REPO]
        assert hub.writes == ["POST /api/repos/create", f"POST /api/spaces/{REPO}/commit/main"]
        assert space.variables == {"LLM_MODEL": "bundled", "LLM_THREADS": "2"}
        assert (space.hardware, space.private) == ("cpu-basic", False)
        sent = build.files(project.root, spacefile.load(project.root))
        assert space.files == sent | {".gitattributes": space.files[".gitattributes"]}

    def test_it_tells_each_stage_and_ends_with_the_link_and_a_call(
        self, hub: Hub, deploy: Deploy, capsys: pytest.CaptureFixture[str]
    ) -> None:
        hub.build_log = ["Collecting gradio", "Installing"]

        deploy()

        out = capsys.readouterr().out
        stages = ["building", "  Installing", "starting", "running", f"{hub.url}/spaces/{REPO}", f'Client("{REPO}")']
        assert [out.index(stage) for stage in stages] == sorted(out.index(stage) for stage in stages)

    def test_private_secrets_and_volumes(
        self, hub: Hub, deploy: Deploy, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        project.add_to_spacefile("secrets: [LLM_API_TOKENS]\nstorage: ['hf://buckets/me/b:/data']\n")
        monkeypatch.setenv("LLM_API_TOKENS", SECRET)

        assert deploy("--private", "--secret", "LLM_API_TOKENS") == 0

        space = hub.spaces[REPO]
        assert space.private
        assert space.secrets == {"LLM_API_TOKENS": SECRET}
        assert space.volumes == [{"type": "bucket", "source": "me/b", "mountPath": "/data"}]

    def test_a_dry_run_says_all_and_does_nothing(
        self, hub: Hub, deploy: Deploy, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert deploy("--dry-run") == 0

        out = capsys.readouterr().out
        assert not hub.writes
        assert f"create the Space {REPO}" in out
        assert "set the variable LLM_THREADS=2" in out
        assert "upload 7 files (.llm-core-space, LICENSE, README.md and 4 more)" in out


@pytest.mark.slow
def test_this_repository_is_deployed_by_the_command_as_people_start_it(hub: Hub) -> None:
    # Without a way to the index of wheels, which is the only thing that is not on loopback.
    environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HTTPS_PROXY": "http://127.0.0.1:9"}
    command = [sys.executable, "-m", "llm_core", "space", "deploy", REPO]

    first = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100, check=False)
    writes = len(hub.writes)
    second = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100, check=False
    )

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "cannot be asked from here" in first.stdout
    assert {"app.py", "requirements.txt", "llm_core/cli.py"} <= set(hub.spaces[REPO].files)
    assert (writes, len(hub.writes)) == (2, 2)


class TestUpdate:
    def test_a_second_deploy_changes_nothing(
        self, hub: Hub, deploy: Deploy, space: Space, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = space.state()

        assert deploy() == 0

        assert not hub.writes
        assert space.state() == before
        assert "nothing to change" in capsys.readouterr().out

    def test_with_secrets_and_volumes_a_second_deploy_changes_nothing_either(
        self, hub: Hub, deploy: Deploy, project: Project, space: Space, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        project.add_to_spacefile("secrets: [LLM_API_TOKENS]\nstorage: ['hf://buckets/me/b:/data']\n")
        monkeypatch.setenv("LLM_API_TOKENS", SECRET)
        assert deploy("--secret", "LLM_API_TOKENS") == 0
        hub.writes.clear()

        assert deploy("--secret", "LLM_API_TOKENS") == 0
        assert not hub.writes

    def test_only_what_differs_is_changed(self, hub: Hub, deploy: Deploy, project: Project, space: Space) -> None:
        project.edit("Spacefile", "LLM_THREADS: 2", "LLM_THREADS: 4\n  LLM_PARALLEL: 3")
        project.add_to_spacefile("hardware: cpu-upgrade\n")
        project.write("app.py", "print('new')\n")
        (project.root / "llm_core" / "web" / "static" / "page.css").unlink()
        space.variables["LLM_STEP_MS"] = "50"

        assert deploy() == 0

        assert hub.writes == [
            f"POST /api/spaces/{REPO}/variables",
            f"POST /api/spaces/{REPO}/variables",
            f"DELETE /api/spaces/{REPO}/variables",
            f"POST /api/spaces/{REPO}/hardware",
            f"POST /api/spaces/{REPO}/commit/main",
        ]
        assert space.variables == {"LLM_MODEL": "bundled", "LLM_THREADS": "4", "LLM_PARALLEL": "3"}
        assert space.hardware == "cpu-upgrade"
        assert space.files["app.py"] == b"print('new')\n"
        assert "llm_core/web/static/page.css" not in space.files
        assert len(space.commits) == 3

    def test_a_space_that_was_not_made_by_this_command_is_left_alone(
        self, hub: Hub, deploy: Deploy, capsys: pytest.CaptureFixture[str]
    ) -> None:
        hub.spaces[REPO] = Space(files={"README.md": b"", "app.py": b"precious", "data.csv": b"1"})
        before = hub.spaces[REPO].state()

        assert deploy() == 1
        assert "is a Space already, with 3 files (README.md, app.py, data.csv)" in capsys.readouterr().err
        assert hub.spaces[REPO].state() == before

        assert deploy("--overwrite") == 0
        assert "data.csv" not in hub.spaces[REPO].files

    def test_an_empty_space_made_by_hand_is_filled(self, hub: Hub, deploy: Deploy) -> None:
        hub.spaces[REPO] = Space()

        assert deploy() == 0
        assert "app.py" in hub.spaces[REPO].files


class TestSecrets:
    @pytest.fixture(autouse=True)
    def named(self, project: Project, hub: Hub, wheels: None, monkeypatch: pytest.MonkeyPatch) -> None:
        project.add_to_spacefile("secrets: [LLM_API_TOKENS]\n")
        monkeypatch.delenv("LLM_API_TOKENS", raising=False)

    def test_the_value_is_asked_for_before_anything_is_done_and_never_printed(
        self, hub: Hub, deploy: Deploy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        asked = ask(monkeypatch, SECRET)

        assert deploy() == 0

        assert asked == ["LLM_API_TOKENS (not shown): "]
        assert hub.spaces[REPO].secrets == {"LLM_API_TOKENS": SECRET}
        shown = capsys.readouterr()
        assert SECRET not in shown.out + shown.err
        assert "set the secret LLM_API_TOKENS" in shown.out

    def test_it_is_typed_unseen(self) -> None:
        assert commands.getpass is getpass.getpass

    def test_nothing_typed_changes_nothing(
        self, hub: Hub, deploy: Deploy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        ask(monkeypatch, "")

        assert deploy() == 1
        assert "The value of the secret LLM_API_TOKENS is empty." in capsys.readouterr().err
        assert not hub.writes

    def test_a_value_that_the_app_would_not_start_with_is_refused_and_not_shown(
        self, hub: Hub, deploy: Deploy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        ask(monkeypatch, "two words")

        assert deploy() == 1
        shown = capsys.readouterr()
        assert "LLM_API_TOKENS cannot have this value" in shown.err
        assert "two words" not in shown.out + shown.err
        assert not hub.writes

    def test_without_a_terminal_the_way_for_ci_is_told(
        self, hub: Hub, deploy: Deploy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(sys.stdin, "isatty", lambda: False)

        assert deploy() == 1
        assert "Set the environment variable LLM_API_TOKENS, and add --secret" in capsys.readouterr().err
        assert deploy("--secret", "LLM_API_TOKENS") == 1
        assert "The value of the secret LLM_API_TOKENS is empty." in capsys.readouterr().err
        assert not hub.writes

    def test_one_that_spacefile_does_not_name_is_refused(
        self, hub: Hub, deploy: Deploy, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert deploy("--secret", "HF_TOKEN") == 1
        assert "HF_TOKEN: not under secrets in Spacefile" in capsys.readouterr().err
        assert deploy("--replace-secret", "HF_TOKEN") == 1
        assert not hub.writes

    def test_a_secret_is_replaced_only_when_asked_and_after_all_else(
        self, hub: Hub, deploy: Deploy, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hub.spaces[REPO] = Space(secrets={"LLM_API_TOKENS": "old"})
        monkeypatch.setenv("LLM_API_TOKENS", SECRET)
        assert deploy("--secret", "LLM_API_TOKENS") == 0
        assert hub.spaces[REPO].secrets == {"LLM_API_TOKENS": "old"}

        project.write("app.py", "print('new')\n")
        hub.writes.clear()
        assert deploy("--replace-secret", "LLM_API_TOKENS") == 0

        assert hub.spaces[REPO].secrets == {"LLM_API_TOKENS": SECRET}
        assert hub.writes == [f"POST /api/spaces/{REPO}/commit/main", f"POST /api/spaces/{REPO}/secrets"]

    def test_one_that_only_the_space_has_is_left_and_told(
        self, hub: Hub, deploy: Deploy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        hub.spaces[REPO] = Space(secrets={"LLM_API_TOKENS": "a", "OTHER": "b"})

        assert deploy() == 0
        assert hub.spaces[REPO].secrets == {"LLM_API_TOKENS": "a", "OTHER": "b"}
        assert "a secret OTHER that Spacefile does not name" in capsys.readouterr().out


class TestHalfWay:
    """Whatever step fails, and however: the Space is as it was."""

    WRITES = 7  # variables set, changed and removed, a secret, volumes, hardware, the commit

    @pytest.fixture
    def changed(self, project: Project, space: Space, monkeypatch: pytest.MonkeyPatch) -> Space:
        """Everything that can differ differs."""
        project.edit("Spacefile", "LLM_THREADS: 2", "LLM_THREADS: 4\n  LLM_PARALLEL: 3")
        project.add_to_spacefile(
            "hardware: cpu-upgrade\nsecrets: [LLM_API_TOKENS]\nstorage: ['hf://buckets/me/b:/data']\n"
        )
        project.write("app.py", "print('new')\n")
        space.variables["LLM_STEP_MS"] = "50"
        monkeypatch.setenv("LLM_API_TOKENS", SECRET)
        return space

    @pytest.mark.parametrize(("status", "is_done"), WAYS_TO_FAIL)
    @pytest.mark.parametrize("number", range(WRITES))
    def test_an_update(
        self,
        hub: Hub,
        deploy: Deploy,
        changed: Space,
        number: int,
        status: int | None,
        is_done: bool,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        before = changed.state()
        hub.failures = [Failure(number, status, is_done)]

        ended = deploy("--secret", "LLM_API_TOKENS", "--no-wait")

        if is_done and number == self.WRITES - 1:
            # The commit was made and only its answer lost, which is looked up.
            assert ended == 0
            assert changed.files["app.py"] == b"print('new')\n"
            return
        assert ended == 1
        assert changed.state() == before
        assert "The Space is as it was." in capsys.readouterr().err

    def test_what_then_is_repeated_works(self, hub: Hub, deploy: Deploy, changed: Space) -> None:
        hub.failures = [Failure(self.WRITES - 1)]
        assert deploy("--secret", "LLM_API_TOKENS") == 1

        assert deploy("--secret", "LLM_API_TOKENS") == 0
        assert changed.hardware == "cpu-upgrade"
        assert changed.secrets == {"LLM_API_TOKENS": SECRET}

    def test_what_cannot_be_undone_is_told(
        self, hub: Hub, deploy: Deploy, changed: Space, capsys: pytest.CaptureFixture[str]
    ) -> None:
        # The commit fails, and so does what undoes the hardware.
        hub.failures = [Failure(self.WRITES - 1), Failure(self.WRITES)]

        assert deploy("--secret", "LLM_API_TOKENS") == 1
        said = capsys.readouterr().err
        assert "Could not undo this: ask for the hardware cpu-upgrade: the Hub answered 403" in said
        assert "as it was" not in said
        assert changed.variables["LLM_THREADS"] == "2"

    @pytest.mark.parametrize(("status", "is_done"), WAYS_TO_FAIL)
    def test_a_creation_that_fails_leaves_no_space(
        self, hub: Hub, deploy: Deploy, status: int | None, is_done: bool, capsys: pytest.CaptureFixture[str]
    ) -> None:
        hub.failures = [Failure(0, status, is_done)]

        assert deploy() == 1
        assert not hub.spaces
        assert "Nothing was made." in capsys.readouterr().err

    def test_a_space_whose_first_files_do_not_arrive_is_removed_again(self, hub: Hub, deploy: Deploy) -> None:
        hub.failures = [Failure(1)]

        assert deploy() == 1
        assert not hub.spaces

    def test_an_interruption_counts_as_a_failure(
        self, hub: Hub, deploy: Deploy, changed: Space, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupt(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        before = changed.state()
        monkeypatch.setattr(HfApi, "create_commit", interrupt)

        assert deploy("--secret", "LLM_API_TOKENS") == 130
        assert changed.state() == before

    def test_somebody_elses_commit_meanwhile_is_not_overwritten(
        self,
        hub: Hub,
        deploy: Deploy,
        changed: Space,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        create_commit = HfApi.create_commit

        def after_another(self: HfApi, *args: object, **options: object) -> object:
            changed.commits.append("f" * 40)
            return create_commit(self, *args, **options)  # type: ignore[call-overload]

        monkeypatch.setattr(HfApi, "create_commit", after_another)

        assert deploy("--secret", "LLM_API_TOKENS") == 1
        assert "was changed by somebody else meanwhile" in capsys.readouterr().err
        assert changed.files["app.py"] == b"print('app')\n"
        assert changed.variables["LLM_THREADS"] == "2"


class TestRefusals:
    @pytest.mark.parametrize("name", ["chat", "me/chat/x", "https://huggingface.co/spaces/me/chat", "me/"])
    def test_a_name_that_is_none(self, hub: Hub, project: Project, name: str) -> None:
        assert main(["space", "deploy", name]) == 1
        assert not hub.requests

    def test_no_token(
        self, hub: Hub, deploy: Deploy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.delenv("HF_TOKEN")
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", "/nowhere")
        monkeypatch.setattr("huggingface_hub.constants.HF_STORED_TOKENS_PATH", "/nowhere")

        assert deploy() == 1
        assert "Run `hf auth login`, or set HF_TOKEN." in capsys.readouterr().err

    def test_a_wrong_token(
        self, hub: Hub, deploy: Deploy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("HF_TOKEN", "hf_wrong")

        assert deploy() == 1
        assert "The Hub does not know this token." in capsys.readouterr().err

    def test_a_hub_that_cannot_be_reached(
        self, deploy: Deploy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")

        assert deploy() == 1
        assert "the Hub cannot be reached" in capsys.readouterr().err

    def test_what_does_not_fit_is_found_before_the_hub_is_asked(
        self, hub: Hub, deploy: Deploy, project: Project
    ) -> None:
        project.edit("requirements.txt", "gradio==6.31.0", "gradio==6.30.0")

        assert deploy() == 1
        assert not hub.requests

    def test_a_version_that_the_wheel_index_lacks(
        self, hub: Hub, deploy: Deploy, capsys: pytest.CaptureFixture[str]
    ) -> None:
        hub.wheels = "llama_cpp_python-0.3.2-py3-none-manylinux_2_28_x86_64.whl"

        assert deploy() == 1
        assert "has no wheel of llama-cpp-python 0.3.36 for Linux on x86-64" in capsys.readouterr().err
        assert not hub.writes
        assert deploy("--compile") == 0

    def test_a_bill_that_is_not_paid(self, hub: Hub, deploy: Deploy, capsys: pytest.CaptureFixture[str]) -> None:
        hub.failures = [Failure(0, 402)]

        assert deploy() == 1
        assert "The Hub wants to be paid for this: a subscription for cpu-basic" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "is_there"),
    [
        ("llama_cpp_python-0.3.36-py3-none-linux_x86_64.whl", True),
        ("llama_cpp_python-0.3.36-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", True),
        ("llama_cpp_python-0.3.36%2Bcu124-cp311-cp311-linux_x86_64.whl", True),
        ("llama_cpp_python-0.3.36-py3-none-musllinux_1_2_x86_64.whl", False),
        ("llama_cpp_python-0.3.36-py3-none-manylinux_2_28_aarch64.whl", False),
        ("llama_cpp_python-0.3.36-py3-none-win_amd64.whl", False),
        ("llama_cpp_python-0.3.361-py3-none-linux_x86_64.whl", False),
    ],
)
def test_a_wheel_for_a_space_is_of_the_version_for_linux_with_glibc_on_x86_64(
    hub: Hub, file: str, is_there: bool
) -> None:
    hub.wheels = file

    assert listed(f"{hub.url}/whl/cpu", "0.3.36") is is_there


def test_an_index_that_cannot_be_asked_says_nothing(hub: Hub) -> None:
    assert listed("http://127.0.0.1:9/whl", "0.3.36") is None


class TestWaiting:
    @pytest.mark.parametrize(
        ("stage", "said"),
        [
            ("BUILD_ERROR", "could not be built: pip said no\nThe end of its log:\n  ERROR: no matching wheel"),
            ("RUNTIME_ERROR", "was built, and its app ended: pip said no\nThe end of its log:\n  Traceback"),
            ("CONFIG_ERROR", "has a configuration that the Hub refuses"),
            ("NO_APP_FILE", "has no app file"),
        ],
    )
    def test_a_failure_ends_it_with_the_reason_and_the_end_of_the_log(
        self, hub: Hub, deploy: Deploy, space: Space, project: Project, stage: str, said: str,
        capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        hub.build_log, hub.run_log = ["ERROR: no matching wheel"], ["Traceback"]
        hub.after_commit = ["BUILDING", stage]
        space.error = "pip said no"
        project.write("app.py", "print('new')\n")

        assert deploy() == 1
        assert f"{REPO} {said}" in capsys.readouterr().err

    def test_the_old_app_that_still_runs_does_not_count(
        self, hub: Hub, deploy: Deploy, space: Space, project: Project, capsys: pytest.CaptureFixture[str]
    ) -> None:
        hub.after_commit = ["OLD", "OLD", "RUNNING_BUILDING", "RUNNING"]
        project.write("app.py", "print('new')\n")

        assert deploy() == 0
        assert space.stages == ["RUNNING"]
        assert "building; the old app still serves" in capsys.readouterr().out

    def test_a_hub_that_has_a_fault_meanwhile_is_asked_again(self, hub: Hub, space: Space) -> None:
        hub.broken_runtime = 3

        assert wait.Waiting(HfApi(), REPO, None, print).run(10) == "running"

    def test_a_space_that_is_paused_is_not_waited_for(
        self, hub: Hub, deploy: Deploy, space: Space, capsys: pytest.CaptureFixture[str]
    ) -> None:
        space.stages = ["PAUSED"]

        assert deploy() == 0
        assert "does not run now" in capsys.readouterr().out

    def test_it_ends_in_time(self, hub: Hub, deploy: Deploy, space: Space, capsys: pytest.CaptureFixture[str]) -> None:
        space.stages = ["BUILDING"]

        assert deploy("--timeout", "0.05") == 1
        assert f"{REPO} is still building after 0 seconds" in capsys.readouterr().err

    def test_without_waiting_it_ends_at_once(self, hub: Hub, deploy: Deploy) -> None:
        hub.after_commit = ["BUILDING"]

        assert deploy("--no-wait") == 0
