"""What KServe starts is what the server understands."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from noria.errors import TrafficError
from noria.spec import parse_model
from serving.settings import parse
from serving.traffic.kserve_objects import (
    Artifact,
    KServeOptions,
    check_name,
    predictor,
    replicas_for,
)
from serving.traffic.launch import ServerLaunch
from serving.traffic.runtime import cluster_storage_container, serving_runtime

MODEL = """
apiVersion: noria.dev/v1alpha1
kind: Model
metadata: {name: flights}
spec:
  task: {family: tabular-classification}
  data:
    source: {csv: {paths: [flights.csv]}}
    features:
      - {name: distance, type: numeric}
      - {name: ssn, type: categorical}
      - {name: "소득, 연간", type: numeric}
      - {name: "{{.Name}} $(HOME) $$", type: numeric}
    target: late
  serving:
    protocols: [rest, grpc]
    replicas: 3
    resources: {cpu: 500m, memory: 2Gi}
    batching: {maxRows: 64, maxDelay: 5ms}
    maxRequestBytes: 1Mi
    payloadLog: {sample: 0.5, redact: [ssn, "소득, 연간", "{{.Name}} $(HOME) $$"]}
"""


def as_the_container_gets_it(argument: str) -> str:
    """What KServe's Go template and then the kubelet's variables make of an argument."""
    templated = argument.replace("{{`{{`}}", "\0")
    assert "{{" not in templated, "a template would be run"
    expanded = templated.replace("$$", "\1")
    assert "$" not in expanded, "a variable might be put in"
    return expanded.replace("\0", "{{").replace("\1", "$")


def test_a_launch_hands_lists_on_as_lists() -> None:
    redact = ("소득, 연간", "a,b", "-x", "c=d", "'", '"')
    launch = ServerLaunch(package="/p", redact=redact)
    arguments = launch.arguments("m", "7", port=0, ready_file=Path("/r"))
    settings = parse(arguments[arguments.index("serving") + 1 :])
    assert settings.redact == frozenset(redact)
    assert parse(["--package=/p", "--name=m", "--version=1"]).redact == frozenset()


def test_the_server_reads_the_arguments_of_runtime_and_predictor() -> None:
    options = KServeOptions.of(parse_model(MODEL), "models")
    artifact = Artifact("models:/flights/7", "ab" * 32)
    made = predictor("flights", "7", "models", artifact, options, replicas=3, grpc=True)
    container = serving_runtime("example.test/serving:1")["spec"]["containers"][0]
    settings = parse([*container["args"], *map(as_the_container_gets_it, made["model"]["args"])])
    assert (settings.package, settings.host) == (Path("/mnt/models"), "0.0.0.0")  # noqa: S104
    assert (settings.port, settings.grpc_port) == (8080, 9000)
    assert (settings.name, settings.version) == ("flights", "7")
    assert settings.digest == "ab" * 32
    assert settings.sink == "http://noria-monitor-flights.models.svc:8080"
    assert settings.sample == 0.5
    assert settings.redact == {"ssn", "소득, 연간", "{{.Name}} $(HOME) $$"}
    assert settings.namespace == "models"
    assert settings.max_request_bytes == 1 << 20
    assert settings.batch_rows == 64
    assert settings.batch_delay == pytest.approx(timedelta(milliseconds=5).total_seconds())
    assert settings.drain_delay + settings.drain_timeout < made["terminationGracePeriodSeconds"]
    assert made["model"]["resources"]["limits"] == {"cpu": "500m", "memory": str(2 << 30)}


def test_what_a_pod_mounts_can_be_read_only() -> None:
    container = serving_runtime("example.test/serving:1")["spec"]["containers"][0]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    initializer = cluster_storage_container("example.test/noria:1", "http://mlflow:5000", "keys")
    made = initializer["spec"]["container"]
    assert made["securityContext"]["readOnlyRootFilesystem"] is True
    assert made["envFrom"] == [{"secretRef": {"name": "keys"}}]
    assert initializer["spec"]["supportedUriFormats"] == [{"prefix": "models:/"}]


@pytest.mark.parametrize("uri", ["models:/flights@champion", "models:/flights/6", "models:/x/v7"])
def test_a_uri_that_is_not_of_the_version_is_refused(uri: str) -> None:
    artifact = Artifact(uri, "")
    with pytest.raises(TrafficError, match="does not name that version"):
        predictor("flights", "7", "x", artifact, KServeOptions(), replicas=1, grpc=False)


def test_a_name_that_kserve_would_choke_on_is_refused_at_once() -> None:
    check_name("m" * 49, "7")
    with pytest.raises(TrafficError, match="at most 50 characters"):
        check_name("m" * 51, "7")
    with pytest.raises(TrafficError, match="can't be part"):
        check_name("flights", "V 7")


@pytest.mark.parametrize(
    ("percent", "replicas", "servers"), [(0, 4, 1), (1, 4, 1), (50, 4, 2), (51, 4, 3), (100, 4, 4)]
)
def test_a_share_gets_the_servers_for_it(percent: int, replicas: int, servers: int) -> None:
    assert replicas_for(percent, replicas) == servers
