"""From a caller's schema to the one that a reply is held to: what is kept, left out and refused, and where."""

from __future__ import annotations

import datetime
import enum
import pathlib
import uuid
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from llm_core.errors import InvalidRequest
from llm_core.structured_output.complaints import complaint_of
from llm_core.structured_output.limits import Budget, HeldSchema
from llm_core.structured_output.schema import hold
from llm_core.structured_output.serialize import text_of

PLACE = "tools.0.function.parameters"


def held(schema: dict[str, Any], *, strict: bool = False, must_be_object: bool = False) -> HeldSchema:
    found = hold(schema, PLACE, Budget(), strict=strict, must_be_object=must_be_object)
    assert complaint_of(text_of(found, found.root)) is None
    return found


def property_of(schema: dict[str, Any], *, strict: bool = False) -> Any:
    """What is held of one property's schema."""
    root = held({"type": "object", "properties": {"x": schema}}, strict=strict).root
    assert isinstance(root, dict)
    return root["properties"]["x"]


def refusal(schema: dict[str, Any], *, strict: bool = False, must_be_object: bool = False) -> str:
    """Where a schema is refused, below `PLACE`."""
    with pytest.raises(InvalidRequest) as refused:
        hold(schema, PLACE, Budget(), strict=strict, must_be_object=must_be_object)
    assert refused.value.param is not None
    assert refused.value.message.startswith(f"{refused.value.param}: ")
    return refused.value.param.removeprefix(PLACE).removeprefix(".")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Circle(BaseModel):
    kind: Literal["circle"]
    radius: float = Field(gt=0, le=100)


class Label(BaseModel):
    kind: Literal["label"]
    text: str = Field(min_length=1, max_length=40, pattern="^[A-Z]")


class Node(BaseModel):
    """A tree."""

    name: str
    children: list[Node] = []
    parent: Node | None = Field(None, description="None for the root")


class Drawing(BaseModel):
    """As pydantic writes schemas: `$defs`, `anyOf` with null, `prefixItems`, a discriminator, formats, defaults."""

    when: datetime.datetime
    id: uuid.UUID = Field(title="Id", examples=["x"])
    colour: Colour = Colour.RED
    shape: Annotated[Circle | Label, Field(discriminator="kind")]
    at: tuple[int, float]
    sizes: dict[str, float]
    tree: Node
    file: pathlib.Path
    note: str | None = None


MCP_TOOL = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "title": "search_issues",
    "properties": {
        "query": {"type": "string", "description": "What to look for", "maxLength": 65536, "minLength": 1},
        "labels": {"type": "array", "items": {"type": "string"}, "uniqueItems": True, "default": []},
        "since": {"type": "string", "format": "date-time"},
        "page": {"type": "number", "minimum": 1, "default": 1},
        "perPage": {"type": "integer", "exclusiveMinimum": 0, "maximum": 100, "format": "int32"},
        "sort": {"enum": ["created", "updated"], "x-order": 4},
        "path": {"type": "string", "pattern": "^(?!/).+$"},
        "fields": {"type": "object", "propertyNames": {"pattern": "^[a-z]+$"}, "additionalProperties": True},
        "target": {"oneOf": [{"$ref": "#/definitions/repo"}, {"type": "string"}]},
    },
    "required": ["query"],
    "additionalProperties": False,
    "definitions": {"repo": {"type": "object", "properties": {"owner": {"type": "string"}}, "nullable": True}},
}


