"""The operator's settings: environment variables, each refused by its name."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from noria.errors import InvalidInput
from noria.operator.settings import read_settings

GIVEN = {
    "NORIA_KFP_HOST": "http://ml-pipeline.kubeflow:8888",
    "NORIA_MLFLOW_URI": "http://mlflow:5000",
    "NORIA_COMPONENTS_IMAGE": "registry.test/components@sha256:" + "a" * 64,
    "NORIA_MONITORING_IMAGE": "registry.test/monitoring:1.2",
}


def test_what_is_not_given_has_a_default(tmp_path: Path) -> None:
    here = tmp_path / "namespace"
    here.write_text("models\n")
    settings = read_settings(GIVEN, here=here)
    assert settings.namespaces == ("models",)
    assert settings.pod_namespace == "models"
    assert settings.cycle == timedelta(seconds=10)
    assert settings.traffic == "auto"
    assert settings.monitor_of("flights", "prod") == "http://noria-monitor-flights.prod.svc:8080"
    assert (settings.manage_rules, settings.manage_dashboards) == (True, True)


def test_lists_and_paths_are_read() -> None:
    more = {
        "NORIA_NAMESPACES": "a, b,a",
        "NORIA_IMAGE_PULL_SECRETS": "one,two",
        "NORIA_IMAGE_PULL_POLICY": "Never",
        "NORIA_KFP_TOKEN_FILE": "/var/run/token",
        "NORIA_CYCLE": "500ms",
    }
    settings = read_settings(GIVEN | more)
    assert settings.namespaces == ("a", "b")
    assert settings.image_pull_secrets == ("one", "two")
    assert settings.image_pull_policy == "Never"
    assert settings.kfp_token_file == Path("/var/run/token")


def test_everything_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(InvalidInput) as refused:
        read_settings({})
    assert [problem.path for problem in refused.value.problems] == list(GIVEN)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("NORIA_IMAGE_PULL_POLICY", "sometimes", "is no pull policy"),
        ("NORIA_NAMESPACES", "prod-*", "no patterns"),
        ("NORIA_CYCLE", "10", "500ms, 10s or 1m"),
        ("NORIA_CYCLE", "1ms", "100ms or more"),
        ("NORIA_KFP_HOST", "kfp:8888", "http://host:port"),
        ("NORIA_KFP_HOST", "http://me:secret@kfp", "give a token by a file"),
        ("NORIA_GATEWAY", "gateway", "namespace/name"),
        ("NORIA_PROMETHEUS_LABELS", "release", "key=value"),
        ("NORIA_TRAFFIC", "istio", "auto, standard, routes, knative"),
        ("NORIA_MONITOR_URL", "http://{pod}", "fields other than model and namespace"),
        ("NORIA_MONITOR_URL", "http://{model", "brace"),
        ("NORIA_MONITOR_STORAGE_SIZE", "lots", "1Gi"),
        ("NORIA_MANAGE_RULES", "yes", "true or false"),
        ("NORIA_METRICS_PORT", "99999", "1 to 65535"),
        ("NORIA_KFP_CA_FILE", "ca.pem", "absolute path"),
        ("NORIA_MONITORING_IMAGE", "not an image", "sha256"),
    ],
)
def test_a_wrong_value_is_refused_by_name_with_its_fix(
    variable: str, value: str, said: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_settings(GIVEN | {variable: value})
    assert variable in str(refused.value)
    assert said in str(refused.value)
