"""Waiting until a Space runs; and whether its build finds llama-cpp-python compiled."""

from __future__ import annotations

import pytest
from huggingface_hub import HfApi

from llm_core.space import wait
from llm_core.space.wheels import listed
from tests.space.conftest import REPO, Deploy, Hub, Project, Space


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