class TestWhatToolsShip:
    def test_a_schema_of_pydantic_can_be_held(self) -> None:
        schema = Drawing.model_json_schema()

        held(schema, must_be_object=True)
        held(schema, strict=True)

    def test_a_recursive_schema_can_be_held(self) -> None:
        assert held(Node.model_json_schema(), must_be_object=True, strict=True).definitions

    def test_a_schema_of_an_mcp_server_can_be_held(self) -> None:
        root = held(MCP_TOOL, must_be_object=True).root

        assert isinstance(root, dict)
        assert list(root["properties"]) == list(MCP_TOOL["properties"])  # type: ignore[call-overload]
        assert root["properties"]["path"] == {"type": "string"}, "a pattern that looks ahead cannot be held"
        assert root["properties"]["labels"] == {"type": "array", "items": {"type": "string"}}

    @pytest.mark.parametrize(
        "schema", [{}, {"type": "object"}, {"properties": {}}, {"$ref": "#/$defs/a", "$defs": {"a": {}}}]
    )
    def test_arguments_are_an_object_even_where_the_schema_does_not_say_so(self, schema: dict[str, Any]) -> None:
        root = held(schema, must_be_object=True).root

        assert isinstance(root, dict)
        assert root["type"] == "object"

    def test_annotations_are_left_out(self) -> None:
        schema = {
            "type": "string",
            "description": "d",
            "title": "t",
            "default": [[[]]],
            "examples": [1],
            "$comment": "c",
        }

        assert property_of(schema) == {"type": "string"}
        assert property_of(schema | {"x-guidance": {"whitespace_pattern": "(a+)+"}}) == {"type": "string"}

    def test_an_unknown_format_is_an_annotation(self) -> None:
        assert property_of({"type": "string", "format": "path"}, strict=True) == {"type": "string"}
        assert property_of({"type": "string", "format": "uri"}, strict=True) == {"type": "string", "format": "uri"}

    def test_a_maximum_that_no_reply_reaches_is_left_out(self) -> None:
        assert property_of({"type": "string", "maxLength": 65536}) == {"type": "string"}
        assert property_of({"type": "string", "maxLength": 5000}) == {"type": "string", "maxLength": 5000}
        assert property_of({"type": "array", "maxItems": 10**30}) == {"type": "array"}

    def test_a_type_is_read_from_what_is_said_about_it(self) -> None:
        assert property_of({"minLength": 1})["type"] == "string"
        assert property_of({"items": {"type": "integer"}})["type"] == "array"
        assert property_of({"properties": {"a": {}}})["type"] == "object"
        assert "type" not in property_of({"minLength": 1, "minimum": 3})

    def test_older_drafts_are_understood(self) -> None:
        assert property_of({"type": "integer", "minimum": 1, "exclusiveMinimum": True}) == {
            "type": "integer",
            "exclusiveMinimum": 1,
        }
        assert property_of({"additionalItems": False, "items": [{"type": "integer"}]}) == {
            "prefixItems": [{"type": "integer"}],
            "items": False,
            "type": "array",
        }
        assert property_of({"type": "object", "properties": {"a": {"type": "string", "required": True}}})[
            "properties"
        ] == {"a": {"type": "string"}}


class TestNamesThatWereNotGiven:
    def test_they_are_left_out_where_the_schema_leaves_them_open(self) -> None:
        assert property_of({"type": "object", "properties": {"a": {}}})["additionalProperties"] is False
        assert "additionalProperties" not in property_of({"type": "object"})
        assert property_of({"properties": {"a": {}}, "additionalProperties": True})["additionalProperties"] is True

    def test_they_stay_where_others_may_name_them(self) -> None:
        base = {"type": "object", "properties": {"a": {"type": "string"}}}
        extended = {"allOf": [base, {"properties": {"b": {"type": "string"}}, "required": ["b"]}]}

        assert "additionalProperties" not in property_of(extended)["allOf"][0]
        assert "additionalProperties" not in property_of(base | {"required": ["z"]})

    def test_a_choice_of_what_is_required_adds_no_names(self) -> None:
        schema = {
            "type": "object",
            "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
            "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
        }
        assert property_of(schema)["additionalProperties"] is False

    def test_the_same_definition_may_be_open_here_and_closed_there(self) -> None:
        schema = {
            "type": "object",
            "properties": {
                "one": {"$ref": "#/$defs/a"},
                "two": {"allOf": [{"$ref": "#/$defs/a"}, {"required": ["b"]}]},
            },
            "$defs": {"a": {"type": "object", "properties": {"x": {"type": "string"}}}},
        }
        closed = [
            "additionalProperties" in each for each in held(schema).definitions.values() if isinstance(each, dict)
        ]

        assert sorted(closed) == [False, True]


