"""The compiled pipeline: kept fresh, with the machine that the model asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from noria.errors import InvalidInput
from noria.spec import Model, parse_model
from pipelines.arguments import MAX_PARAMETER_BYTES, harmless, model_argument
from pipelines.generate import GOLDEN, compile_pipeline, is_fresh
from pipelines.training import STEPS

# KFP's own modules warn about their dependencies when they are imported.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def model(**compute: Any) -> Model:
    return parse_model(
        {
            "apiVersion": "noria.dev/v1alpha1",
            "kind": "Model",
            "metadata": {"name": "flights"},
            "spec": {
                "task": {"family": "tabular-classification"},
                "data": {
                    "source": {"parquet": {"paths": ["rows.parquet"]}},
                    "features": [{"name": "distance", "type": "numeric"}],
                    "target": "late",
                    "eventTime": "scheduled",
                    "entityKey": ["flight_id"],
                },
                "train": {"compute": compute},
            },
        }
    )


def compiled(resource: Model, out: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    spec, platform = yaml.safe_load_all(compile_pipeline(resource, out).read_text())
    return spec, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def test_the_golden_file_is_what_the_code_compiles_to() -> None:
    assert is_fresh(), "run: python -m pipelines.generate"
    assert "noria/components:0.1.0" in GOLDEN.read_text()
    assert "pip install" not in GOLDEN.read_text()


def test_the_compute_section_becomes_the_tasks_machine(tmp_path: Path) -> None:
    resource = model(
        cpu="4",
        memory="8Gi",
        gpu={"product": "NVIDIA-L4", "count": 2},
        nodePool="training",
        sharedMemory="2Gi",
        retries=3,
        timeout="2h",
        cache=True,
    )

    spec, platform = compiled(resource, tmp_path / "flights.yaml")

    container = spec["deploymentSpec"]["executors"]["exec-train"]["container"]["resources"]
    assert container["resourceCpuLimit"] == "4"
    assert container["resourceMemoryLimit"] == "8Gi"
    assert container["accelerator"]["resourceType"] == "nvidia.com/gpu"
    assert container["accelerator"]["resourceCount"] == "2"
    train = platform["exec-train"]
    assert train["nodeSelector"]["labels"] == {
        "nvidia.com/gpu.product": "NVIDIA-L4",
        "noria.dev/node-pool": "training",
    }
    assert {item["key"] for item in train["tolerations"]} == {
        "nvidia.com/gpu",
        "noria.dev/node-pool",
    }
    assert train["emptyDirMounts"][0]["mountPath"] == "/dev/shm"
    assert train["activeDeadlineSeconds"] == "7200"
    tasks = spec["root"]["dag"]["tasks"]
    assert tasks["train"]["retryPolicy"]["maxRetryCount"] == 3
    assert tasks["train"]["cachingOptions"] == {"enableCache": True}
    assert "accelerator" not in str(spec["deploymentSpec"]["executors"]["exec-split"])


def test_steps_that_touch_the_outside_are_never_cached(tmp_path: Path) -> None:
    spec, _ = compiled(model(cache=True), tmp_path / "flights.yaml")

    tasks = spec["root"]["dag"]["tasks"]
    assert set(tasks) == set(STEPS)
    assert [name for name in STEPS if not tasks[name]["cachingOptions"]] == ["ingest", "register"]


def test_the_resource_travels_as_the_default_of_a_parameter(tmp_path: Path) -> None:
    spec, _ = compiled(model(), tmp_path / "anywhere" / "flights.ir")

    default = spec["root"]["inputDefinitions"]["parameters"]["model"]["defaultValue"]
    assert parse_model(default).name == "flights"
    assert [path.name for path in (tmp_path / "anywhere").iterdir()] == ["flights.ir"]


def test_a_resource_too_large_for_a_parameter_goes_by_file_or_is_refused(tmp_path: Path) -> None:
    large = model().model_copy(
        update={"metadata": model().metadata.model_copy(update={"annotations": {"a": "x" * 10**5}})}
    )

    with pytest.raises(InvalidInput, match="as JSON"):
        model_argument(large)
    argument = model_argument(large, spill=tmp_path / "model.json")
    assert argument == f"@{tmp_path}/model.json"
    assert (tmp_path / "model.json").stat().st_size > MAX_PARAMETER_BYTES


def test_a_placeholder_of_kfp_in_a_text_stays_text() -> None:
    assert harmless('{"a": "{{$.inputs}}"}') == '{"a": "{\\u007b$.inputs}}"}'
