"""From a function to a tool: its name, docstring and annotations become the schema, and JSON becomes its arguments."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Iterable, Mapping
from types import SimpleNamespace
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, create_model
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaWarningKind

from llm_core.complaints import invalid_request
from llm_core.errors import InvalidRequest
from llm_core.tool_spec import JsonSchema, ToolSpec
from llm_core.tools.docstring import described
from llm_core.tools.runnable import ArgumentsDoNotFit, RunnableTool

MAX_COMPLAINTS = 5  # about one call's arguments: more would only fill the context

Function = Callable[..., Any]


class PythonTool(RunnableTool):
    """A function that the model may call, and that is run here. Made by `tool`."""

    _function: Function = PrivateAttr()
    _parameters: tuple[inspect.Parameter, ...] = PrivateAttr()
    _arguments: type[BaseModel] = PrivateAttr()

    @classmethod
    def of(cls, function: Function, *, name: str | None = None, description: str | None = None) -> PythonTool:
        """The tool that a function is.

        Raises:
            InvalidRequest: It cannot be one; the message says why.
        """
        inner = function.func if isinstance(function, functools.partial) else function
        own_name = _checked_name(inner)
        words = described(inspect.getdoc(inner))
        parameters = _parameters(function, own_name)
        model = _arguments_model(function, own_name, parameters, words.arguments)
        try:
            made = cls(
                name=name or own_name,
                description=words.about if description is None else description,
                parameters=_schema(model, own_name),
            )
        except ValidationError as error:
            raise _refusal(own_name, f"cannot be told to the model: {invalid_request(error).message}") from None
        made._function, made._parameters, made._arguments = function, parameters, model
        return made

    def bind(self, arguments: str) -> Callable[[], Any]:
        try:
            given = self._arguments.model_validate_json(arguments.strip() or "{}")
        except ValidationError as error:
            raise ArgumentsDoNotFit(_complaints(error)) from None
        by_place: list[Any] = []
        by_name: dict[str, Any] = {}
        for number, parameter in enumerate(self._parameters):
            value = _value(given, _field(number), parameter)
            if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
                by_place.append(value)
            else:
                by_name[parameter.name] = value
        return functools.partial(self._function, *by_place, **by_name)


def tool(function: Function, *, name: str | None = None, description: str | None = None) -> PythonTool:
    """A function as a tool, where its own name or docstring will not do.

    Args:
        function: A typed function or method, sync or async. What `functools.partial` has bound by name is hidden from
            the model.
        name: None takes the function's.
        description: What the model reads; None takes the docstring up to its first section.

    Raises:
        InvalidRequest: The function cannot be a tool; the message says why.

    Example:
        ```python
        client.chat(messages, tools=[tool(search, name="web_search", description="Searches the web."), get_weather])
        ```
    """
    return PythonTool.of(function, name=name, description=description)


def checked_tools(tools: Any) -> Any:
    """The option `tools` with functions made into `PythonTool`s. What holds no function comes back as it is.

    Raises:
        InvalidRequest: A function cannot be a tool, or only some of the tools are functions.
    """
    if callable(tools):
        raise InvalidRequest("tools: must be a list, such as [get_weather]", param="tools")
    if isinstance(tools, (str, bytes, Mapping, ToolSpec)) or not isinstance(tools, Iterable):
        return tools
    given = tuple(tools)
    run_here = [isinstance(each, PythonTool) or callable(each) for each in given]
    if not any(run_here):
        return given
    if not all(run_here):
        raise InvalidRequest(
            "tools: either all are functions, which are run here, or none is, and you run what is called", param="tools"
        )
    return tuple(each if isinstance(each, PythonTool) else PythonTool.of(each) for each in given)


# ── the signature ────────────────────────────────────────────────────────────────────────────────────────────────────


def _checked_name(function: Function) -> str:
    """The function's name, where it is a function that gives something back."""
    name = getattr(function, "__name__", None)
    if not isinstance(name, str) or inspect.isclass(function):
        raise _refusal(repr(function)[:100], "is no function; give a function or a method")
    if name == "<lambda>":
        raise _refusal("a lambda", "has no name and no types for the model to read; define a function")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise _refusal(name, "yields, and a tool has to return one result")
    return name


