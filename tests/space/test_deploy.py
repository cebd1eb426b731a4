"""Deploying: a real HTTP server on loopback in place of the Hub, and huggingface_hub's real client."""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
from pathlib import Path

import pytest

from llm_core.space import build, commands, spacefile
from tests.space.conftest import REPO, SECRET, TOKEN, Deploy, Hub, Project, Space

ROOT = Path(__file__).resolve().parents[2]


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
        (project.root / "llm_core" / "page" / "static" / "page.css").unlink()
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
        assert "llm_core/page/static/page.css" not in space.files
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
    def named(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
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
