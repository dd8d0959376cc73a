"""What a v2beta1 message may look like, by what Kubeflow Pipelines itself publishes.

Two readings of one interface: the models of ``kfp_server_api``, which the project
generates from its Swagger file and ships with its client (always there), and the
Swagger file itself (``NORIA_KFP_SWAGGER``, or Go's module cache), when it can be had.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

import kfp_server_api

MODULE = "github.com/kubeflow/pipelines"
VERSION = "v0.0.0-20260709152847-4a3592cb2dd0"  # 2.17.0
FILE = "backend/api/v2beta1/swagger/kfp_api_single_file.swagger.json"


class Broken(Exception):
    """A message is not what the interface says."""


def swagger_file() -> tuple[Path | None, str]:
    """Return the Swagger file, or None and why it can't be had."""
    given = os.environ.get("NORIA_KFP_SWAGGER")
    if given:
        return Path(given), ""
    go = shutil.which("go")
    if go is None:
        return None, "no Go here whose module cache might have the Swagger file"
    said = subprocess.run(
        [go, "mod", "download", "-json", f"{MODULE}@{VERSION}"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd="/",
        env={**os.environ, "GOPROXY": "off"},
    )
    try:
        found = json.loads(said.stdout)
    except ValueError:
        return None, said.stderr.strip()
    if "Dir" not in found:
        return None, str(found.get("Error", said.stderr.strip()))
    path = Path(found["Dir"]) / FILE
    return (path, "") if path.is_file() else (None, f"the module has no {FILE}")


def by_models(kind: str, value: Any, where: str = "") -> None:
    """Hold a JSON value against a type of ``kfp_server_api``, as its models name it.

    Raises:
        Broken: Something is unknown or of another type.
    """
    where = where or kind
    simple = {"str": str, "int": int, "bool": bool, "float": (int, float), "object": object}
    if kind in simple:
        if not isinstance(value, simple[kind]):
            raise Broken(f"{where}: {value!r} is no {kind}")
        return
    if kind == "datetime":
        _moment(value, where)
    elif kind.startswith("list["):
        if not isinstance(value, list):
            raise Broken(f"{where}: {value!r} is no list")
        for index, item in enumerate(value):
            by_models(kind[5:-1], item, f"{where}[{index}]")
    elif kind.startswith("dict("):
        if not isinstance(value, dict):
            raise Broken(f"{where}: {value!r} is no mapping")
        for name, item in value.items():
            by_models(kind[5:-1].split(", ", 1)[1], item, f"{where}.{name}")
    else:
        _model(getattr(kfp_server_api, kind), value, where)


def _model(model: Any, value: Any, where: str) -> None:
    allowed = getattr(model, "allowable_values", None)
    if allowed is not None:
        if value not in allowed:
            raise Broken(f"{where}: {value!r} is none of {allowed}")
        return
    if not isinstance(value, dict):
        raise Broken(f"{where}: {value!r} is no {model.__name__}")
    # The gateway reads both spellings, and writes the first.
    names = {wire: name for name, wire in model.attribute_map.items()}
    names |= {_camel(wire): name for wire, name in names.items()}
    for wire, item in value.items():
        if wire not in names:
            raise Broken(f"{where}: {model.__name__} has no {wire}")
        by_models(model.openapi_types[names[wire]], item, f"{where}.{wire}")


class Swagger:
    """The Swagger file itself."""

    def __init__(self, path: Path) -> None:
        document = json.loads(path.read_text())
        self._definitions = document["definitions"]
        self._paths = document["paths"]

    def route(self, method: str, path: str) -> str:
        """Return the template of a path."""
        # Literal segments before parameters, as the gateway has it.
        for template in sorted(self._paths, key=lambda text: text.count("{")):
            pattern = re.sub(r"\\\{[^/:]+\\\}", "[^/:]+", re.escape(template))
            if method.lower() in self._paths[template] and re.fullmatch(pattern, path):
                return str(template)
        raise Broken(f"{method} {path} is in no path of the Swagger file")

    def request(self, method: str, template: str, query: dict[str, str], body: Any) -> None:
        """Hold the parameters of a request against those of its operation."""
        known = {p["name"]: p for p in self._paths[template][method.lower()].get("parameters", [])}
        for name, text in query.items():
            if known.get(name, {}).get("in") != "query":
                raise Broken(f"{method} {template} takes no {name} in its query")
            if known[name]["type"] == "integer" and not text.isdigit():
                raise Broken(f"{method} {template}: {name}={text} is no integer")
        wanted = [p for p in known.values() if p["in"] == "body"]
        if wanted:
            if body is None:
                raise Broken(f"{method} {template} has no body")
            self._check(wanted[0]["schema"], body, wanted[0]["name"])

    def response(self, method: str, template: str, status: int, body: Any) -> None:
        """Hold an answer against the schema of its status."""
        responses = self._paths[template][method.lower()]["responses"]
        schema = responses.get(str(status), responses["default"]).get("schema", {})
        self._check(schema, body, f"{method} {template} {status}")

    def _check(self, schema: dict[str, Any], value: Any, where: str) -> None:
        if "$ref" in schema:
            schema = self._definitions[schema["$ref"].rsplit("/", 1)[1]]
        if "enum" in schema and value not in schema["enum"]:
            raise Broken(f"{where}: {value!r} is none of {schema['enum']}")
        kinds = {"string": str, "boolean": bool, "array": list, "object": dict}
        kind = schema.get("type")
        if kind in kinds and not isinstance(value, kinds[kind]):
            raise Broken(f"{where}: {value!r} is no {kind}")
        if kind == "integer" and (not isinstance(value, int) or isinstance(value, bool)):
            raise Broken(f"{where}: {value!r} is no integer")
        if schema.get("format") == "date-time":
            _moment(value, where)
        if kind == "array":
            for index, item in enumerate(value):
                self._check(schema["items"], item, f"{where}[{index}]")
        if kind == "object" and ("properties" in schema or "additionalProperties" in schema):
            known = schema.get("properties", {})
            known = known | {_camel(name): item for name, item in known.items()}
            rest = schema.get("additionalProperties")
            for name, item in value.items():
                if name not in known and rest is None:
                    raise Broken(f"{where}: has no {name}")
                self._check(known.get(name, rest or {}), item, f"{where}.{name}")


def _camel(name: str) -> str:
    return re.sub(r"_([a-z0-9])", lambda match: match[1].upper(), name)


def _moment(value: Any, where: str) -> None:
    try:
        datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise Broken(f"{where}: {value!r} is no time") from None
