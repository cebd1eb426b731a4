"""What is sent to a Space: what the app needs, and nothing else."""

from __future__ import annotations

import subprocess
from importlib import metadata
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from llm_core.cli import main
from llm_core.errors import SpaceError
from llm_core.space import build, readme, requirements, spacefile
from tests.space.conftest import Project

ROOT = Path(__file__).resolve().parents[2]


def built(project: Project) -> dict[str, bytes]:
    return build.files(project.root, spacefile.load(project.root))


class TestFiles:
    def test_the_app_its_licence_its_requirements_and_a_readme(self, project: Project) -> None:
        assert set(built(project)) == {
            ".llm-core-space",
            "LICENSE",
            "README.md",
            "app.py",
            "llm_core/__init__.py",
            "llm_core/page/static/page.css",
            "requirements.txt",
        }

    @pytest.mark.parametrize(
        "stray",
        [
            ".env",
            "tests/test_a.py",
            "bench/a.py",
            ".venv/lib/a.py",
            "llm_core/.env",
            "llm_core/key.pem",
            "llm_core/model.gguf",
            "llm_core/sessions.db",
            "llm_core/notes.txt",
            "llm_core/__pycache__/a.cpython-311.pyc",
            "llm_core/__pycache__/a.py",
        ],
    )
    def test_what_the_app_does_not_need_stays_here(self, project: Project, stray: str) -> None:
        before = built(project)
        project.write(stray, "secret")

        assert built(project) == before

    def test_a_link_is_refused(self, project: Project) -> None:
        project.write("elsewhere/secret.py", "secret")
        (project.root / "llm_core" / "a.py").symlink_to(project.root / "elsewhere" / "secret.py")

        with pytest.raises(SpaceError, match=r"a\.py is a link"):
            built(project)

    def test_a_missing_licence_is_told(self, project: Project) -> None:
        (project.root / "LICENSE").unlink()

        with pytest.raises(SpaceError, match="LICENSE cannot be read"):
            built(project)

    def test_the_readme_has_the_front_matter_and_no_link_that_leads_nowhere(self, project: Project) -> None:
        text = built(project)["README.md"].decode()

        assert readme.read(text) == spacefile.load(project.root).front_matter()
        assert "](" not in text

    def test_of_this_repository_every_file_of_the_package_is_sent(self) -> None:
        tracked = subprocess.run(
            ["git", "ls-files", "llm_core"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.splitlines()
        sent = build.files(ROOT, spacefile.load(ROOT))

        assert {file for file in tracked if (ROOT / file).exists()} <= set(sent)


class TestRequirements:
    def test_the_wheel_index_comes_first_and_every_version_is_pinned(self, project: Project) -> None:
        lines = built(project)["requirements.txt"].decode().splitlines()

        assert lines == [
            "--extra-index-url https://abetlen.github.io/llama-cpp-python/whl/cpu",
            "gradio==6.31.0",
            "llama-cpp-python==0.3.36",
            f"numpy=={metadata.version('numpy')}",
        ]

    def test_a_version_that_is_not_allowed_here_is_told(self, project: Project) -> None:
        with pytest.raises(SpaceError, match=r"numpy 1\.0 is installed here, and requirements\.txt wants numpy<3,>=2"):
            requirements.deployed(
                project.root, "https://x", lambda name: "1.0" if name == "numpy" else metadata.version(name)
            )

    def test_a_package_that_is_not_installed_is_told(self, project: Project) -> None:
        project.edit("requirements.txt", "numpy", "no-such-package")

        with pytest.raises(SpaceError, match="no-such-package is not installed here"):
            built(project)

    def test_where_a_spaces_build_allows_another_version_only_both_are_met(
        self, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(requirements, "of_the_build", lambda: {"numpy": SpecifierSet("<=2.1,>=1")})

        lines = requirements.deployed(
            project.root, "https://x", lambda name: "2.4" if name == "numpy" else metadata.version(name)
        ).splitlines()

        assert lines[1:3] == ["gradio==6.31.0", "llama-cpp-python==0.3.36"]
        assert SpecifierSet(lines[3].removeprefix("numpy")) == SpecifierSet(">=2,<3,<=2.1,>=1")

    def test_the_mark_of_a_local_build_is_left_out_and_extras_are_kept(self, project: Project) -> None:
        project.write("requirements.txt", "gradio[oauth]>=6\n")

        assert "gradio[oauth]==6.2" in requirements.deployed(project.root, "https://x", lambda _name: "6.2+cu124")


class TestFolder:
    def files(self, folder: Path) -> set[str]:
        return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}

    def test_it_has_what_is_uploaded_and_nothing_else(self, project: Project, tmp_path: Path) -> None:
        folder = tmp_path / "deep" / "out"

        assert main(["space", "build", str(folder)]) == 0
        assert {name: (folder / name).read_bytes() for name in self.files(folder)} == built(project)

    def test_a_second_build_takes_away_what_is_no_more_and_leaves_git_alone(
        self, project: Project, tmp_path: Path
    ) -> None:
        folder = tmp_path / "out"
        main(["space", "build", str(folder)])
        (folder / "llm_core" / "old.py").write_text("")
        (folder / ".git").mkdir()
        (folder / ".git" / "HEAD").write_text("")

        assert main(["space", "build", str(folder)]) == 0
        assert self.files(folder) == set(built(project)) | {".git/HEAD"}

    def test_a_folder_with_something_else_in_it_is_refused(
        self, project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "thesis.txt").write_text("mine")

        assert main(["space", "build", str(tmp_path / "out")]) == 1
        assert "is not empty and was not written by this command" in capsys.readouterr().err
        assert self.files(tmp_path / "out") == {"thesis.txt"}

    def test_the_repository_itself_is_refused(self, project: Project) -> None:
        assert main(["space", "build", str(project.root)]) == 1
        assert (project.root / "pyproject.toml").is_file()

    def test_a_file_in_place_of_a_folder_is_refused(
        self, project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "out").write_text("")

        assert main(["space", "build", str(tmp_path / "out")]) == 1
        assert "is not a folder" in capsys.readouterr().err

    def test_nothing_is_built_of_what_does_not_fit(self, project: Project, tmp_path: Path) -> None:
        project.edit("requirements.txt", "gradio==6.31.0", "gradio==6.30.0")

        assert main(["space", "build", str(tmp_path / "out")]) == 1
        assert not (tmp_path / "out").exists()
