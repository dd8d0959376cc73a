"""The compiled pipeline: kept fresh, with the machine that the model asks for."""

from __future__ import annotations

import random
import string
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.resource import MAX_JSON_BYTES, packed, read_model
from noria.errors import InvalidInput
from noria.loop.values import RunRequest
from noria.spec import Compute, Model, parse_model
from pipelines.arguments import escaped_bytes, harmless, model_argument
from pipelines.caching import cache_keys
from pipelines.generate import GOLDEN, compile_pipeline, is_fresh
from pipelines.kubeflow import run_of
from pipelines.kubeflow_api import KubeflowSettings
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
    assert "noria-components:0.2.0" in GOLDEN.read_text()
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


def annotated(text: str) -> Model:
    changed = model().metadata.model_copy(update={"annotations": {"a": text}})
    return model().model_copy(update={"metadata": changed})


def test_a_resource_that_would_grow_too_long_is_packed() -> None:
    large = annotated('"' * 10_000)

    argument = model_argument(large)

    assert escaped_bytes(argument) == len(argument) < 10_000
    assert read_model(argument) == large
    assert read_model(large.model_dump_json(by_alias=True)) == large, "the plain form is read too"
    assert model_argument(model()).startswith("{")


def test_a_resource_too_large_even_when_packed_is_refused_by_its_size() -> None:
    noise = "".join(random.Random(0).choices(string.printable, k=200_000))

    with pytest.raises(
        InvalidInput, match=r"bytes as a pod gets them.*'model'; a pod takes 115,000"
    ):
        model_argument(annotated(noise))


@pytest.mark.parametrize(
    ("text", "size"), [("a", 1), ('"', 8), ("\\", 8), ("\n", 5), ("<", 9), ("한", 3), ("\x01", 9)]
)
def test_an_argument_is_measured_as_three_writers_of_json_leave_it(text: str, size: int) -> None:
    assert escaped_bytes(text * 100) == size * 100


def test_a_packed_resource_that_unpacks_to_too_much_is_refused_before_it_is_held() -> None:
    bomb = packed(" " * (MAX_JSON_BYTES + 1))
    assert len(bomb) < 50_000

    with pytest.raises(InvalidInput, match="unpacks to more than 16,777,216 bytes"):
        read_model(bomb)
    for damaged in (bomb[:-40], "gz:####", "gz:aGVsbG8=", packed("{") + "="):
        with pytest.raises(InvalidInput, match="the model resource"):
            read_model(damaged)


def test_a_placeholder_of_kfp_in_a_text_stays_text() -> None:
    assert harmless('{"a": "{{$.inputs}}"}') == '{"a": "{\\u007b$.inputs}}"}'


def run(**changes: Any) -> RunRequest:
    values: dict[str, Any] = {
        "run_id": "run-1",
        "model": "flights",
        "as_of": datetime(2013, 2, 1, tzinfo=UTC),
        "reason": "drift",
        "champion": "3",
    }
    return RunRequest(**(values | changes))


def changed(resource: Model, path: str, value: Any) -> Model:
    """Return the resource with the value at ``path`` (camelCase, below spec) replaced."""
    document = resource.model_dump(mode="json", by_alias=True)
    *sections, key = ["spec", *path.split(".")]
    place = document
    for section in sections:
        place = place[section]
    place[key] = value
    return parse_model(document)


