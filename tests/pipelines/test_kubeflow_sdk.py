"""What Noria uses of KFP's SDK: its signatures, so that an upgrade that moves them is seen."""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# KFP's own modules warn about their dependencies when they are imported.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
CALLS = {
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


def test_the_client_takes_what_we_give_it() -> None:
    client = importlib.import_module("kfp.client")
    taken = inspect.signature(client.Client.__init__).parameters

    assert {"host", "namespace", "ssl_ca_cert", "credentials"} <= set(taken)


def test_the_client_has_the_services_and_their_pool() -> None:
    client = importlib.import_module("kfp.client")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = client.Client(host="http://127.0.0.1:9", namespace="-")

    assert type(made._run_api).__name__ == "RunServiceApi"
    assert type(made._experiment_api).__name__ == "ExperimentServiceApi"
    assert isinstance(made._run_api.api_client.rest_client.pool_manager.connection_pool_kw, dict)


@pytest.mark.parametrize("service", sorted(CALLS))
def test_the_services_have_the_calls_that_we_make(service: str) -> None:
    kind = getattr(importlib.import_module("kfp_server_api"), service)

    for name, required in CALLS[service].items():
        taken = inspect.signature(getattr(kind, f"{name}_with_http_info")).parameters
        assert set(taken) - {"self", "kwargs"} == required
        assert "_request_timeout" in inspect.getsource(getattr(kind, f"{name}_with_http_info"))


def test_the_token_file_is_read_by_a_hook_of_the_configuration(tmp_path: Path) -> None:
    volume = importlib.import_module("kfp.client.set_volume_credentials")
    server = importlib.import_module("kfp_server_api")
    (tmp_path / "token").write_text("abc\n")
    configuration = server.Configuration()

    volume.ServiceAccountTokenVolumeCredentials(str(tmp_path / "token")).refresh_api_key_hook(
        configuration
    )

    assert configuration.api_key["authorization"] == "abc"


def test_the_server_for_tests_serves_paths_of_the_swagger_file(
    kfp_server: Callable[..., Any], swagger: list[str]
) -> None:
    if not swagger:
        pytest.skip("no Swagger file: set NORIA_KFP_SWAGGER, or have Go fetch the module")
    assert kfp_server(*swagger).url
