"""What is generated: the editors' schema, the CRD, the reference, all fresh."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from noria.spec import Model, parse_model
from noria.spec.families import field_type
from noria.spec.generate import generated, main, stale
from noria.spec.schema import crd, json_schema, reference_markdown
from noria.spec.schema.editor import all_sections
from noria.spec.task import task_classes

ROOT = Path(__file__).resolve().parents[2]
CASES = yaml.safe_load((Path(__file__).parent / "refusals.yaml").read_text(encoding="utf-8"))
_ALLOWED = {
    "type", "description", "default", "properties", "required", "items", "additionalProperties",
    "enum", "pattern", "minLength", "maxLength", "minItems", "maxItems", "maxProperties",
    "minimum", "maximum",
    "exclusiveMinimum", "exclusiveMaximum", "format", "nullable", "anyOf",
    "x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
}  # fmt: skip


def test_the_generated_files_are_fresh() -> None:
    assert stale(ROOT) == [], "run `python -m noria.spec.generate`"


def test_the_command_writes_the_files_and_notices_stale_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--check", "--root", str(tmp_path)]) == 1
    assert "docs/model-reference.md is stale" in capsys.readouterr().err
    assert main(["--root", str(tmp_path)]) == 0
    assert main(["--check", "--root", str(tmp_path)]) == 0
    (tmp_path / "docs/model.schema.json").write_text("{}")
    assert main(["--check", "--root", str(tmp_path)]) == 1
    assert all((tmp_path / path).read_text() for path in generated())


def test_every_field_of_every_section_is_described() -> None:
    missing = [
        f"{section.__name__}.{name}"
        for section in all_sections()
        for name, field in section.model_fields.items()
        if not (field.description or "").strip().endswith((".", '"'))
    ]
    assert missing == []


def test_the_schema_takes_what_the_model_takes(
    whole: dict[str, Any],
    smallest: dict[str, Any],
    broken: Callable[[dict[str, Any], Any], list[str]],
) -> None:
    schema = json_schema()
    for resource in (whole, smallest):
        assert broken(schema, resource) == []
        written = parse_model(resource).model_dump(by_alias=True, mode="json")
        assert broken(schema, written) == []


@pytest.mark.parametrize(
    "case",
    [pytest.param(c, id=c["name"]) for c in CASES if c.get("apply") == "refused"],
)
def test_the_schema_refuses_what_a_schema_can_see(
    whole: dict[str, Any],
    edit: Callable[..., dict[str, Any]],
    broken: Callable[[dict[str, Any], Any], list[str]],
    case: dict[str, Any],
) -> None:
    assert broken(json_schema(), edit(whole, case["set"], gone="<gone>"))


def test_the_schema_is_closed_and_has_an_identity() -> None:
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"].endswith("/v1alpha1/model.schema.json")
    for definition in (schema, *schema["$defs"].values()):
        assert definition["additionalProperties"] is False


def test_the_schema_states_defaults_in_short_form_and_none_that_depends() -> None:
    definitions = json_schema()["$defs"]
    assert definitions["Compute"]["properties"]["memory"]["default"] == "4Gi"
    assert definitions["Split"]["properties"]["gap"]["default"] == "0s"
    assert "default" not in definitions["Retraining"]["properties"]["cooldown"]
    assert "default" not in definitions["Train"]["properties"]["algorithm"]
    assert "default" not in definitions["Gates"]["properties"]["champion"]


def test_the_crd_names_the_resource_and_shows_its_state() -> None:
    made = crd()
    assert made["apiVersion"] == "apiextensions.k8s.io/v1"
    assert made["metadata"]["name"] == "models.noria.dev"
    assert made["spec"]["names"]["shortNames"] == ["nm"]
    (version,) = made["spec"]["versions"]
    assert (version["name"], version["served"], version["storage"]) == ("v1alpha1", True, True)
    assert version["subresources"] == {"status": {}}
    paths = [column["jsonPath"] for column in version["additionalPrinterColumns"]]
    status = _root()["properties"]["status"]["properties"]
    shown = {path.removeprefix(".status.") for path in paths if path.startswith(".status.")}
    assert shown == {
        "champion", "candidate", "retrainsLeft", "printed.stage", "printed.traffic",
        "printed.verdict",
    }  # fmt: skip
    printed = {f"printed.{name}" for name in status["printed"]["properties"]}
    assert shown <= status.keys() | printed


def test_the_crd_is_structural() -> None:
    for path, node in _nodes(_root(), ""):
        assert set(node) <= _ALLOWED, path
        if node.get("x-kubernetes-int-or-string"):
            assert node["anyOf"] == [{"type": "integer"}, {"type": "string"}], path
            assert "type" not in node, path
            continue
        assert "anyOf" not in node, path
        assert "type" in node or node.get("x-kubernetes-preserve-unknown-fields"), path
        assert not ("properties" in node and "additionalProperties" in node), path
        assert node.get("type") != "array" or "items" in node, path
        assert "default" not in node or node["default"] is not None, path
        assert set(node.get("required", ())) <= set(node.get("properties", ())), path
        re.compile(node.get("pattern", ""))


def test_the_crd_restricts_of_the_metadata_only_the_name() -> None:
    metadata = _root()["properties"]["metadata"]
    assert metadata["type"] == "object"
    assert set(metadata["properties"]) == {"name"}


def test_the_crd_has_every_key_of_the_resource() -> None:
    schema = _root()["properties"]["spec"]
    for path in _paths(Model.model_fields["spec"].annotation):
        node = schema
        for step in path:
            node = node["items"] if step == "[]" else node
            node = node["additionalProperties"] if step == "{}" else node
            node = node["properties"][step] if step not in ("[]", "{}") else node


def test_the_defaults_that_the_api_server_writes_change_nothing(
    smallest: dict[str, Any], whole: dict[str, Any]
) -> None:
    for resource in (smallest, whole):
        stored = copy.deepcopy(resource)
        _default(_root()["properties"]["spec"], stored["spec"])
        assert stored != resource
        assert parse_model(stored) == parse_model(resource)


@pytest.mark.parametrize("task", [task.family_name() for task in task_classes()])
def test_the_api_server_gives_no_family_the_options_of_another(task: str) -> None:
    written: dict[str, Any] = {"family": task}
    _default(_root()["properties"]["spec"]["properties"]["task"], written)
    assert written == {"family": task}


def test_the_reference_page_tells_every_key_and_family() -> None:
    page = reference_markdown()
    for section in all_sections():
        for name, field in section.model_fields.items():
            assert f"| `{field.alias or name}` |" in page, f"{section.__name__}.{name}"
    for task in task_classes():
        assert f"| `{task.family_name()}` |" in page
    (example,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert parse_model(example).name == "late"


def _root() -> dict[str, Any]:
    (version,) = crd()["spec"]["versions"]
    root: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return root


def _nodes(node: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, node
    for key, child in node.get("properties", {}).items():
        yield from _nodes(child, f"{path}.{key}")
    for key in ("items", "additionalProperties"):
        if key in node:
            yield from _nodes(node[key], f"{path}[]")


def _paths(kind: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            here = (*path, field.alias or name)
            yield here
            yield from _paths(field_type(field), here)
        return
    origin = getattr(kind, "__origin__", None)
    step = {tuple: ("[]",), dict: ("{}",)}.get(origin, ())
    for argument in getattr(kind, "__args__", ()):
        yield from _paths(argument, (*path, *step))


def _default(schema: dict[str, Any], value: Any) -> None:
    """Write defaults as the API server does: parents first, absent keys only."""
    if isinstance(value, dict):
        for key, child in schema.get("properties", {}).items():
            if key not in value and "default" in child:
                value[key] = copy.deepcopy(child["default"])
            if key in value:
                _default(child, value[key])
        if "additionalProperties" in schema:
            for item in value.values():
                _default(schema["additionalProperties"], item)
    elif isinstance(value, list):
        for item in value:
            _default(schema["items"], item)
