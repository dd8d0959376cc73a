"""From pydantic's errors to problems: the path as written, the value, and the fix."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from noria.errors import Problem, shorten
from noria.spec.families import field_type, installed
from noria.spec.words import choose, meant_or_choose

_WANTED: Final = {
    "int": "write a whole number",
    "float": "write a number",
    "bool": "write true or false",
    "string": "write text, in quotes",
    "tuple": "write a list: [a, b]",
    "dict": "write a mapping: {key: value}",
    "model": "write a mapping: {key: value}",
}
_KINDS: Final = (
    (bool, "true or false"),
    (str, "text"),
    (int, "a whole number"),
    (float, "a number"),
    (Mapping, "a mapping"),
    (Sequence, "a list"),
)


def explain(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """Return every problem of a validation error.

    Args:
        error: What pydantic raised.
        model: The class that was validated.
    """
    found = error.errors(include_url=False)
    # A list whose items are refused is also too short for pydantic; that is no news.
    within = {details["loc"][:-1] for details in found}
    return [
        problem
        for details in found
        if details["type"] != "too_short" or details["loc"] not in within
        for problem in _of(details, model)
    ]


def _of(details: ErrorDetails, model: type[BaseModel]) -> Iterator[Problem]:
    kind = details["type"]
    context: dict[str, Any] = details.get("ctx", {})
    if kind == "noria_rules":
        yield from context["problems"]
        return
    place = _Place(model)
    for step in details["loc"]:
        place.enter(step)
    if kind == "noria":
        path = f"{place.path}.{context['key']}" if context["key"] else place.path
        yield Problem(path, context["said"], context["fix"])
    elif kind == "extra_forbidden":
        fix = meant_or_choose(place.name, place.keys())
        said = f"is an unknown key, with the value {_written(details['input'])}"
        yield Problem(place.path, said, fix)
    elif kind == "missing":
        yield Problem(place.path, "is missing", place.example())
    elif kind in ("union_tag_not_found", "union_tag_invalid"):
        yield _family(place, details["input"])
    else:
        yield Problem(place.path, *_refusal(kind, details["input"], context, details["msg"]))


def _family(place: _Place, value: object) -> Problem:
    path = f"{place.path}.family"
    if not isinstance(value, Mapping) or "family" not in value:
        return Problem(path, "is missing", choose(place.tags()))
    return Problem(path, *installed().unknown(value["family"]))


class _Place:
    """Where an error is: walks the classes along pydantic's location."""

    def __init__(self, model: type[BaseModel]) -> None:
        self.path = ""
        self.name = ""
        self._type: Any = model
        self._parent: type[BaseModel] | None = None

    def enter(self, step: str | int) -> None:
        """Go one step down: a key, an index, or the tag of a union, which is no place."""
        here = _plain(self._type)
        if isinstance(step, int):
            self.path = f"{self.path}[{step}]"
            self._type = get_args(here)[0] if get_origin(here) is tuple else None
        elif _is_section(here):
            self._parent = here
            self._key(step)
            found = (f for name, f in here.model_fields.items() if step in (f.alias, name))
            field = next(found, None)
            self._type = field_type(field) if field else None
        elif tagged := [kind for kind in _sections(here) if _tag(kind) == step]:
            self._type = tagged[0]
        elif step != "[key]":
            self._key(step)
            self._type = get_args(here)[1] if get_origin(here) is dict else None

    def _key(self, key: str) -> None:
        self.name = key
        self.path = f"{self.path}.{key}" if self.path else key

    def keys(self) -> list[str]:
        """Return the keys that the section has."""
        fields = self._parent.model_fields if self._parent else {}
        return [field.alias or name for name, field in fields.items()]

    def tags(self) -> list[str]:
        """Return the families of the union."""
        return [_tag(kind) for kind in _sections(self._type)]

    def example(self) -> str:
        """Return the fix for a missing key."""
        fields = self._parent.model_fields if self._parent else {}
        for name, field in fields.items():
            if self.name in (field.alias, name):
                kind = _plain(field_type(field))
                choices = get_args(kind)
                if get_origin(kind) is Literal:
                    return choose(map(str, choices))
                if field.examples:
                    return f"add it, such as {self.name}: {_flow(field.examples[0])}"
                if _is_section(kind):
                    inside = kind.model_fields.values()
                    needed = [str(f.alias) for f in inside if f.is_required()]
                    return f"add it, with {', '.join(needed)}"
        return "add it"


def _plain(kind: Any) -> Any:
    """Return a type without Annotated and Optional."""
    if get_origin(kind) is Annotated:
        return _plain(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        given = [arg for arg in get_args(kind) if arg is not type(None)]
        if len(given) == 1:
            return _plain(given[0])
    return kind


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _sections(kind: Any) -> list[type[BaseModel]]:
    return [
        arg for arg in get_args(_plain(kind)) if _is_section(arg) and "family" in arg.model_fields
    ]


def _tag(kind: type[BaseModel]) -> str:
    return str(get_args(kind.model_fields["family"].annotation)[0])


def _flow(value: object) -> str:
    """Return a value as one line of YAML."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return str(value)


def _refusal(kind: str, value: object, context: Mapping[str, Any], said: str) -> tuple[str, str]:
    """Return what is wrong and the fix, for one of pydantic's own kinds of error."""
    written = _written(value)
    wanted = _WANTED.get(kind.removesuffix("_type").removesuffix("_attributes"))
    if value is None and wanted:
        return "is empty", f"{wanted}, or remove the key"
    if wanted:
        return f"{written} is {_kind_of(value)}", wanted
    if kind == "literal_error":
        # Python writes the last choice with "or"; the classes have no commas in their choices.
        choices = [c.strip("'") for c in context["expected"].replace(" or ", ", ").split(", ")]
        return f"{written} is not allowed", meant_or_choose(str(value), choices)
    limits = {
        "greater_than": ("gt", "is too small", "more than"),
        "greater_than_equal": ("ge", "is too small", "at least"),
        "less_than": ("lt", "is too large", "less than"),
        "less_than_equal": ("le", "is too large", "at most"),
    }
    if kind in limits:
        key, wrong, bound = limits[kind]
        limit = context[key]
        return (
            f"{written} {wrong}",
            f"write {bound} {limit if isinstance(limit, int) else f'{limit:g}'}",
        )
    if kind in ("too_short", "string_too_short"):
        least = context.get("min_length", 1)
        return f"{written} is too short", f"give at least {least}"
    if kind in ("too_long", "string_too_long"):
        return f"{written} is too long", f"give at most {context['max_length']}"
    if kind == "finite_number":
        return f"{written} is not a finite number", "write a finite number"
    return f"{written} is refused: {said[0].lower()}{said[1:]}", ""


def _written(value: object) -> str:
    """Return a value as its YAML has it, cut short."""
    return str(value).lower() if isinstance(value, bool) else shorten(value)


def _kind_of(value: object) -> str:
    for kind, name in _KINDS:
        if isinstance(value, kind):
            return name
    return f"a {type(value).__name__}"