class TestRefs:
    @pytest.mark.parametrize(
        "ref",
        [
            "http://169.254.169.254/x.json",
            "file:///etc/passwd",
            "other.json#/a",
            "#anchor",
            "",
        ],
    )
    def test_one_that_leads_elsewhere_is_not_followed(self, ref: str) -> None:
        schema = {"type": "object", "properties": {"city": {"$ref": ref}}}

        assert refusal(schema, strict=True) == "properties.city.$ref"
        assert property_of({"$ref": ref}) == {}
        assert held(schema).left_out
        assert held({"$ref": ref}, must_be_object=True).root == {"type": "object"}

    @pytest.mark.parametrize("ref", ["#/$defs/none", "#/a/0", 5])
    def test_one_that_leads_nowhere_is_refused_where_it_stands(self, ref: object) -> None:
        assert refusal({"type": "object", "properties": {"city": {"$ref": ref}}}) == "properties.city.$ref"

    def test_a_circle_with_something_beside_its_ref_is_held_to_its_type(self) -> None:
        node = {"type": "object", "properties": {"x": {"$ref": "#/$defs/n", "type": "object", "minProperties": 1}}}
        schema = {"$ref": "#/$defs/n", "$defs": {"n": node}}

        found = held(schema)

        assert found.left_out
        assert isinstance(found.root, dict)
        assert found.root["properties"] == {"x": {"type": "object"}}

    def test_one_may_lead_anywhere_in_the_schema(self) -> None:
        schema = {
            "type": "object",
            "properties": {
                "a/b~c": {"enum": [1]},
                "x": {"$ref": "#/properties/a~1b~0c"},
                "y": {"$ref": "#/properties/a~1b%7E0c"},
            },
        }
        assert list(held(schema).definitions.values()) == [{"enum": [1]}]

    def test_one_that_leads_to_itself_alone_is_refused(self) -> None:
        defs = {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a", "description": "again"}}

        assert refusal({"properties": {"x": {"$ref": "#/$defs/a"}}, "$defs": defs}) == "$defs.a.$ref"
        assert refusal({"$ref": "#"}) == "$ref"

    def test_what_must_contain_itself_is_refused(self) -> None:
        node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}, "required": ["next"]}
        rows = {"type": "array", "items": {"$ref": "#/$defs/rows"}, "minItems": 1}

        asked = {"properties": {"x": {"$ref": "#/$defs/x"}}, "required": ["x"]}
        assert refusal(asked | {"$defs": {"x": node | {"properties": {"next": {"$ref": "#/$defs/x"}}}}}) == "$defs.x"
        assert refusal(asked | {"$defs": {"x": rows | {"items": {"$ref": "#/$defs/x"}}}}) == "$defs.x"
        held({"properties": {"x": {"$ref": "#/$defs/node"}}, "$defs": {"node": node | {"required": []}}})

    def test_what_must_contain_itself_and_need_not_be_there_is_left_out(self) -> None:
        node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}, "required": ["next"]}

        found = held({"properties": {"x": {"$ref": "#/$defs/node"}}, "$defs": {"node": node}})

        assert isinstance(found.root, dict)
        assert (found.root["properties"], found.definitions) == ({"x": False}, {})


class TestWhatIsNoSchema:
    @pytest.mark.parametrize(
        ("schema", "place"),
        [
            ("text", ""),
            (["a"], ""),
            ({"type": "text"}, ".type"),
            ({"type": []}, ".type"),
            ({"properties": []}, ".properties"),
            ({"properties": {"a": 5}}, ".properties.a"),
            ({"required": "a"}, ".required"),
            ({"items": "string"}, ".items"),
            ({"anyOf": {}}, ".anyOf"),
            ({"oneOf": []}, ".oneOf"),
            ({"allOf": [{}, 7]}, ".allOf.1"),
            ({"enum": []}, ".enum"),
            ({"enum": "abc"}, ".enum"),
            ({"minLength": -1}, ".minLength"),
            ({"minLength": 1.5}, ".minLength"),
            ({"maxItems": True}, ".maxItems"),
            ({"pattern": 5}, ".pattern"),
            ({"format": ["date"]}, ".format"),
            ({"minimum": "1"}, ".minimum"),
            ({"minimum": True}, ".minimum"),
            ({"multipleOf": 0}, ".multipleOf"),
            ({"multipleOf": -2}, ".multipleOf"),
        ],
        ids=str,
    )
    def test_it_is_refused_where_it_stands(self, schema: Any, place: str) -> None:
        assert refusal({"properties": {"x": schema}}) == f"properties.x{place}"

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", {1}, b"x"], ids=repr)
    def test_a_value_that_json_has_not_is_refused(self, value: object) -> None:
        assert refusal({"const": value}) == ""

    def test_arguments_that_are_no_object_are_refused(self) -> None:
        assert refusal({"type": "string"}, must_be_object=True) == ""
        assert refusal({"type": ["array", "null"]}, must_be_object=True) == ""


