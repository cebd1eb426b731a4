"""Functions as tools: what the model is told of a signature, and what its arguments become."""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Optional
from uuid import UUID

import pytest
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from llm_core.errors import InvalidRequest
from llm_core.tool_spec import ToolSpec
from llm_core.tools.python_tool import ArgumentsDoNotFit, PythonTool, checked_tools, tool


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Place(BaseModel):
    """A place on a map."""

    x: int
    y: float = 0.0


class Tree(BaseModel):
    value: int
    children: list[Tree] = []


class Options(TypedDict):
    deep: bool


@dataclasses.dataclass
class Size:
    width: int


class Unknown:
    pass


def properties(function: Callable[..., Any]) -> dict[str, Any]:
    found: dict[str, Any] = tool(function).parameters["properties"]
    return found


def called(function: Callable[..., Any], **arguments: Any) -> Any:
    """What the function gives back for arguments that travel as JSON."""
    return tool(function).bind(json.dumps(arguments))()


# ── names and words ──────────────────────────────────────────────────────────────────────────────────────────────────


def get_weather(city: str, unit: Literal["c", "f"] = "c") -> str:
    """The weather in a city, now.

    Args:
        city: Its name.
        unit: Of the temperature.
    """
    return f"{city} in {unit}"


def test_name_docstring_and_annotations_become_the_schema() -> None:
    assert tool(get_weather).as_openai() == {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather in a city, now.",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "Its name."},
                    "unit": {
                        "type": "string",
                        "enum": ["c", "f"],
                        "default": "c",
                        "description": "Of the temperature.",
                    },
                },
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    }


def test_name_and_description_can_be_other_ones() -> None:
    named = tool(get_weather, name="weather.now", description="How it is outside.")
    assert (named.name, named.description) == ("weather.now", "How it is outside.")


def test_words_in_the_annotation_count_more_than_the_docstring() -> None:
    def find(what: Annotated[str, Field(description="In the annotation", min_length=2)]) -> None:
        """Finds.

        Args:
            what: In the docstring.
        """

    assert properties(find) == {"what": {"type": "string", "minLength": 2, "description": "In the annotation"}}


def test_a_function_without_parameters_takes_an_empty_object() -> None:
    def now() -> str:
        return "now"

    assert tool(now).parameters == {"type": "object", "properties": {}, "additionalProperties": False}
    assert tool(now).bind("{}")() == tool(now).bind("")() == "now"


# ── types ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("annotation", "schema", "given", "arrives"),
    [
        (int, {"type": "integer"}, 3, 3),
        (float, {"type": "number"}, 3, 3.0),
        (bool, {"type": "boolean"}, True, True),
        (str, {"type": "string"}, "a", "a"),
        (int | None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}, None, None),
        (Optional[str], {"anyOf": [{"type": "string"}, {"type": "null"}]}, "a", "a"),  # noqa: UP045
        (list[int], {"type": "array", "items": {"type": "integer"}}, [1, 2], [1, 2]),
        (set[int], {"type": "array", "items": {"type": "integer"}}, [1, 1], {1}),
        (dict[str, float], {"type": "object", "additionalProperties": {"type": "number"}}, {"a": 1}, {"a": 1.0}),
        (date, {"type": "string", "format": "date"}, "2026-01-31", date(2026, 1, 31)),
        (UUID, {"type": "string", "format": "uuid"}, "0" * 32, UUID(int=0)),
        (Path, {"type": "string"}, "a/b", Path("a/b")),
        (Literal["a", 1], {"enum": ["a", 1]}, 1, 1),
        (Annotated[int, Field(ge=1, le=9)], {"type": "integer", "minimum": 1, "maximum": 9}, 4, 4),
        (Any, {}, {"a": [1]}, {"a": [1]}),
    ],
)
def test_a_type_has_its_schema_and_its_value(annotation: Any, schema: Any, given: Any, arrives: Any) -> None:
    def take(it: Any) -> Any:
        return it

    take.__annotations__["it"] = annotation
    assert properties(take) == {"it": schema}
    assert called(take, it=given) == arrives


