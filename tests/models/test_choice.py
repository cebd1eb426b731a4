"""Which file of a repository is taken."""

from __future__ import annotations

import pytest

from llm_core.errors import ModelError
from llm_core.models.choice import choose, parts_of
from llm_core.models.quantization import quantization_in, quantization_of, without_quantization
from llm_core.models.source import HubModel

SPLIT = ["big-Q8_0-00001-of-00003.gguf", "big-Q8_0-00002-of-00003.gguf", "big-Q8_0-00003-of-00003.gguf"]
MANY = ["README.md", "a-F16.gguf", "a-IQ2_XS.gguf", "a-Q4_0.gguf", "a-Q4_K_M.gguf", "a-Q8_0.gguf", "mmproj-a-F16.gguf"]


def chosen(files: list[str], file: str | None = None) -> tuple[str, ...]:
    return choose(HubModel("o/r", file), files).files


def refusal(files: list[str], file: str | None = None) -> str:
    with pytest.raises(ModelError) as refused:
        chosen(files, file)
    return refused.value.message


def test_the_only_model_needs_no_name() -> None:
    assert chosen(["README.md", "sub/a-F32.gguf", "mmproj-a.gguf", "a.imatrix.gguf"]) == ("sub/a-F32.gguf",)
    assert chosen(["with-imatrix/a-Q8_0.gguf", "with-imatrix/imatrix.gguf"]) == ("with-imatrix/a-Q8_0.gguf",)


def test_of_many_the_usual_quantization_is_taken() -> None:
    assert chosen(MANY) == ("a-Q4_K_M.gguf",)
    assert chosen([file for file in MANY if "Q4_K_M" not in file]) == ("a-Q4_0.gguf",)
    assert chosen([file for file in MANY if "Q4" not in file]) == ("a-Q8_0.gguf",)


def test_where_two_models_have_it_none_is_taken() -> None:
    said = refusal(["a-Q4_K_M.gguf", "b-Q4_K_M.gguf", "b-Q8_0.gguf"])

    assert "2 models in Q4_K_M" in said
    assert "a-Q4_K_M.gguf, b-Q4_K_M.gguf." in said


def test_where_no_name_tells_anything_none_is_taken() -> None:
    assert "There is: one.gguf, two.gguf." in refusal(["one.gguf", "two.gguf"])


def test_a_named_file_is_taken_as_it_is_named() -> None:
    assert chosen(MANY, "a-F16.gguf") == ("a-F16.gguf",)
    assert "has no file a-Q5_0.gguf. There is: a-F16.gguf" in refusal(MANY, "a-Q5_0.gguf")


def test_a_pattern_must_match_one_model() -> None:
    assert chosen(MANY, "*Q8_0.gguf") == ("a-Q8_0.gguf",)
    assert "*Q4* matches 2 models" in refusal(MANY, "*Q4*")
    assert "No model in o/r matches *Q6*" in refusal(MANY, "*Q6*")


def test_a_pattern_never_matches_what_is_no_model() -> None:
    assert chosen(MANY, "*F16*") == ("a-F16.gguf",)
    assert "has no .gguf file" in refusal(["README.md", "model.safetensors", "mmproj.gguf"])


@pytest.mark.parametrize("file", [None, "*Q8_0*", "*Q8_0.gguf", "*-00001-of-*", SPLIT[0], SPLIT[2]])
def test_a_split_model_is_taken_whole_and_in_order(file: str | None) -> None:
    assert chosen([*reversed(SPLIT), "README.md"], file) == tuple(SPLIT)


def test_a_split_model_that_misses_a_part_is_refused() -> None:
    assert f"{SPLIT[1]} is missing" in refusal([SPLIT[0], SPLIT[2]])


def test_a_list_that_is_long_is_cut() -> None:
    assert "and 30 more" in refusal([f"model-{i:02}.gguf" for i in range(50)])


def test_a_whole_file_is_its_only_part() -> None:
    assert parts_of("a-00001-of-00002.bin") == ("a-00001-of-00002.bin",)
    assert parts_of("sub/a-00002-of-00002.gguf") == ("sub/a-00001-of-00002.gguf", "sub/a-00002-of-00002.gguf")


@pytest.mark.parametrize(
    ("name", "quantization"),
    [
        ("Qwen3-4B-Q4_K_M.gguf", "Q4_K_M"),
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "Q4_1"),
        ("gemma-3-1b-it-qat-q4_0.gguf", "Q4_0"),
        ("UD-IQ1_M/x-UD-IQ1_M.gguf", "IQ1_M"),
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("BF16/model.gguf", "BF16"),
        ("Qwen3-4B.gguf", None),
    ],
)
def test_a_name_tells_its_quantization(name: str, quantization: str | None) -> None:
    assert quantization_in(name) == quantization


def test_a_model_is_called_by_its_file_without_the_quantization() -> None:
    assert without_quantization("SmolLM2-135M-Instruct.Q4_1") == "SmolLM2-135M-Instruct"
    assert without_quantization("Qwen3-4B") == "Qwen3-4B"
    assert without_quantization("Q8_0") == "Q8_0"


def test_a_header_tells_its_quantization() -> None:
    assert quantization_of("15") == "Q4_K_M"
    assert quantization_of("9999") is None
    assert quantization_of(None) is None