def differing(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    return [step for step in STEPS if before.get(step) != after.get(step)]


ALL = [step for step in STEPS if step != "register"]
JUDGED = ["split", "tune", "train", "evaluate", "reference"]


@pytest.mark.parametrize(
    ("path", "value", "steps"),
    [
        ("data.target", "other", ALL),
        ("retraining.trainOn", {"kind": "window", "window": "90d"}, ALL),
        ("data.validation.minRows", 77, ["validate", "features", "split"]),
        ("data.split.testFraction", 0.3, JUDGED),
        ("train.seed", 7, ["tune", "train", "evaluate", "reference"]),
        ("train.refit", False, ["train", "evaluate", "reference"]),
        ("gates.minRows", 77, JUDGED),
        ("serving.replicas", 3, []),
        ("retraining.cooldown", "3d", []),
        ("train.compute.memory", "9Gi", []),
    ],
)
def test_a_step_is_known_by_what_its_result_follows_from(
    path: str, value: Any, steps: list[str]
) -> None:
    def keys(resource: Model) -> Mapping[str, str]:
        return cache_keys(resource, run(), image="image:1", base="/model")

    assert differing(keys(model()), keys(changed(model(), path, value))) == steps


@pytest.mark.parametrize(
    ("request_changes", "place", "steps"),
    [
        ({"run_id": "run-2", "reason": "another"}, {}, []),
        ({"champion": "4"}, {}, JUDGED),
        ({"as_of": datetime(2013, 3, 1, tzinfo=UTC)}, {}, ALL),
        ({}, {"image": "image:2"}, ALL),
        ({}, {"base": "zip:abc"}, ALL),
        ({}, {"tracking_uri": "http://another"}, JUDGED),
    ],
)
def test_rows_of_another_time_or_place_are_other_rows(
    request_changes: dict[str, Any], place: dict[str, str], steps: list[str]
) -> None:
    here = {"image": "image:1", "base": "/model"}
    before = cache_keys(model(), run(), **here)
    after = cache_keys(model(), run(**request_changes), **(here | place))

    assert differing(before, after) == steps


def test_a_submitted_run_is_cached_by_its_keys_and_never_registers_from_a_cache() -> None:
    pipeline, _ = run_of(model(), run(), KubeflowSettings("http://kfp"))

    tasks = pipeline["pipeline_spec"]["root"]["dag"]["tasks"]
    keys = cache_keys(model(), run(), image="noria-components:0.2.0", base="/model")
    found = {name: tasks[name]["cachingOptions"].get("cacheKey") for name in STEPS}
    assert found == dict(keys) | {"register": None}
    assert tasks["register"]["cachingOptions"] == {}


def test_a_run_is_told_of_the_monitor_only_where_it_learns_from_what_was_served() -> None:
    monitor = KubeflowSettings("http://kfp", served="http://monitor.ml.svc:8080")
    plain = model().model_dump(mode="json", by_alias=True)
    plain["spec"]["data"]["served"] = {}

    pipeline, told = run_of(parse_model(plain), run(), monitor)

    assert told["served"] == "http://monitor.ml.svc:8080"
    tasks = pipeline["pipeline_spec"]["root"]["dag"]["tasks"]
    given = {name for name, task in tasks.items() if "served" in task["inputs"]["parameters"]}
    assert given == {"ingest"}
    assert run_of(model(), run(), monitor)[1]["served"] == ""


def test_without_a_cache_nothing_is_known() -> None:
    pipeline, _ = run_of(model(cache=False), run(), KubeflowSettings("http://kfp"))

    tasks = pipeline["pipeline_spec"]["root"]["dag"]["tasks"]
    assert all(task["cachingOptions"] == {} for task in tasks.values())


def test_every_golden_file_shows_its_machine() -> None:
    gpu = (GOLDEN.parent / "training-gpu.yaml").read_text()
    nodes = (GOLDEN.parent / "training-nodes.yaml").read_text()

    for text in ("NVIDIA-L4", "noria.dev/node-pool", "/dev/shm", "maxRetryCount: 2", "'21600'"):
        assert text in gpu
    assert "cacheKey: key-of-train" in gpu
    assert "secretName: mlflow-credentials" in gpu
    assert "runAsNonRoot: true" in gpu
    assert "mountPath: /noria/shared" in nodes
    spec, _ = yaml.safe_load_all(nodes)
    executors = spec["deploymentSpec"]["executors"]
    assert "accelerator" in executors["exec-tune"]["container"]["resources"]
    assert "accelerator" not in executors["exec-train"]["container"]["resources"]


def test_several_nodes_need_a_volume_that_they_share() -> None:
    compute = Compute(nodes=2)
    spec = model().spec.model_copy(
        update={"train": model().spec.train.model_copy(update={"compute": compute})}
    )
    distributed = model().model_copy(update={"spec": spec})

    with pytest.raises(InvalidInput, match=r"2 nodes need a volume to share.*shared_claim"):
        run_of(distributed, run(), KubeflowSettings("http://kfp"))
    pipeline, _ = run_of(distributed, run(), KubeflowSettings("http://kfp", shared_claim="c"))

    train = pipeline["pipeline_spec"]["root"]["dag"]["tasks"]["train"]["inputs"]["parameters"]
    assert train["run_id"] == {"componentInputParameter": "run_id"}
    assert train["claim"]["runtimeValue"]["constant"] == "c"


def test_the_image_of_the_resource_comes_before_the_installations() -> None:
    own = "registry.example/parcels:7"
    settings = KubeflowSettings("http://kfp", image="registry.example/noria:1")

    for resource, image in ((model(image=own), own), (model(), settings.image)):
        pipeline, _ = run_of(resource, run(), settings)
        executors = pipeline["pipeline_spec"]["deploymentSpec"]["executors"]
        assert {item["container"]["image"] for item in executors.values()} == {image}
