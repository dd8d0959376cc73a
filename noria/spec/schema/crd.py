"""The CustomResourceDefinition: apiextensions.k8s.io/v1, with a structural schema.

Structural schemas (Kubernetes, "Specifying a structural schema") know neither references
nor unions of types; what they can't say is checked by CEL rules or, at last, by the loader.
Unknown keys are refused by the API server's strict field validation, which kubectl asks for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from noria.spec.model import GROUP, KIND, VERSION
from noria.spec.schema.cel import limits_of_checks, rules_at
from noria.spec.schema.editor import json_schema
from noria.spec.task import TASKS

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
    ("Stage", "string", ".status.stage", "What the loop is doing."),
    ("Champion", "string", ".status.champion", "The version that serves."),
    ("Candidate", "string", ".status.candidate", "The version that is rolled out."),
    ("Traffic", "string", ".status.traffic", "Percent of traffic for each version."),
    ("Verdict", "string", ".status.lastVerdict", "The last verdict on a candidate."),
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
    spec = _Structural(schema["$defs"]).of(properties["spec"], "spec")
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
            "status": _status(),
        },
    }


class _Structural:
    """Turns the editors' schema into a structural one."""

    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self._definitions = definitions

    def of(self, node: Mapping[str, Any], path: str) -> dict[str, Any]:
        """Return the structural schema of a node of the editors' schema."""
        if "$ref" in node:
            target = self._definitions[node["$ref"].rpartition("/")[2]]
            above = {key: value for key, value in node.items() if key != "$ref"}
            return self.of({**target, **above}, path)
        if "oneOf" in node:
            return self._task(node, path)
        if "anyOf" in node:
            return self._any_of(node, path)
        return self._plain(node, path)

    def _any_of(self, node: Mapping[str, Any], path: str) -> dict[str, Any]:
        given = [choice for choice in node["anyOf"] if choice.get("type") != "null"]
        above = {key: value for key, value in node.items() if key != "anyOf"}
        if len(given) == 1:
            built = self.of({**given[0], **above}, path)
        else:
            # A number or a duration: no type is both, so CEL doesn't see it. A pattern holds
            # for texts only.
            pattern = next(choice["pattern"] for choice in given if "pattern" in choice)
            built = {**_said(above), "pattern": pattern}
            built["x-kubernetes-preserve-unknown-fields"] = True
        if built.get("default", "") is None:
            del built["default"]
        return {**built, "nullable": True} if len(given) < len(node["anyOf"]) else built

    def _plain(self, node: Mapping[str, Any], path: str) -> dict[str, Any]:
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
            built["items"] = self.of(node["items"], f"{path}[]")
        if path == "spec.data.features":
            # No name twice: as a rule, a loop in a loop would cost more than the API server gives.
            built["x-kubernetes-list-type"] = "map"
            built["x-kubernetes-list-map-keys"] = ["name"]
        if path == "spec.serving.canary.analysis[]":
            built["allOf"] = limits_of_checks()
        if isinstance(node.get("additionalProperties"), Mapping):
            built["additionalProperties"] = self.of(node["additionalProperties"], f"{path}{{}}")
        if "properties" in node:
            built["properties"] = {
                key: self.of(child, f"{path}.{key}") for key, child in node["properties"].items()
            }
            if node.get("required"):
                built["required"] = list(node["required"])
        elif kind == "object" and "additionalProperties" not in built:
            built["properties"] = {}
        return _with_rules(built, path)

    def _task(self, node: Mapping[str, Any], path: str) -> dict[str, Any]:
        """One object for all families: options of all of them, each allowed where it belongs."""
        options: dict[str, dict[str, Any]] = {}
        families: dict[str, list[str]] = {}
        for choice in node["oneOf"]:
            built = self.of(choice, path)
            (family,) = built["properties"]["family"]["enum"]
            for key, option in built["properties"]["options"]["properties"].items():
                option.pop("default", None)  # or the API server would give it to all families
                families.setdefault(key, []).append(family)
                options[key] = _common(options.get(key, option), option)
        rules = [
            {
                "rule": f"!has(self.options) || !has(self.options.{key}) || "
                f"self.family in {sorted(owners)}",
                "message": f"options.{key} belongs to {', '.join(owners)}",
            }
            for key, owners in families.items()
            if "type" in options[key]  # CEL can't see a field without a type
        ]
        return {
            "type": "object",
            "description": node["description"],
            "required": ["family"],
            "properties": {
                "family": {
                    "type": "string",
                    "description": "The task family: what is predicted, from what.",
                    "enum": [task.family_name() for task in TASKS],
                },
                "options": {
                    "type": "object",
                    "description": "Options of this family. Each has a default.",
                    "properties": options,
                },
            },
            "x-kubernetes-validations": rules,
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


def _with_rules(built: dict[str, Any], path: str) -> dict[str, Any]:
    rules = rules_at(path)
    return {**built, "x-kubernetes-validations": rules} if rules else built


def _common(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in one.items() if other.get(key) == value}


def _status() -> dict[str, Any]:
    def text(about: str) -> dict[str, Any]:
        return {"type": "string", "description": about}

    return {
        "type": "object",
        "description": "What the loop did and sees. Only the operator writes it.",
        "properties": {
            "observedGeneration": {
                "type": "integer",
                "format": "int64",
                "description": "The generation of the spec that this status is of.",
            },
            "stage": text("What the loop is doing."),
            "champion": text("The version that serves."),
            "candidate": text("The version that is rolled out."),
            "traffic": text("Percent of traffic for each version."),
            "lastVerdict": text("The last verdict on a candidate."),
            "retrainsLeft": {
                "type": "integer",
                "format": "int64",
                "description": "Runs left in the budget.",
            },
            "conditions": {
                "type": "array",
                "description": "Conditions, as Kubernetes has them.",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
                "items": {
                    "type": "object",
                    "required": ["type", "status"],
                    "properties": {
                        "type": text("Its name."),
                        "status": {
                            "type": "string",
                            "enum": ["True", "False", "Unknown"],
                            "description": "Whether it holds.",
                        },
                        "reason": text("One word why."),
                        "message": text("A sentence why."),
                        "lastTransitionTime": {
                            "type": "string",
                            "format": "date-time",
                            "description": "When it last changed.",
                        },
                        "observedGeneration": {
                            "type": "integer",
                            "format": "int64",
                            "description": "The generation of the spec that it is of.",
                        },
                    },
                },
            },
            "url": text("Where clients send requests."),
            "explanation": {
                "type": "array",
                "description": "What the loop did last and why, oldest first.",
                "items": text("An entry of the ledger."),
            },
            "revision": text("The revision of the loop's stored state."),
            "ledgerHead": text("Sequence and hash of the ledger's last entry."),
        },
    }
