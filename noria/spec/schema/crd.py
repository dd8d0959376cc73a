"""The CustomResourceDefinition: apiextensions.k8s.io/v1, with a structural schema.

Structural schemas (Kubernetes, "Specifying a structural schema") know neither references
nor unions of types. The API server refuses what the schema sees: types, choices, limits, units
and missing keys; unknown keys by its strict field validation, which kubectl asks for. What spans
several keys is a rule (``noria.spec.rules`` and the families' own), which `noria validate` tells
before and the operator afterwards, in the status and an event.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from noria.spec.model import GROUP, KIND, VERSION
from noria.spec.schema.editor import json_schema
from noria.spec.schema.status import status_schema

CRD_NAME: Final = f"models.{GROUP}"
_KEPT: Final = (
    "enum",
    "pattern",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "maxProperties",
)

_COLUMNS: Final = (
    ("Stage", "string", ".status.printed.stage", "What the loop is doing."),
    ("Champion", "string", ".status.champion", "The version that serves."),
    ("Candidate", "string", ".status.candidate", "The version that is rolled out."),
    ("Traffic", "string", ".status.printed.traffic", "Percent of traffic for each version."),
    ("Verdict", "string", ".status.printed.verdict", "The last verdict on a candidate."),
    ("Retrains left", "integer", ".status.retrainsLeft", "Runs left in the budget."),
    ("Age", "date", ".metadata.creationTimestamp", "Time since the model was made."),
)


def crd() -> dict[str, Any]:
    """Return the CustomResourceDefinition of ``Model``."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": CRD_NAME},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": "models",
                "singular": "model",
                "shortNames": ["nm"],
                "categories": ["noria"],
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [
                        {"name": name, "type": kind, "jsonPath": path, "description": about}
                        for name, kind, path, about in _COLUMNS
                    ],
                    "schema": {"openAPIV3Schema": _root()},
                }
            ],
        },
    }


def _root() -> dict[str, Any]:
    schema = json_schema()
    properties = schema["properties"]
    spec = _Structural(schema["$defs"]).of(properties["spec"])
    name = schema["$defs"]["Metadata"]["properties"]["name"]
    return {
        "type": "object",
        "description": schema["description"],
        "required": ["spec"],
        "properties": {
            "apiVersion": {
                "type": "string",
                "description": properties["apiVersion"]["description"],
            },
            "kind": {"type": "string", "description": properties["kind"]["description"]},
            # Of metadata, Kubernetes lets a schema restrict the name alone.
            "metadata": {
                "type": "object",
                "properties": {
                    "name": {key: name[key] for key in ("type", "maxLength", "pattern")}
                },
            },
            "spec": spec,
            "status": status_schema(),
        },
    }


class _Structural:
    """Turns the editors' schema into a structural one."""

    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self._definitions = definitions

    def of(self, node: Mapping[str, Any]) -> dict[str, Any]:
        """Return the structural schema of a node of the editors' schema."""
        if "$ref" in node:
            target = self._definitions[node["$ref"].rpartition("/")[2]]
            above = {key: value for key, value in node.items() if key != "$ref"}
            return self.of({**target, **above})
        if "oneOf" in node:
            return self._task(node["oneOf"], node["description"])
        if "anyOf" in node:
            return self._any_of(node)
        return self._plain(node)

    def _any_of(self, node: Mapping[str, Any]) -> dict[str, Any]:
        given = [choice for choice in node["anyOf"] if choice.get("type") != "null"]
        above = {key: value for key, value in node.items() if key != "anyOf"}
        if len(given) == 1:
            built = self.of({**given[0], **above})
        else:
            # A number or a duration: no type is both. A pattern holds for texts only.
            pattern = next(choice["pattern"] for choice in given if "pattern" in choice)
            built = {**_said(above), "pattern": pattern}
            built["x-kubernetes-preserve-unknown-fields"] = True
        if built.get("default", "") is None:
            del built["default"]
        return {**built, "nullable": True} if len(given) < len(node["anyOf"]) else built

    def _plain(self, node: Mapping[str, Any]) -> dict[str, Any]:
        built = _said(node)
        kind = node.get("type")
        if isinstance(kind, list):
            return {**built, **_several_types(node)}
        if "const" in node:
            return {**built, "type": "string", "enum": [node["const"]]}
        built["type"] = kind
        if kind == "integer":
            built["format"] = "int64"
        for key in _KEPT:
            if key in node:
                built[key] = node[key]
        built.update(_limits(node))
        if "items" in node:
            built["items"] = self.of(node["items"])
        if isinstance(node.get("additionalProperties"), Mapping):
            built["additionalProperties"] = self.of(node["additionalProperties"])
        if "properties" in node:
            built["properties"] = {key: self.of(child) for key, child in node["properties"].items()}
            if node.get("required"):
                built["required"] = list(node["required"])
        elif kind == "object" and "additionalProperties" not in built:
            built["properties"] = {}
        return built

    def _task(self, choices: Sequence[Mapping[str, Any]], about: str) -> dict[str, Any]:
        """One object for all families, with the options of all of them."""
        families: list[str] = []
        options: dict[str, dict[str, Any]] = {}
        for choice in choices:
            built = self.of(choice)["properties"]
            families.extend(built["family"]["enum"])
            for key, option in built["options"]["properties"].items():
                option.pop("default", None)  # or the API server would give it to all families
                options[key] = _common(options.get(key, option), option)
        return {
            "type": "object",
            "description": about,
            "required": ["family"],
            "properties": {
                "family": {**built["family"], "enum": families},
                "options": {
                    "type": "object",
                    "description": built["options"]["description"],
                    "properties": options,
                },
            },
        }


def _said(node: Mapping[str, Any]) -> dict[str, Any]:
    said = {key: node[key] for key in ("description", "default") if key in node}
    return {**said, "default": _without_nulls(said["default"])} if "default" in said else said


def _without_nulls(value: Any) -> Any:
    """Null and absent are one here, and the API server stores what the default says."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _several_types(node: Mapping[str, Any]) -> dict[str, Any]:
    if set(node["type"]) == {"integer", "string"}:
        return {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "pattern": node["pattern"],
            "x-kubernetes-int-or-string": True,
        }
    return {"x-kubernetes-preserve-unknown-fields": True}


def _limits(node: Mapping[str, Any]) -> dict[str, Any]:
    """OpenAPI 3.0 says with a flag that a limit is excluded; JSON Schema with another key."""
    limits: dict[str, Any] = {}
    for side in ("Minimum", "Maximum"):
        if f"exclusive{side}" in node:
            limits[side.lower()] = node[f"exclusive{side}"]
            limits[f"exclusive{side}"] = True
        elif side.lower() in node:
            limits[side.lower()] = node[side.lower()]
    return limits


def _common(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in one.items() if other.get(key) == value}
