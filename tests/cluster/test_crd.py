"""The generated CRD on a real API server: taken, and it refuses what a schema can see."""

from __future__ import annotations

import copy
import json
import ssl
import time
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.cluster.controlplane.cluster import Cluster

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).resolve().parents[2]
CRD = ROOT / "manifests" / "crd" / "models.noria.dev.yaml"
CASES = yaml.safe_load((ROOT / "tests/spec/refusals.yaml").read_text(encoding="utf-8"))
EXAMPLES = sorted((ROOT / "examples").glob("*/model.yaml"))


@pytest.fixture(scope="module", autouse=True)
def established(cluster: Cluster) -> None:
    cluster.kubectl("apply", "--server-side", "--force-conflicts", f"--filename={CRD}")
    ends = time.monotonic() + 120
    while "True" not in cluster.kubectl(
        "get", "crd", "models.noria.dev",
        "--output=jsonpath={.status.conditions[?(@.type=='Established')].status}",
    ):  # fmt: skip
        assert time.monotonic() < ends
        time.sleep(0.1)


@pytest.fixture(scope="module")
def whole(request: pytest.FixtureRequest) -> dict[str, Any]:
    """A sound resource with every section; the tests of the spec change the same one."""
    found = spec_from_file_location("spec_conftest", ROOT / "tests" / "spec" / "conftest.py")
    assert found is not None
    assert found.loader is not None
    module = module_from_spec(found)
    found.loader.exec_module(module)
    request.config.stash.setdefault(_CHANGE, module.with_paths)
    resource: dict[str, Any] = copy.deepcopy(module.WHOLE)
    del resource["metadata"]["namespace"]
    return resource


_CHANGE = pytest.StashKey[Any]()


@pytest.fixture(scope="module")
def api(cluster: Cluster) -> Iterator[httpx.Client]:
    configuration = cluster.admin.configuration
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    token = configuration.get_api_key_with_prefix("authorization")
    headers = {"Authorization": token} if token else {}
    with httpx.Client(
        base_url=configuration.host, verify=context, headers=headers, trust_env=False, timeout=30
    ) as client:
        yield client


def _refused(api: httpx.Client, resource: dict[str, Any]) -> list[str] | None:
    """Ask the API server as kubectl does, with strict field validation; nothing is stored."""
    answer = api.post(
        "/apis/noria.dev/v1alpha1/namespaces/default/models",
        params={"dryRun": "All", "fieldValidation": "Strict"},
        content=json.dumps(resource),
        headers={"Content-Type": "application/json"},
    )
    if answer.status_code == httpx.codes.CREATED:
        return None
    body = answer.json()
    assert answer.status_code in (400, 422), body
    causes = body.get("details", {}).get("causes", [])
    return [cause["message"] for cause in causes] or [body["message"]]


def test_a_sound_resource_is_taken(api: httpx.Client, whole: dict[str, Any]) -> None:
    assert _refused(api, whole) is None


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_what_a_schema_sees_is_refused_and_the_rest_is_left_to_the_operator(
    api: httpx.Client, whole: dict[str, Any], case: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    changed = request.config.stash[_CHANGE](whole, case["set"], gone="<gone>")
    refused = _refused(api, changed)
    told = case.get("apply") == "refused" or case["name"] == "not a number"  # JSON has none
    assert (refused is not None) == told, refused


@pytest.mark.parametrize("file", EXAMPLES, ids=[file.parent.name for file in EXAMPLES])
def test_the_examples_apply_and_apply_again(cluster: Cluster, namespace: str, file: Path) -> None:
    versions = []
    for _ in range(2):
        cluster.kubectl("apply", f"--namespace={namespace}", f"--filename={file}")
        (stored,) = json.loads(cluster.kubectl("get", "nm", f"--namespace={namespace}", "-ojson"))[
            "items"
        ]
        versions.append(stored["metadata"]["resourceVersion"])
    assert versions[0] == versions[1]


def test_kubectl_shows_the_columns_of_the_status(cluster: Cluster, namespace: str) -> None:
    flights = ROOT / "examples" / "flights" / "model.yaml"
    cluster.kubectl("apply", f"--namespace={namespace}", f"--filename={flights}")
    status = {
        "champion": "7",
        "candidate": "8",
        "retrainsLeft": 5,
        "printed": {"stage": "canary", "traffic": "v7 90 %, v8 10 %", "verdict": "v8 pass"},
    }
    cluster.kubectl(
        "patch", "nm", "flights", f"--namespace={namespace}", "--subresource=status",
        "--type=merge", f"--patch={json.dumps({'status': status})}",
    )  # fmt: skip
    header, row = cluster.kubectl("get", "nm", f"--namespace={namespace}").strip().splitlines()
    for column in ("STAGE", "CHAMPION", "CANDIDATE", "TRAFFIC", "VERDICT", "RETRAINS LEFT"):
        assert column in header
    assert "v7 90 %, v8 10 %" in row
    assert row.split()[:4] == ["flights", "canary", "7", "8"]


def test_the_status_is_written_apart_from_the_spec(cluster: Cluster, namespace: str) -> None:
    flights = ROOT / "examples" / "flights" / "model.yaml"
    cluster.kubectl("apply", f"--namespace={namespace}", f"--filename={flights}")

    def patch(body: dict[str, Any], *more: str) -> dict[str, Any]:
        cluster.kubectl(
            "patch", "nm", "flights", f"--namespace={namespace}", "--type=merge",
            f"--patch={json.dumps(body)}", *more,
        )  # fmt: skip
        found = cluster.kubectl("get", "nm", "flights", f"--namespace={namespace}", "-ojson")
        read: dict[str, Any] = json.loads(found)
        return read

    changed = patch({"status": {"stage": "x"}, "spec": {"train": {"seed": 3}}})
    assert "stage" not in changed.get("status", {})
    assert changed["metadata"]["generation"] == 2
    changed = patch(
        {"status": {"stage": "x"}, "spec": {"train": {"seed": 4}}}, "--subresource=status"
    )
    assert changed["status"]["stage"] == "x"
    assert changed["spec"]["train"]["seed"] == 3
    assert changed["metadata"]["generation"] == 2


def test_one_version_is_stored_and_served(cluster: Cluster) -> None:
    crd = json.loads(cluster.kubectl("get", "crd", "models.noria.dev", "--output=json"))
    (version,) = crd["spec"]["versions"]
    assert (version["name"], version["served"], version["storage"]) == ("v1alpha1", True, True)
    assert crd["status"]["storedVersions"] == ["v1alpha1"]