class TestStrict:
    @pytest.mark.parametrize(
        ("schema", "place"),
        [
            ({"type": "array", "uniqueItems": True}, "uniqueItems"),
            ({"type": "string", "not": {"const": "a"}}, "not"),
            ({"if": {"type": "string"}, "then": {"minLength": 1}}, "if"),
            ({"type": "object", "propertyNames": {"pattern": "a"}}, "propertyNames"),
            ({"type": "object", "unevaluatedProperties": False}, "unevaluatedProperties"),
            ({"$dynamicRef": "#a"}, "$dynamicRef"),
            ({"type": "string", "pattern": "^(?=a)"}, "pattern"),
            ({"type": "string", "pattern": r"\bword\b"}, "pattern"),
            ({"type": "string", "pattern": "("}, "pattern"),
            ({"type": "string", "pattern": "a" * 2_000}, "pattern"),
            ({"minProperties": 5, "properties": {"a": {}, "b": {}, "c": {}}}, "minProperties"),
            ({"type": "string", "minLength": 100_000}, "minLength"),
            ({"type": "number", "multipleOf": 0.1234567}, "multipleOf"),
        ],
        ids=lambda case: case if isinstance(case, str) else "",
    )
    def test_what_cannot_be_held_is_refused_in_an_answer_and_left_out_of_arguments(
        self, schema: dict[str, Any], place: str
    ) -> None:
        wrapped = {"type": "object", "properties": {"x": schema}}

        assert refusal(wrapped, strict=True) == f"properties.x.{place}"
        assert place not in property_of(schema)
        (said,) = held(wrapped).left_out
        assert said.startswith(f"{PLACE}.properties.x.{place}: ")

    @pytest.mark.parametrize(
        "choices",
        [
            [{"type": "string"}, {"type": "integer"}, {"type": "null"}],
            [{"const": 1}, {"enum": [2, "1"]}],
            [
                {"type": "object", "properties": {"t": {"const": "a"}}, "required": ["t"]},
                {"type": "object", "properties": {"t": {"enum": ["b", "c"]}, "u": {}}, "required": ["u", "t"]},
            ],
            [
                {"type": "object", "properties": {"u": {"type": "string"}}, "required": ["u"]},
                {"type": "object", "properties": {"u": {"type": "array"}}, "required": ["u"]},
            ],
        ],
        ids=["types", "constants", "tags", "types of a property"],
    )
    def test_a_one_of_whose_choices_exclude_each_other_can_be_held(self, choices: list[Any]) -> None:
        assert len(property_of({"oneOf": choices}, strict=True)["anyOf"]) == len(choices)
        assert len(property_of({"oneOf": choices, "anyOf": [{}, {"title": "x"}]}, strict=True)["allOf"]) == 1

    @pytest.mark.parametrize(
        "choices",
        [
            [{"type": "integer"}, {"type": "number"}],
            [{"const": 1}, {"enum": [1.0]}],
            [{"type": "string"}, {"minLength": 3}],
            [{"type": "object", "properties": {"t": {"const": each}}} for each in "ab"],
            [{"properties": {"t": {"const": each}}, "required": ["t"]} for each in "aa"],
            [{}, {"type": "null"}],
        ],
        ids=["numbers", "one number", "strings", "tags that may be missing", "equal tags", "anything"],
    )
    def test_another_one_of_cannot_be_held(self, choices: list[Any]) -> None:
        assert refusal({"properties": {"x": {"oneOf": choices}}}, strict=True) == "properties.x.oneOf"
        assert len(property_of({"oneOf": choices})["anyOf"]) == len(choices)

    def test_what_asks_for_nothing_is_no_reason_to_refuse(self) -> None:
        schema = {"type": "array", "uniqueItems": False, "items": {}, "unevaluatedItems": True}

        assert property_of(schema, strict=True) == {"type": "array", "items": {}}

    @pytest.mark.parametrize(
        ("schema", "place"),
        [
            ({"type": "string", "pattern": "^a{5}$", "minLength": 6}, "pattern"),
            ({"type": "string", "format": "date", "maxLength": 3}, "format"),
            ({"type": "object", "minProperties": 3, "maxProperties": 2}, "minProperties"),
        ],
        ids=lambda case: case if isinstance(case, str) else "",
    )
    def test_what_nothing_fits_is_refused_in_arguments_too(self, schema: dict[str, Any], place: str) -> None:
        assert refusal({"properties": {"x": schema}}) == f"properties.x.{place}"
