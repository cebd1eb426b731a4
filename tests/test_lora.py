"""Which adapters apply to a request: those it asks for and no others, by name or place, within bounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llm_core.errors import InvalidRequest, SettingsError
from llm_core.lora import MAX_ADAPTERS, Adapter, AdapterChoice, adapter_set
from llm_core.request import build_request
from llm_core.settings import Settings


@pytest.fixture
def there(tmp_path: Path) -> tuple[Adapter, ...]:
    path = tmp_path / "x.gguf"
    path.touch()
    return tuple(Adapter(name=name, path=path, scale=scale) for name, scale in (("b", 1.0), ("a", 0.5), ("c", 0.0)))


def chosen(*asked: dict[str, Any]) -> tuple[AdapterChoice, ...]:
    return tuple(map(AdapterChoice.model_validate, asked))


def test_who_asks_for_none_gets_the_operators_with_their_scales(there: tuple[Adapter, ...]) -> None:
    assert adapter_set(None, there) == (("a", 0.5), ("b", 1.0))
    assert adapter_set(None, ()) == ()


def test_who_asks_gets_what_is_asked_for_and_no_others(there: tuple[Adapter, ...]) -> None:
    assert adapter_set((), there) == ()
    assert adapter_set(chosen({"name": "c"}), there) == (("c", 1.0),)
    assert adapter_set(chosen({"id": 2, "scale": -0.5}, {"id": 0}), there) == (("b", 1.0), ("c", -0.5))


@pytest.mark.parametrize("nothing", [0, 0.0, -0.0])
def test_a_scale_of_0_is_as_good_as_none(there: tuple[Adapter, ...], nothing: float) -> None:
    assert adapter_set(chosen({"name": "a", "scale": nothing}), there) == ()


def test_the_order_in_which_they_are_asked_for_is_the_same_set(there: tuple[Adapter, ...]) -> None:
    one, other = {"name": "a", "scale": 0.5}, {"name": "c"}
    assert adapter_set(chosen(one, other), there) == adapter_set(chosen(other, one), there)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ([{"name": "x"}], "no adapter 'x'. There is: b, a, c."),
        ([{"id": 3}], "no adapter with the id 3. There is: b, a, c."),
        ([{"name": "a"}, {"id": 1}], "'a' is asked for twice"),
    ],
    ids=str,
)
def test_what_cannot_apply_is_refused_by_name(
    there: tuple[Adapter, ...], asked: list[dict[str, Any]], told: str
) -> None:
    with pytest.raises(InvalidRequest, match=told) as refused:
        adapter_set(chosen(*asked), there)
    assert refused.value.param == "lora"


def test_a_model_without_adapters_says_so() -> None:
    with pytest.raises(InvalidRequest, match=r"no adapter 'x'\. The model has none\."):
        adapter_set(chosen({"name": "x"}), ())


@pytest.mark.parametrize(
    "lora",
    [
        [{}],
        [{"name": "a", "id": 0}],
        [{"name": ""}],
        [{"name": "a b"}],
        [{"name": "a" * 101}],
        [{"id": -1}],
        [{"id": MAX_ADAPTERS}],
        [{"name": "a", "scale": 8.1}],
        [{"name": "a", "scale": float("nan")}],
        [{"name": "a", "scale": float("inf")}],
        [{"name": "a", "scael": 1}],
        [{"name": f"a{number}"} for number in range(MAX_ADAPTERS + 1)],
        "a",
    ],
    ids=lambda lora: str(lora)[:40],
)
def test_what_is_out_of_bounds_is_refused_by_name(lora: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        build_request([{"role": "user", "content": "Hi"}], lora=lora, max_tokens=1, timeout=1)
    assert (refused.value.param or "").startswith("lora")


# ── the operator's ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_variable_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = tmp_path / "one.gguf", tmp_path / "other:2b.gguf"
    one.touch()
    other.touch()
    monkeypatch.setenv("LLM_LORA", f"law={one}, poems={other}:0, low={one}:-0.5, odd={other}")

    assert [(each.name, each.path, each.scale) for each in Settings.load().lora] == [
        ("law", one, 1.0),
        ("poems", other, 0.0),
        ("low", one, -0.5),
        ("odd", other, 1.0),
    ]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("{file}", "is not NAME=PATH or NAME=PATH:SCALE"),
        ("a=", "is not NAME=PATH"),
        ("a={file}.gone", "there is no file"),
        ("a={file}:9", "less than or equal to 8"),
        ("a={file}:nan", "finite number"),
        ("a b={file}", "match pattern"),
        ("a={file}, a={file}", "two adapters have the name 'a'"),
        ("a=" + "x" * 5000, "there is no file"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_variables_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, told: str
) -> None:
    file = tmp_path / "x.gguf"
    file.touch()
    monkeypatch.setenv("LLM_LORA", value.format(file=file))

    with pytest.raises(SettingsError, match=f"(?s)^LLM_LORA=.*{told}"):
        Settings.load()


def test_biases_are_told_by_token_and_refused_with_the_variables_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_LOGIT_BIAS", "15=-100, 27 = 2.5")
    assert Settings.load().logit_bias == {15: -100.0, 27: 2.5}

    for value, told in [("15", "ID=NUMBER"), ("15=101", "less than or equal to 100"), ("x=1", "integer")]:
        monkeypatch.setenv("LLM_LOGIT_BIAS", value)
        with pytest.raises(SettingsError, match=f"(?s)^LLM_LOGIT_BIAS=.*{told}"):
            Settings.load()