def _parameters(function: Function, name: str) -> tuple[inspect.Parameter, ...]:
    """The parameters that the model fills in."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        raise _refusal(name, "has no signature that Python can read; wrap it in a typed function") from None
    bound = function.keywords if isinstance(function, functools.partial) else {}
    parameters = tuple(each for each in signature.parameters.values() if each.name not in bound)
    for each in parameters:
        if each.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            raise _refusal(name, f"takes {each}, and a model has to know each parameter by name and type")
        if each.annotation is inspect.Parameter.empty:
            raise _refusal(name, f"says no type for its parameter {each.name!r}")
    return parameters


def _annotations(function: Function, name: str, parameters: Iterable[inspect.Parameter]) -> dict[str, Any]:
    """The types of the parameters, those that are written as text resolved. What is returned may be of any type."""
    written = SimpleNamespace(__annotations__={each.name: each.annotation for each in parameters})
    inner: Any = inspect.unwrap(function.func if isinstance(function, functools.partial) else function)
    try:
        return typing.get_type_hints(written, getattr(inner, "__globals__", {}), include_extras=True)
    except Exception as error:  # an annotation is code, which can fail in any way
        raise _refusal(name, f"has a type that cannot be found where it was defined: {error}") from None


def _arguments_model(
    function: Function, name: str, parameters: tuple[inspect.Parameter, ...], descriptions: Mapping[str, str]
) -> type[BaseModel]:
    """A model of the arguments. Its fields are known by alias: a parameter's name may be one that pydantic forbids."""
    annotations = _annotations(function, name, parameters)
    fields: dict[str, Any] = {
        _field(number): _definition(each, annotations[each.name], descriptions.get(each.name))
        for number, each in enumerate(parameters)
    }
    try:
        return create_model(name, __config__=ConfigDict(extra="forbid"), **fields)
    except (PydanticUserError, TypeError) as error:
        raise _refusal(name, f"has a type that pydantic cannot check: {_first_sentence(error)}") from None


def _definition(parameter: inspect.Parameter, annotation: Any, description: str | None) -> Any:
    """A field's type and default. What the annotation says of it counts more than the docstring."""
    metadata: tuple[Any, ...] = ()
    if typing.get_origin(annotation) is Annotated:
        metadata, annotation = annotation.__metadata__, annotation.__origin__
    default = parameter.default
    if isinstance(default, FieldInfo):
        metadata, default = (*metadata, default), inspect.Parameter.empty
    facts = (Field(description=description), *metadata, Field(alias=parameter.name))
    annotated = Annotated[(annotation, *facts)]
    return annotated if default is inspect.Parameter.empty else (annotated, default)


def _field(number: int) -> str:
    return f"p{number}"


def _value(given: BaseModel, field: str, parameter: inspect.Parameter) -> Any:
    """What the parameter gets. A default of the function is passed as it is, so that it may be compared by identity."""
    has_own = parameter.default is not inspect.Parameter.empty and not isinstance(parameter.default, FieldInfo)
    return parameter.default if has_own and field not in given.model_fields_set else getattr(given, field)


# ── the schema ───────────────────────────────────────────────────────────────────────────────────────────────────────


class _Schema(GenerateJsonSchema):
    def emit_warning(self, kind: JsonSchemaWarningKind, detail: str) -> None:
        """Nothing to say of a default that has no JSON form: the function has it all the same."""


def _schema(model: type[BaseModel], name: str) -> JsonSchema:
    try:
        return _lean(model.model_json_schema(schema_generator=_Schema))
    except PydanticUserError as error:
        raise _refusal(name, f"has a type that JSON has no form for: {_first_sentence(error)}") from None


def _lean(schema: JsonSchema) -> JsonSchema:
    """A schema without what a reply cannot be held to while it is made, and is checked afterwards anyway, and without
    titles, which say nothing that the names do not."""
    lean: JsonSchema = {}
    for key, value in schema.items():
        match key, value:
            case ("title" | "uniqueItems", _):
                continue
            case ("format", str()) if value not in _HOLDABLE_FORMATS:
                continue
            case ("pattern", str()) if "(?!" in value:  # pydantic's own, for decimals: look-ahead
                continue
            case ("properties" | "$defs", dict()):
                lean[key] = {name: _lean(each) for name, each in value.items()}
            case (_, dict()) if key not in _VALUES:
                lean[key] = _lean(value)
            case (_, list()) if key not in _VALUES:
                lean[key] = [_lean(each) if isinstance(each, dict) else each for each in value]
            case _:
                lean[key] = value
    return lean


_HOLDABLE_FORMATS = frozenset({"date", "date-time", "duration", "email", "ipv4", "ipv6", "time", "uri", "uuid"})
_VALUES = frozenset({"const", "default", "enum", "examples"})  # whose dicts and lists are no schemas


# ── what is said of what does not fit ────────────────────────────────────────────────────────────────────────────────


def _complaints(error: ValidationError) -> str:
    complaints = []
    for each in error.errors(include_url=False, include_context=False, include_input=False)[:MAX_COMPLAINTS]:
        where = ".".join(str(part) for part in each["loc"])
        complaints.append(f"{where}: {each['msg']}" if where else each["msg"])
    return "; ".join(complaints)


def _first_sentence(error: Exception) -> str:
    """What pydantic says; the rest is advice for those who use it themselves."""
    return str(error).partition("\n")[0].partition(". ")[0]


def _refusal(name: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"tools: {name} {why}", param="tools")
