"""Every number of a request is bounded before it can reach C; what is refused is refused by the field's name."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_core.errors import InvalidRequest
from llm_core.request import MAX_LOGIT_BIASES, MAX_STOPS, MAX_TOKENS_LIMIT, ChatRequest, SamplingParams, build_request

HELLO = [{"role": "user", "content": "Hello"}]
DEFAULTS: dict[str, Any] = {"max_tokens": 16, "timeout": 30.0}

FLOAT_RANGES = {
    "temperature": (0.0, 2.0),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "typical_p": (0.001, 1.0),
    "repeat_penalty": (0.001, 2.0),
    "presence_penalty": (-2.0, 2.0),
    "frequency_penalty": (-2.0, 2.0),
    "timeout": (0.001, 86_400.0),
}
INTEGER_RANGES = {
    "top_k": (0, 1_000_000),
    "repeat_last_n": (0, 4096),
    "seed": (0, 2**32 - 2),
    "logprobs": (0, 20),
    "max_tokens": (1, 1_000_000),
}


def request(**options: Any) -> ChatRequest:
    return build_request(HELLO, **{**DEFAULTS, **options})


def value(built: ChatRequest, field: str) -> Any:
    """A field of a request, wherever it lives."""
    return getattr(built.sampling if field in SamplingParams.model_fields else built, field)


def refusal(**options: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as refused:
        request(**options)
    return refused.value


def test_options_of_sampling_and_of_the_request_stand_side_by_side() -> None:
    built = request(temperature=0.0, seed=7, stop=["END"], owner="anna")

    assert (built.sampling.temperature, built.sampling.seed) == (0.0, 7)
    assert (built.max_tokens, built.stop, built.owner) == (16, ("END",), "anna")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("field", FLOAT_RANGES)
def test_what_is_not_a_finite_number_is_refused_by_field(field: str, bad: float) -> None:
    assert refusal(**{field: bad}).param == field


@pytest.mark.parametrize("field", [*FLOAT_RANGES, *INTEGER_RANGES])
def test_absurd_values_on_both_sides_are_refused_by_field(field: str) -> None:
    for absurd in (-(10**9), 10**12):
        error = refusal(**{field: absurd})

        assert error.param == field
        assert error.message.startswith(f"{field}: ")


@pytest.mark.parametrize(
    "field", ["temperature", "top_p", "min_p", "typical_p", "repeat_penalty", "repeat_last_n", "seed"]
)
def test_negative_values_are_refused_where_they_mean_nothing(field: str) -> None:
    assert refusal(**{field: -1}).param == field


@pytest.mark.parametrize("field", ["typical_p", "repeat_penalty", "timeout", "max_tokens"])
def test_zero_is_refused_where_nothing_could_be_sampled(field: str) -> None:
    assert refusal(**{field: 0}).param == field


@pytest.mark.parametrize("field", [*FLOAT_RANGES, *INTEGER_RANGES])
def test_both_ends_of_a_range_are_allowed_and_what_is_beyond_is_not(field: str) -> None:
    low, high = {**FLOAT_RANGES, **INTEGER_RANGES}[field]

    assert value(request(**{field: low}), field) == low
    assert value(request(**{field: high}), field) == high
    assert refusal(**{field: high + 1}).param == field


@pytest.mark.parametrize("junk", ["warm", [], {}, object()])
@pytest.mark.parametrize("field", [*FLOAT_RANGES, *INTEGER_RANGES])
def test_what_is_not_a_number_is_refused_by_field(field: str, junk: Any) -> None:
    assert refusal(**{field: junk}).param == field


@pytest.mark.parametrize("field", INTEGER_RANGES)
def test_a_fraction_is_refused_where_a_count_is_meant(field: str) -> None:
    assert refusal(**{field: 1.5}).param == field


@given(st.sampled_from(sorted(FLOAT_RANGES)), st.floats())
def test_every_float_is_taken_unchanged_within_its_range_and_refused_beyond_it(field: str, number: float) -> None:
    low, high = FLOAT_RANGES[field]
    if low <= number <= high:
        assert value(request(**{field: number}), field) == number
    elif not 0 < number < low:  # between an open lower end and the smallest number tried here
        assert refusal(**{field: number}).param == field


def test_minus_one_is_no_limit_and_minus_two_is_nothing() -> None:
    built = request(max_tokens=-1, top_k=-1)

    assert (built.max_tokens, built.sampling.top_k) == (MAX_TOKENS_LIMIT, 0)
    assert refusal(max_tokens=-2).param == "max_tokens"
    assert refusal(top_k=-2).param == "top_k"


@pytest.mark.parametrize("stop", ["", [], [""], ["", ""]], ids=repr)
def test_an_empty_stop_text_stops_nothing(stop: Any) -> None:
    assert request(stop=stop).stop == ()
    assert request(stop=["END", ""]).stop == ("END",)


def test_an_unknown_option_is_refused_by_name() -> None:
    assert refusal(temprature=0.5).param == "temprature"


def test_one_stop_text_may_be_given_bare() -> None:
    assert request(stop="END").stop == ("END",)


@pytest.mark.parametrize(
    "stop", [["x" * 501], ["\ud800"], [3], 3, ["x"] * (MAX_STOPS + 1)], ids=lambda stop: repr(stop)[:12]
)
def test_stop_texts_that_cannot_be_used_are_refused(stop: Any) -> None:
    param = refusal(stop=stop).param

    assert param is not None
    assert param.split(".")[0] == "stop"


@pytest.mark.parametrize(
    "bias", [{-1: 0.0}, {2**31: 0.0}, {5: 101.0}, {5: float("nan")}, {"word": 1.0}, [1], dict.fromkeys(range(2000), 1)]
)
def test_logit_biases_out_of_range_are_refused(bias: Any) -> None:
    param = refusal(logit_bias=bias).param

    assert param is not None
    assert param.split(".")[0] == "logit_bias"


def test_token_ids_may_come_as_json_keys() -> None:
    assert request(logit_bias={"42": -100}).sampling.logit_bias == {42: -100.0}


def test_as_many_logit_biases_as_allowed_are_allowed() -> None:
    assert len(request(logit_bias=dict.fromkeys(range(MAX_LOGIT_BIASES), 1.0)).sampling.logit_bias) == MAX_LOGIT_BIASES


@pytest.mark.parametrize(
    ("field", "bad"), [("overflow", "truncate"), ("overflow", None), ("thinking", "maybe"), ("owner", "x" * 201)]
)
def test_other_options_are_refused_by_name(field: str, bad: Any) -> None:
    assert refusal(**{field: bad}).param == field


def test_bad_messages_are_refused_before_the_options_are_looked_at() -> None:
    with pytest.raises(InvalidRequest) as refused:
        build_request([], max_tokens=0, timeout=30.0)

    assert refused.value.param == "messages"


def test_without_options_sampling_is_llama_cpps_usual_chain() -> None:
    sampling = request().sampling

    assert (sampling.temperature, sampling.top_k, sampling.top_p) == (0.7, 40, 0.95)
    assert (sampling.min_p, sampling.typical_p, sampling.repeat_penalty) == (0.0, 1.0, 1.0)
    assert sampling.seed is None
