"""What KServe is told of a server that is not Noria's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from noria.errors import TrafficError
from noria.loop.fakes import sample_model
from noria.spec import Model
from noria.spec.schema.crd import crd
from serving.traffic.gateway import route
from serving.traffic.kserve_objects import Artifact, KServeOptions, check_overlay, predictor

IMAGE = f"registry.example/churn-server@sha256:{'ab' * 32}"
METRICS = {"requests": ["http_requests_total"], "errors": ['http_requests_total{code=~"5.."}']}
URI = "models:/flights/7"


def options(**runtime: Any) -> KServeOptions:
    serving = {
        "runtime": {"metrics": METRICS, **runtime},
        "resources": {"cpu": "4", "memory": "16Gi"},
        "canary": {"analysis": [{"metric": "error-rate", "max": 0.01}]},
    }
    return KServeOptions.of(sample_model(serving=serving), "prod")


def made(given: KServeOptions) -> dict[str, Any]:
    return predictor("flights", "7", "prod", Artifact(URI, "0" * 64), given, replicas=2, grpc=False)


def variables(container: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in container["env"]}


def test_an_image_gets_the_package_its_name_and_a_restricted_place() -> None:
    found = made(options(image=IMAGE, args=["--n=$(NORIA_MODEL)"], env={"A": "1"}, secrets=["hub"]))
    (container,) = found["containers"]
    assert "model" not in found
    assert (container["name"], container["image"]) == ("kserve-container", IMAGE)
    # The kubelet puts the variables in.
    assert container["args"] == ["--n=$(NORIA_MODEL)"]
    assert variables(container) == {
        "HOME": "/tmp",
        "NORIA_MODEL": "flights",
        "NORIA_VERSION": "7",
        "NORIA_NAMESPACE": "prod",
        "STORAGE_URI": URI,
        "A": "1",
    }
    assert container["envFrom"] == [{"secretRef": {"name": "hub"}}]
    security = container["securityContext"]
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["runAsNonRoot"] is True
    assert security["allowPrivilegeEscalation"] is False
    assert container["resources"]["limits"] == {"cpu": "4", "memory": str(16 << 30)}
    assert container["ports"][0]["containerPort"] == 8080
    assert container["readinessProbe"]["httpGet"] == {"path": "/v2/health/ready", "port": 8080}
    assert found["labels"]["noria.dev/version"] == "7"
    assert found["minReplicas"] == 2


def test_an_image_says_what_it_needs_else() -> None:
    given = options(
        image=IMAGE, port=9000, user=1000, gpus=2, readOnlyRootFilesystem=False, protocol="v1"
    )
    found = made(given)
    (container,) = found["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is False
    assert container["securityContext"]["runAsUser"] == 1000
    assert found["securityContext"]["fsGroup"] == 1000
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert container["readinessProbe"]["httpGet"] == {"path": "/v1/models/flights", "port": 9000}
    assert made(options(image=IMAGE, readiness="/up"))["containers"][0]["readinessProbe"][
        "httpGet"
    ] == {"path": "/up", "port": 8080}


def test_a_named_runtime_gets_its_own_arguments_alone() -> None:
    args = ["--model_name=$(NORIA_MODEL)", "--chat={{x}}"]
    found = made(options(name="kserve-huggingfaceserver", format="huggingface", args=args))
    assert "containers" not in found
    model = found["model"]
    assert model["runtime"] == "kserve-huggingfaceserver"
    assert model["modelFormat"] == {"name": "huggingface"}
    assert model["storageUri"] == URI
    assert model["args"] == ["--model_name=$(NORIA_MODEL)", "--chat={{`{{`}}x}}"]
    assert variables(model)["NORIA_VERSION"] == "7"


@pytest.mark.parametrize("kind", [{"image": IMAGE}, {"name": "k", "format": "f"}])
def test_kserves_logger_tells_the_monitor_with_the_version(kind: dict[str, str]) -> None:
    found = made(options(**kind))
    assert found["logger"] == {
        "mode": "all",
        "url": "http://noria-monitor-flights.prod.svc:8080",
        "metadataAnnotations": ["noria.dev/model-version"],
    }
    assert found["annotations"]["noria.dev/model-version"] == "7"


def test_nothing_is_logged_that_nobody_wants() -> None:
    runtime = {"metrics": METRICS, "image": IMAGE}
    analysis = {"analysis": [{"metric": "error-rate", "max": 0.01}]}
    blind: dict[str, Any] = {
        "monitoring": {"detectors": [], "performance": {"drop": None}},
        "retraining": {"signals": ["manual"]},
    }
    log = {"runtime": runtime, "canary": analysis, "payloadLog": {"sample": 0}}
    quiet = sample_model(serving=log, **blind)
    assert "logger" not in made(KServeOptions.of(quiet, "prod"))


def test_texts_are_logged_and_need_a_host_of_their_own() -> None:
    given = replace(options(image=IMAGE, protocol="openai"), gateway="a/b")
    assert made(given)["logger"]["mode"] == "all"
    with pytest.raises(TrafficError, match="openai has the same paths for every model"):
        route("flights", "prod", given, {"flights-v7-predictor": 100})


def test_norias_own_server_is_told_what_it_always_was() -> None:
    found = made(KServeOptions.of(sample_model(), "prod"))
    assert found["model"]["runtime"] == "noria-server"
    assert set(found) & {"containers", "logger", "volumes"} == set()


def test_a_canary_of_another_kind_is_refused_where_kserve_would_mix_both() -> None:
    norias, image = made(KServeOptions.of(sample_model(), "prod")), made(options(image=IMAGE))
    check_overlay("flights", "8", image, image)
    with pytest.raises(TrafficError, match="version 8 has no containers and no logger"):
        check_overlay("flights", "8", norias, image)
    with pytest.raises(TrafficError, match="version 8 has no model, which"):
        check_overlay("flights", "8", image, norias)


@pytest.mark.parametrize("page", ["kserve.md", "kserve.ko.md"])
def test_the_examples_of_the_documentation_are_valid(page: str) -> None:
    text = (Path(__file__).parents[2] / "docs" / page).read_text(encoding="utf-8")
    blocks = [block.partition("```")[0] for block in text.split("```yaml\n")[1:]]
    examples = [yaml.safe_load(block) for block in blocks if "runtime:" in block]
    assert len(examples) == 2
    for sections in examples:
        runtime = sections["serving"]["runtime"]
        if "image" in runtime:
            runtime["image"] = runtime["image"].replace("...", "0" * 64)
        model = sample_model(**sections, retraining={"signals": ["manual"]})
        assert model.spec.serving.runtime is not None
        # What the operator hands on as a file, and reads again.
        assert Model.model_validate(model.model_dump(mode="json", by_alias=True)) == model


def test_the_api_server_keeps_variables_of_any_name() -> None:
    """A structural schema without ``additionalProperties`` would prune them."""
    spec = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    runtime = spec["properties"]["serving"]["properties"]["runtime"]["properties"]
    assert runtime["env"]["additionalProperties"]["type"] == "string"
