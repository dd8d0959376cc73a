"""The fields of a model's exchanges: a name, what its values are, and what it is for."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

FieldType: TypeAlias = Literal["number", "text"]
Role: TypeAlias = Literal["input", "output", "usage"]


class Field(msgspec.Struct, frozen=True):
    """One field. A text here is one of a few: a name or a reason, not what somebody wrote."""

    name: str
    type: FieldType
    role: Role


class Signature(msgspec.Struct, frozen=True):
    """The fields of the exchanges of a model; ``sample`` is what one of them is about."""

    sample: str
    fields: tuple[Field, ...]
