"""The client that Kubeflow Pipelines generates: an upgrade that moves what Noria uses is seen."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import pytest

# KFP's own modules warn about their dependencies when they are imported.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
CALLS = {
    "HealthzServiceApi": {"healthz_service_get_healthz": set()},
    "ExperimentServiceApi": {
        "experiment_service_list_experiments": set(),
        "experiment_service_create_experiment": {"experiment"},
    },
    "RunServiceApi": {
        "run_service_list_runs": set(),
        "run_service_create_run": {"run"},
        "run_service_get_run": {"run_id"},
        "run_service_terminate_run": {"run_id"},
        "run_service_archive_run": {"run_id"},
    },
}


def test_the_client_has_the_settings_that_we_make() -> None:
    server = importlib.import_module("kfp_server_api")
    configuration = server.Configuration(host="http://127.0.0.1:9")
    configuration.retries = server.rest.urllib3.Retry(total=None, connect=0)
    configuration.api_key = {"authorization": ""}
    configuration.api_key_prefix = {"authorization": "Bearer"}
    configuration.refresh_api_key_hook = lambda known: known.api_key.update(authorization="abc")

    pool = server.ApiClient(configuration).rest_client.pool_manager

    assert pool.connection_pool_kw["retries"] is configuration.retries
    assert configuration.get_api_key_with_prefix("authorization") == "Bearer abc"
    assert configuration.auth_settings()["Bearer"]["value"] == "Bearer abc"


@pytest.mark.parametrize("service", sorted(CALLS))
def test_the_services_have_the_calls_that_we_make(service: str) -> None:
    kind = getattr(importlib.import_module("kfp_server_api"), service)

    for name, required in CALLS[service].items():
        taken = inspect.signature(getattr(kind, f"{name}_with_http_info")).parameters
        assert set(taken) - {"self", "kwargs"} == required
        assert "_request_timeout" in inspect.getsource(getattr(kind, f"{name}_with_http_info"))


def test_the_server_for_tests_serves_paths_of_the_swagger_file(
    kfp_server: Callable[..., Any], swagger: list[str]
) -> None:
    if not swagger:
        pytest.skip("no Swagger file: set NORIA_KFP_SWAGGER, or have Go fetch the module")
    assert kfp_server(*swagger).url
