"""A deploy that fails, whatever step and however, leaves the Space as it was; and what is refused before the first."""

from __future__ import annotations

import pytest
from huggingface_hub import HfApi

from llm_core.cli import main
from tests.space.conftest import SECRET, Deploy, Failure, Hub, Project, Space

# With which status, None for a lost connection; and whether the Hub did what it was asked all the same.
WAYS_TO_FAIL = [(403, False), (500, False), (500, True), (None, False), (None, True)]


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