def test_models_dataclasses_and_enums_arrive_as_such() -> None:
    def draw(at: Place, size: Size, colour: Colour, options: Options) -> Any:
        return at, size, colour, options

    arrived = called(draw, at={"x": 1}, size={"width": 2}, colour="blue", options={"deep": True})
    assert arrived == (Place(x=1), Size(2), Colour.BLUE, {"deep": True})


def test_a_model_inside_a_model_is_described_once() -> None:
    def plant(tree: Tree) -> int:
        return len(tree.children)

    schema = tool(plant).parameters
    assert schema["properties"] == {"tree": {"$ref": "#/$defs/Tree"}}
    assert set(schema["$defs"]["Tree"]["properties"]) == {"value", "children"}
    assert called(plant, tree={"value": 1, "children": [{"value": 2}]}) == 1


def test_nothing_in_a_schema_asks_for_what_a_reply_cannot_be_held_to() -> None:
    def take(price: Annotated[Decimal, Field(max_digits=5)], title: str, where: Path, options: set[str]) -> None: ...

    schema = json.dumps(tool(take).parameters)
    assert "uniqueItems" not in schema
    assert "(?!" not in schema
    assert '"path"' not in schema
    assert set(properties(take)) == {"price", "title", "where", "options"}, "a parameter may be called `title`"


# ── parameters ───────────────────────────────────────────────────────────────────────────────────────────────────────

MISSING = object()


def test_a_default_is_the_functions_own() -> None:
    def f(a: int, b: Any = MISSING, c: list[int] = [], /, *, d: date | None = None) -> Any:  # noqa: B006
        return a, b is MISSING, c, d

    assert tool(f).parameters["required"] == ["a"]
    assert called(f, a=1) == (1, True, [], None)
    assert called(f, a=1, c=[2], d="2026-01-31") == (1, True, [2], date(2026, 1, 31))


def test_a_default_may_be_in_a_field() -> None:
    def f(a: int = Field(3, description="How many"), b: Annotated[int, Field(default=4)] = Field()) -> Any:
        return a, b

    assert properties(f)["a"] == {"type": "integer", "default": 3, "description": "How many"}
    assert called(f) == (3, 4)


def test_names_that_pydantic_keeps_for_itself_are_names_like_others() -> None:
    def f(model_config: str, json: int, _private: bool = False, self: str = "", copy: str = "") -> Any:
        return model_config, json, _private, self, copy

    assert called(f, model_config="a", json=1, _private=True, self="s") == ("a", 1, True, "s", "")


def test_an_alias_in_the_annotation_does_not_rename_a_parameter() -> None:
    def f(a: Annotated[int, Field(alias="b", validation_alias="c")]) -> int:
        return a

    assert list(properties(f)) == ["a"]
    assert called(f, a=1) == 1


class Shop:
    def __init__(self, name: str) -> None:
        self.name = name

    def price(self, thing: str) -> str:
        """What a thing costs."""
        return f"{thing} at {self.name}"

    async def order(self, thing: str) -> None:
        """Orders a thing."""

    @staticmethod
    def hours(day: int) -> int:
        return day

    @classmethod
    def open(cls, name: str) -> str:
        return cls(name).name


def test_methods_are_functions_too() -> None:
    shop = Shop("Ada's")
    assert tool(shop.price).description == "What a thing costs."
    assert called(shop.price, thing="Tea") == "Tea at Ada's"
    assert called(Shop.hours, day=1) == 1
    assert called(Shop.open, name="Bo's") == "Bo's"
    assert tool(shop.order).name == "order"


def test_what_a_partial_has_bound_is_hidden_from_the_model() -> None:
    def fetch(path: str, token: str, limit: int = 3) -> str:
        """Fetches."""
        return f"{path} {token} {limit}"

    by_name = functools.partial(fetch, token="secret", limit=5)
    by_place = functools.partial(fetch, "/home")

    assert (tool(by_name).name, tool(by_name).description) == ("fetch", "Fetches.")
    assert "secret" not in json.dumps(tool(by_name).as_openai())
    assert list(properties(by_name)) == ["path"]
    assert called(by_name, path="/") == "/ secret 5"
    assert called(by_place, token="t") == "/home t 3"


def test_a_decorated_function_keeps_its_signature() -> None:
    def twice(function: Callable[..., str]) -> Callable[..., str]:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> str:
            return function(*args, **kwargs) * 2

        return run

    assert called(twice(get_weather), city="Rome") == "Rome in cRome in c"


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────────────────────


