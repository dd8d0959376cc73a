"""YAML text to plain values, safely: one document, no duplicates, no bombs.

Booleans are those of YAML 1.2 (``true`` and ``false``), so that the keys and values
``on``, ``off``, ``yes`` and ``no`` stay the texts that they look like.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any, Final

import yaml

from noria.errors import Problem, SpecError, shorten

MAX_BYTES: Final = 1 << 20
_MAX_NODES: Final = 200_000
_MAX_DEPTH: Final = 60
_COLLECTION_TAGS: Final = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_Base: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]  # the C loader when libyaml is there
    """Safe loader that composes at most ``_MAX_NODES`` values, aliases counted in full."""


_TAGS: Final = {
    "tag:yaml.org,2002:bool": (re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), "tTfF"),
    "tag:yaml.org,2002:null": (re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    "tag:yaml.org,2002:int": (
        re.compile(r"^(?:[-+]?[0-9]{1,300}|0o[0-7]{1,300}|0x[0-9a-fA-F]{1,300})$"),
        "-+0123456789",
    ),
    "tag:yaml.org,2002:float": (
        re.compile(
            r"^(?:[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
            r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
        ),
        "-+0123456789.",
    ),
}
# The core schema of YAML 1.2: no dates, no base 60, no octal 0777, no merge keys.
_Loader.yaml_implicit_resolvers = {}
for _tag, (_pattern, _first) in _TAGS.items():
    _Loader.add_implicit_resolver(_tag, _pattern, list(_first))


def _construct_int(loader: Any, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    digits = text.lstrip("+-")
    if digits.startswith(("0o", "0x")):
        return int(text, 0)
    return int(text)


_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)


def read_yaml(text: str, *, origin: str) -> dict[str, Any]:
    """Return the one mapping that a YAML text holds.

    Args:
        text: YAML 1.2 (core schema), at most 1 MiB.
        origin: Where it comes from, for messages.

    Raises:
        SpecError: Not YAML, not one mapping, too large, or a key twice (all of them named).
    """
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:  # half of a surrogate pair is no character
        said = f"has no character at position {error.start}: {shorten(text[error.start])}"
        raise _refused(origin, said, "write it as plain UTF-8 text") from error
    if size > MAX_BYTES:
        raise _refused(origin, "is larger than 1 MiB", "keep data out of the resource")
    try:
        _check_depth(text, origin)
        nodes = _compose(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        said = error.problem or error.context or "syntax error"
        raise _refused(f"{origin}", f"is not YAML{where}: {said}", "correct that line") from error
    except yaml.YAMLError as error:
        said = str(error).splitlines()[0]
        raise _refused(origin, f"is not YAML: {said}", "write it as plain UTF-8 text") from error
    if not nodes:
        raise _refused(origin, "is empty", "write a Model; `noria init` makes one to start from")
    if len(nodes) > 1:
        raise _refused(origin, f"holds {len(nodes)} YAML documents", "keep one Model in a file")
    problems: list[Problem] = []
    value = _Builder(origin, problems).build(nodes[0])
    if problems:
        raise SpecError(problems)
    if not isinstance(value, dict):
        raise _refused(
            origin,
            f"holds {shorten(value)}, not a mapping",
            "write apiVersion, kind, metadata, spec",
        )
    return value


def _refused(origin: str, message: str, fix: str) -> SpecError:
    return SpecError([Problem(origin, message, fix)])


def _check_depth(text: str, origin: str) -> None:
    """Refuse deep nesting before it is composed: libyaml's composer would exhaust the stack."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _MAX_DEPTH:
            raise _refused(origin, "is nested too deeply", "write it flatter")


def _compose(text: str) -> list[yaml.Node]:
    loader = _Loader(text)
    try:
        nodes: list[yaml.Node] = []
        while loader.check_node():
            nodes.append(loader.get_node())
        # A file of comments, or one that ends in `---`, has an empty document.
        return [node for node in nodes if not _is_nothing(node)]
    finally:
        loader.dispose()


def _is_nothing(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and not node.value and node.tag.endswith(":null")


class _Builder:
    """Builds plain values from nodes, counting what aliases expand to."""

    def __init__(self, origin: str, problems: list[Problem]) -> None:
        self._origin = origin
        self._problems = problems
        self._left = _MAX_NODES
        self._scalars = _Loader("")

    def build(self, node: yaml.Node, path: str = "", depth: int = 0) -> Any:
        self._left -= 1
        if self._left < 0:
            raise _refused(self._origin, "expands to too many values", "use fewer YAML aliases")
        if depth > _MAX_DEPTH:  # also a value that contains itself by an alias
            raise _refused(self._origin, "is nested too deeply", "write it flatter")
        if isinstance(node, yaml.CollectionNode) and node.tag not in _COLLECTION_TAGS:
            return self._foreign(node, path)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode):
            return [
                self.build(item, f"{path}[{index}]", depth + 1)
                for index, item in enumerate(node.value)
            ]
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: str, depth: int) -> dict[str, Any]:
        built: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            key = self.build(key_node, path, depth + 1)
            line = key_node.start_mark.line + 1
            here = f"{path}.{key}" if path else str(key)
            if not isinstance(key, str):
                said = key if isinstance(key, Hashable) else shorten(key)
                self._say(path, f"the key {said} on line {line} is not text", "put it in quotes")
                continue
            if key in built:
                self._say(
                    here, f"is there twice, on lines {lines[key]} and {line}", "keep one of them"
                )
                continue
            lines[key] = line
            built[key] = self.build(value_node, here, depth + 1)
        return built

    def _scalar(self, node: yaml.Node, path: str) -> Any:
        constructor = self._scalars.yaml_constructors.get(node.tag)
        if constructor is None or not node.tag.startswith("tag:yaml.org,2002:"):
            return self._foreign(node, path)
        try:
            return constructor(self._scalars, node)
        except (ValueError, OverflowError, yaml.YAMLError):
            self._say(
                path, f"{shorten(node.value)} is not what its tag {node.tag} says", "remove the tag"
            )
            return None

    def _foreign(self, node: yaml.Node, path: str) -> None:
        line = node.start_mark.line + 1
        self._say(path, f"the tag {node.tag} on line {line} is not allowed", "write a plain value")

    def _say(self, path: str, message: str, fix: str) -> None:
        self._problems.append(Problem(path or self._origin, message, fix))
