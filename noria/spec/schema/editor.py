"""The JSON Schema (2020-12) that editors complete and check ``model.yaml`` with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, get_args

from pydantic.fields import FieldInfo

from noria.spec.families import field_type
from noria.spec.model import Model
from noria.spec.section import Section

SCHEMA_ID: Final = "https://noria.dev/schemas/v1alpha1/model.schema.json"
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """Return the schema of the whole resource, closed, with descriptions and defaults.

    Defaults are written in the short form of the YAML (``24h``, ``4Gi``). A field whose
    default depends on the task family has none.
    """
    schema = _with_own_names(Model.model_json_schema(by_alias=True))
    sections = sorted(set(all_sections()), key=_is_ours)  # the last of a name has it
    by_name = {name: section for section in sections for name in _names(section)}
    for name, definition in schema["$defs"].items():
        _state_defaults(definition, by_name[name])
    _state_defaults(schema, Model)
    _clean(schema)
    return {"$schema": _DIALECT, "$id": SCHEMA_ID, **schema}


def _names(section: type[Section]) -> tuple[str, str]:
    """Return what pydantic calls a class among others: its name, or with its module in front."""
    return f"{section.__module__}.{section.__qualname__}".replace(".", "__"), section.__name__


def _is_ours(section: type[Section]) -> bool:
    return section.__module__.startswith("noria.")


def _with_own_names(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema where Noria's classes have their own names, whatever families call theirs.

    Of two classes of one name pydantic puts the module in front of both.
    """
    text = json.dumps(schema)
    for section in set(all_sections()):
        long, short = _names(section)
        if _is_ours(section) and long in schema["$defs"]:
            text = text.replace(f'"#/$defs/{long}"', f'"#/$defs/{short}"')
            text = text.replace(f'"{long}":', f'"{short}":')
    found: dict[str, Any] = json.loads(text)
    return found


def default_of(section: type[Section], name: str, field: FieldInfo) -> tuple[Any, ...]:
    """Return the default of a field as YAML has it, in a tuple; none is the empty tuple.

    A section's default is the empty mapping: its own fields have their defaults.
    """
    extra = field.json_schema_extra
    if field.is_required() or (isinstance(extra, dict) and "x-filled" in extra):
        return ()
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None:
        return (None,)
    if isinstance(value, Section):
        return ({},)
    alone = section.model_construct(**{name: value})
    written = alone.model_dump(mode="json", by_alias=True, include={name}, warnings=False)
    return (written[field.alias or name],)


def all_sections(kind: Any = Model) -> Iterator[type[Section]]:
    """Yield every class of the resource, some of them more than once."""
    if isinstance(kind, type) and issubclass(kind, Section):
        yield kind
        for field in kind.model_fields.values():
            yield from all_sections(field_type(field))
    else:
        for argument in get_args(kind):
            yield from all_sections(argument)


def _state_defaults(definition: dict[str, Any], section: type[Section]) -> None:
    for name, field in section.model_fields.items():
        stated = definition["properties"][field.alias or name]
        stated.pop("default", None)
        stated.pop("x-filled", None)
        for default in default_of(section, name, field):
            stated["default"] = default


def _clean(node: Any) -> None:
    """Remove what says nothing to an editor: made-up titles, and OpenAPI's discriminator."""
    if isinstance(node, dict):
        for key in ("title", "discriminator"):
            if isinstance(node.get(key), str) or key == "discriminator":
                node.pop(key, None)
        for child in node.values():
            _clean(child)
    elif isinstance(node, list):
        for child in node:
            _clean(child)
