"""From a file, a text or plain values to a ``Model``, or to every reason why not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from noria.errors import InvalidInput, Problem, SpecError, shorten
from noria.spec.defaults import completed
from noria.spec.explain import explain
from noria.spec.model import Model, ModelSpec
from noria.spec.rules import broken_rules
from noria.spec.section import Section
from noria.spec.task import task_classes

MAX_BYTES: Final = 1 << 20


def load_model(path: str | Path) -> Model:
    """Return the model that a YAML file describes.

    Args:
        path: A file with one ``Model``, UTF-8, at most 1 MiB.

    Raises:
        InvalidInput: The file can't be read, is too large or is not UTF-8.
        SpecError: The resource is refused; ``problems`` holds every reason.
    """
    file = Path(path)
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise InvalidInput(
            f"{file}: there is no such file", fix="give the path of a model.yaml"
        ) from error
    except IsADirectoryError as error:
        raise InvalidInput(
            f"{file}: is a folder", fix=f"give a file, such as {file / 'model.yaml'}"
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidInput(
            f"{shorten(str(file))}: can't be read: {reason}",
            fix="check the path and its permissions",
        ) from error
    if len(content) > MAX_BYTES:
        raise InvalidInput(f"{file}: is larger than 1 MiB", fix="keep data out of the resource")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"{file}: byte {error.start} is not UTF-8", fix="save the file as UTF-8"
        ) from error
    return parse_model(text, origin=str(file))


def parse_model(source: str | Mapping[str, Any], *, origin: str = "model.yaml") -> Model:
    """Return the model that a YAML text, or the mapping that such a text holds, describes.

    Args:
        source: YAML text, or plain values as JSON has them, with camelCase keys.
        origin: Where it comes from, for messages about the text as a whole.

    Raises:
        SpecError: The resource is refused; ``problems`` holds every reason.
    """
    raw = _read(source, origin) if isinstance(source, str) else source
    if not isinstance(raw, Mapping):
        raise SpecError(
            [Problem(origin, f"{shorten(raw)} is not a mapping", "give the whole resource")]
        )
    try:
        return Model.model_validate(raw, by_alias=True, by_name=False)
    except ValidationError as error:
        problems = explain(error, Model)
        known = {str(problem) for problem in problems}
        problems += [found for found in _rules_of_the_rest(raw) if str(found) not in known]
        raise SpecError(problems) from error


def _read(text: str, origin: str) -> Mapping[str, Any]:
    # PyYAML is a tenth of what importing this package costs, and few importers read a file.
    from noria.spec.text import read_yaml

    return read_yaml(text, origin=origin)


def _rules_of_the_rest(raw: Mapping[str, Any]) -> list[Problem]:
    """Return what the rules say about the sections that are readable by themselves."""
    spec = raw.get("spec")
    if not isinstance(spec, Mapping):
        return []
    sections: dict[str, Any] = {}
    for name, field in ModelSpec.model_fields.items():
        value = spec.get(field.alias or name, {})
        kind = field.annotation if name != "task" else _task(value)
        if not isinstance(kind, type) or not issubclass(kind, Section):
            continue
        try:
            sections[name] = kind.model_validate(value, by_alias=True, by_name=False)
        except ValidationError:
            continue  # its own problems are explained already
    if "task" not in sections:
        # Their defaults are the family's; without them, rules would say what is not so.
        sections = {name: sections[name] for name in ("data", "serving") if name in sections}
    return broken_rules(completed(sections))


def _task(value: object) -> type[Section] | None:
    family = value.get("family") if isinstance(value, Mapping) else None
    return next((task for task in task_classes() if task.family_name() == family), None)
