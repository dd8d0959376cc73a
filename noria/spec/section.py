"""The base of every section of the resource, and the small scalar types they share."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, TypeAlias, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, JsonValue, Strict, WithJsonSchema
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from noria.errors import shorten

_MAX_COLUMN_CHARS: Final = 200
_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_MAX_LABEL_CHARS: Final = 63


class Section(BaseModel):
    """A closed, frozen part of the resource.

    YAML keys are camelCase, Python attributes snake_case. Values are strict: the
    string ``"1"`` is not the number 1, so that a file means the same here and to
    the Kubernetes API.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        alias_generator=to_camel,
        populate_by_name=True,
        allow_inf_nan=False,
        protected_namespaces=(),
        # Built at first use: a command that only prints its help need not pay for it.
        defer_build=True,
    )


def refuse(message: str, fix: str = "", *, key: str = "") -> PydanticCustomError:
    """Return the error that a field's validator raises; the loader adds the path.

    Args:
        message: What is wrong, with the value.
        fix: What to do about it.
        key: The key that it is about, where a whole section is validated.
    """
    # The texts travel in the context: a message template would choke on braces in a value.
    return PydanticCustomError("noria", "{said}; {fix}", {"said": message, "fix": fix, "key": key})


FILLED: Final[dict[str, JsonValue]] = {"x-filled": True}
"""Marks a field whose default comes from other sections, so that no schema may state one."""

T = TypeVar("T")
Items: TypeAlias = Annotated[tuple[T, ...], Strict(False)]  # noqa: FBT003 - pydantic's own API
"""An immutable list. Strict mode would refuse the lists that YAML and JSON give."""

Scalar: TypeAlias = bool | int | float | str


def _scalar(value: Any) -> Any:
    if isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise refuse(f"{value} is not a finite number", "write a finite number")
        return value
    raise refuse(f"{shorten(value)} is not a single value", "write a number, a text, true or false")


ScalarValue: TypeAlias = Annotated[
    Any, BeforeValidator(_scalar), WithJsonSchema({"type": ["boolean", "number", "string"]})
]
"""A number, text, true or false, kept as it is (``bool | int | float | str``)."""


def _column(value: Any) -> Any:
    if not isinstance(value, str):
        return value  # the type error is pydantic's to make
    if not value or value != value.strip() or not value.isprintable():
        raise refuse(
            f"{shorten(value)} is not a column name",
            "write the column's name without spaces around it or control characters",
        )
    if len(value) > _MAX_COLUMN_CHARS:
        raise refuse(
            f"{shorten(value)} has {len(value)} characters",
            f"a column name has at most {_MAX_COLUMN_CHARS}",
        )
    return value


Column: TypeAlias = Annotated[
    str,
    BeforeValidator(_column),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": _MAX_COLUMN_CHARS}),
]
"""The name of a column of the project's rows."""


def _label(value: Any) -> Any:
    if isinstance(value, str) and (len(value) > _MAX_LABEL_CHARS or not _LABEL.fullmatch(value)):
        raise refuse(
            f"{shorten(value)} is not a DNS label",
            f"use lower-case letters, digits and '-', at most {_MAX_LABEL_CHARS} characters, "
            "with a letter or digit at both ends",
        )
    return value


Label: TypeAlias = Annotated[
    str,
    BeforeValidator(_label),
    WithJsonSchema(
        {"type": "string", "maxLength": _MAX_LABEL_CHARS, "pattern": f"^{_LABEL.pattern}$"}
    ),
]
"""A DNS-1123 label: what Kubernetes takes for names."""


def _label_or_empty(value: Any) -> Any:
    return value if value == "" else _label(value)


LabelOrEmpty: TypeAlias = Annotated[
    str,
    BeforeValidator(_label_or_empty),
    WithJsonSchema(
        {"type": "string", "maxLength": _MAX_LABEL_CHARS, "pattern": f"^({_LABEL.pattern})?$"}
    ),
]
"""A DNS-1123 label, or nothing."""