def many(*cities: str) -> None: ...
def anything(**options: str) -> None: ...
def untyped(city) -> None: ...  # type: ignore[no-untyped-def]
def half_typed(city: str, unit="c") -> None: ...  # type: ignore[no-untyped-def]
def odd(thing: Unknown) -> None: ...
def callback(then: Callable[[int], int]) -> None: ...
def nowhere(thing: NotThere) -> None: ...  # type: ignore[name-defined]  # noqa: F821
def grüße(name: str) -> None: ...
def numbers(upto: int) -> Iterator[int]:
    yield upto


async def more_numbers(upto: int) -> AsyncIterator[int]:
    yield upto


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (many, r"many takes \*cities"),
        (anything, r"anything takes \*\*options"),
        (untyped, "untyped says no type for its parameter 'city'"),
        (half_typed, "half_typed says no type for its parameter 'unit'"),
        (Shop.price, "price says no type for its parameter 'self'"),
        (odd, "odd has a type that pydantic cannot check: .*Unknown"),
        (callback, "callback has a type that JSON has no form for"),
        (nowhere, "nowhere has a type that cannot be found where it was defined: .*NotThere"),
        (grüße, "grüße cannot be told to the model: name"),
        (numbers, "numbers yields"),
        (more_numbers, "more_numbers yields"),
        (lambda city: city, "a lambda has no name"),
        (Shop, "Shop.* is no function"),
        (functools.partial(lambda city: city), "a lambda has no name"),
        (3, "3 is no function"),
    ],
)
def test_what_cannot_be_told_to_the_model_is_refused_with_the_reason(function: Any, why: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^tools: .*{why}"):
        tool(function)


def test_a_return_type_that_is_nowhere_to_be_found_does_no_harm() -> None:
    def f(a: int) -> NotThere:  # type: ignore[name-defined]  # noqa: F821
        return a

    assert called(f, a=1) == 1


# ── arguments ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("{}", "city: Field required"),
        ('{"city": 3}', "city: Input should be a valid string"),
        ('{"city": "a", "unit": "k"}', "unit: Input should be 'c' or 'f'"),
        ('{"city": "a", "when": "now"}', "when: Extra inputs are not permitted"),
        ('{"city": "a"', "Invalid JSON"),
        ("[]", "Input should be an object"),
        ("nonsense", "Invalid JSON"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_in_words_for_the_model(arguments: str, complaint: str) -> None:
    with pytest.raises(ArgumentsDoNotFit, match=f"^{complaint}"):
        tool(get_weather).bind(arguments)


def test_not_more_is_said_of_wrong_arguments_than_helps() -> None:
    with pytest.raises(ArgumentsDoNotFit) as refused:
        tool(get_weather).bind(json.dumps({f"x{number}": number for number in range(100)}))
    assert len(str(refused.value)) < 500


def test_numbers_that_models_write_as_text_are_taken_as_numbers() -> None:
    def add(a: int, b: float) -> float:
        return a + b

    assert called(add, a="1", b="2.5") == 3.5


# ── the option ───────────────────────────────────────────────────────────────────────────────────────────────────────

SPEC: dict[str, Any] = {"type": "function", "function": {"name": "look_up"}}


def test_functions_and_tools_of_functions_go_together() -> None:
    made = checked_tools([get_weather, tool(Shop.hours)])
    assert [each.name for each in made] == ["get_weather", "hours"]
    assert all(isinstance(each, PythonTool) for each in made)


def test_what_the_caller_runs_is_left_as_it_is() -> None:
    assert checked_tools([SPEC, ToolSpec(name="a")]) == (SPEC, ToolSpec(name="a"))
    assert checked_tools("nonsense") == "nonsense", "the request refuses it, by its place"


@pytest.mark.parametrize("mix", [[get_weather, SPEC], [ToolSpec(name="a"), tool(get_weather)]])
def test_a_mix_is_refused(mix: list[Any]) -> None:
    with pytest.raises(InvalidRequest, match="either all are functions"):
        checked_tools(mix)


def test_a_lone_function_is_refused_with_what_to_write() -> None:
    with pytest.raises(InvalidRequest, match=r"must be a list, such as \[get_weather\]"):
        checked_tools(get_weather)
