"""The generated files of the chart are fresh, closed, and say what each value does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from noria.chart import ChartValues
from noria.chart.__main__ import main
from noria.chart.access import DOCTOR, TRAINING, USER, WEBHOOK, access
from noria.chart.generate import generated, stale
from noria.operator.rbac import PERMISSIONS, rules

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "noria"


def test_the_generated_files_are_fresh() -> None:
    assert stale(ROOT) == [], "run `python -m noria.chart`"


def test_the_command_writes_the_files_and_notices_stale_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--check", "--root", str(tmp_path)]) == 1
    assert "helm/noria/values.yaml is stale" in capsys.readouterr().err
    assert main(["--root", str(tmp_path)]) == 0
    assert main(["--check", "--root", str(tmp_path)]) == 0
    assert all((tmp_path / path).read_text() for path in generated())


def test_the_values_file_holds_the_defaults_of_the_model() -> None:
    written = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    assert ChartValues.model_validate(written) == ChartValues()
    assert written == ChartValues().model_dump(mode="json", by_alias=True)


@pytest.mark.parametrize("file", sorted((CHART / "ci").glob("*-values.yaml")), ids=lambda f: f.stem)
def test_the_values_of_the_profiles_fit_the_model(file: Path) -> None:
    given = yaml.safe_load(file.read_text(encoding="utf-8"))
    merged = _merge(ChartValues().model_dump(mode="json", by_alias=True), given)
    ChartValues.model_validate(merged)


def test_every_object_of_the_schema_is_closed_and_every_value_is_described() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    seen = 0
    for node in _nodes(schema):
        if "properties" in node:
            assert node["additionalProperties"] is False
            for key, value in node["properties"].items():
                seen += 1
                target = schema["$defs"].get(value.get("$ref", "").rpartition("/")[2], {})
                assert value.get("description") or target.get("description"), key
    assert seen > 100


def test_an_unknown_value_is_refused() -> None:
    with pytest.raises(ValidationError, match="replica"):
        ChartValues.model_validate({"operator": {"replica": 2}})


def test_the_roles_are_the_operators_own_list() -> None:
    assert access()["models"] == rules("models")
    assert access()["operator"] == rules("operator")


def test_nothing_is_granted_by_wildcard_and_everything_has_a_reason() -> None:
    for permission in (*PERMISSIONS, *WEBHOOK, *TRAINING, *DOCTOR, *USER):
        assert "*" not in (permission.group, permission.resource, *permission.verbs)
        assert permission.reason


def test_no_secret_is_readable_but_the_one_that_pipelines_give_their_steps() -> None:
    for role, rules_of_role in access().items():
        for rule in rules_of_role:
            if "secrets" in rule["resources"]:
                assert role == "training"
                assert rule["resourceNames"] == ["mlpipeline-minio-artifact"]
                assert rule["verbs"] == ["get"]


def test_the_doctor_only_looks() -> None:
    assert all(set(permission.verbs) <= {"get", "list"} for permission in DOCTOR)


def _merge(base: Any, given: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(given, dict):
        return given
    return {
        key: _merge(base[key], given[key]) if key in base and key in given
        else given.get(key, base.get(key))
        for key in {**base, **given}
    }  # fmt: skip


def _nodes(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for child in node.values():
            yield from _nodes(child)
    elif isinstance(node, list):
        for child in node:
            yield from _nodes(child)
