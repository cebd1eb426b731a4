"""What may stand in `LLM_MODEL`, and what is said where it may not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_core.errors import ModelError
from llm_core.models.source import BundledModel, FileModel, HubModel, parse_source

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("spec", "meant"),
    [
        ("bundled", BundledModel()),
        ("/models/a.gguf", FileModel(Path("/models/a.gguf"))),
        ("models/with: colon@home.gguf", FileModel(Path("models/with: colon@home.gguf"))),
        ("hf:Qwen/Qwen3-0.6B-GGUF", HubModel("Qwen/Qwen3-0.6B-GGUF")),
        ("hf:o/r:a.gguf", HubModel("o/r", "a.gguf")),
        ("hf:o/r:sub/folder/a b.gguf", HubModel("o/r", "sub/folder/a b.gguf")),
        ("hf:o/r:*Q4_K_M*", HubModel("o/r", "*Q4_K_M*")),
        ("hf:o/r@main", HubModel("o/r", None, "main")),
        ("hf:o/r@refs/pr/7", HubModel("o/r", None, "refs/pr/7")),
        (f"hf:o/r:a.gguf@{COMMIT}", HubModel("o/r", "a.gguf", COMMIT)),
        ("hf:o/r:a@home.gguf@v1.0", HubModel("o/r", "a@home.gguf", "v1.0")),
    ],
)
def test_a_spec_names_a_source_and_reads_back_as_itself(spec: str, meant: object) -> None:
    source = parse_source(spec)

    assert source == meant
    assert str(source) == spec


def test_a_home_folder_is_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")

    assert parse_source("~/a.gguf") == FileModel(Path("/home/ada/a.gguf"))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("", "No model is named"),
        ("   ", "No model is named"),
        ("x" * 5000, "5000 characters"),
        ("a\0.gguf", "NUL"),
        ("hf:", "OWNER/REPO"),
        ("hf:repo", "OWNER/REPO"),
        ("hf:owner/", "OWNER/REPO"),
        ("hf:/repo", "OWNER/REPO"),
        ("hf:o/r/a.gguf", "put a colon"),
        ("hf:../r", "cannot be a name"),
        ("hf:o/..", "cannot be a name"),
        ("hf:o/-r", "cannot be a name"),
        ("hf:o/r.", "cannot be a name"),
        ("hf:o/a--b", "cannot be a name"),
        ("hf:o/a b", "cannot be a name"),
        ("hf:o/a%2e", "cannot be a name"),
        (f"hf:o/{'r' * 97}", "cannot be a name"),
        ("hf:o/r:", "no file is named"),
        ("hf:o/r:@main", "no file is named"),
        ("hf:o/r:../a.gguf", "not the path of a file"),
        ("hf:o/r:a/../b.gguf", "not the path of a file"),
        ("hf:o/r:/etc/a.gguf", "not the path of a file"),
        ("hf:o/r:a//b.gguf", "not the path of a file"),
        ("hf:o/r:./a.gguf", "not the path of a file"),
        ("hf:o/r:a\\b.gguf", "not the path of a file"),
        ("hf:o/r:C:a.gguf", "not the path of a file"),
        ("hf:o/r:a\n.gguf", "not the path of a file"),
        ("hf:o/r:a.safetensors", "is no .gguf file"),
        ("hf:o/r:Q4_K_M", "*Q4_K_M*.gguf"),
        (f"hf:o/r:{'a' * 600}.gguf", "longer than 500"),
        ("hf:o/r@", "no branch, tag or commit"),
        ("hf:o/r:a.gguf@", "no branch, tag or commit"),
        ("hf:o/r@../../x", "cannot be the name of a branch"),
        ("hf:o/r@a/../b", "cannot be the name of a branch"),
        ("hf:o/r@/main", "cannot be the name of a branch"),
        ("hf:o/r@main/", "cannot be the name of a branch"),
        ("hf:o/r@a b", "cannot be the name of a branch"),
        (f"hf:o/r@{'a' * 300}", "longer than 200"),
        ("https://huggingface.co/o/r", "Write hf:o/r"),
        ("huggingface.co/o/r/blob/main/a.gguf", "Write hf:o/r"),
    ],
)
def test_what_is_malformed_is_refused_with_the_reason(spec: str, said: str) -> None:
    with pytest.raises(ModelError) as refused:
        parse_source(spec)

    assert said in refused.value.message


@given(st.text(max_size=60).map(lambda rest: f"hf:{rest}") | st.text(max_size=60))
def test_any_text_is_a_source_or_refused_and_no_file_of_a_repository_leads_out_of_it(spec: str) -> None:
    try:
        source = parse_source(spec)
    except ModelError:
        return
    if isinstance(source, HubModel):
        assert ".." not in f"{source.repo}/{source.file or ''}/{source.revision or ''}".split("/")
        assert parse_source(str(source)) == source


def test_only_a_whole_commit_hash_is_a_pin() -> None:
    assert HubModel("o/r", revision=COMMIT).is_pinned
    assert not HubModel("o/r", revision=COMMIT[:12]).is_pinned
    assert not HubModel("o/r", revision="main").is_pinned
    assert not HubModel("o/r").is_pinned
