"""Kubeflow Pipelines at its worst: nothing is started twice, and errors say what to do."""

from __future__ import annotations

import datetime as times
import ipaddress
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from noria.errors import InvalidInput, PipelineError, Unavailable
from noria.loop.conformance.expect import soon
from noria.loop.values import RunPhase, RunRequest
from noria.spec import parse_model
from pipelines.kubeflow import KubeflowPipelines
from pipelines.kubeflow_api import KubeflowSettings

# KFP's own modules warn about their dependencies when they are imported.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "CANCELING")


@pytest.fixture
def server(kfp_server: Callable[..., Any], swagger: list[str]) -> Any:
    return kfp_server(*swagger)


@pytest.fixture
def adapter(
    flights: dict[str, Any], kubeflow_settings: Callable[..., KubeflowSettings]
) -> Callable[..., KubeflowPipelines]:
    """An adapter for a URL. Nothing here registers a version, unless the test says so."""

    def make(url: str, **changes: Any) -> KubeflowPipelines:
        resource = parse_model(flights)
        return KubeflowPipelines(
            kubeflow_settings(url, **changes), lambda _: resource, lambda *_: None
        )

    return make


Make = Callable[..., KubeflowPipelines]
Request = Callable[..., RunRequest]


def going(server: Any) -> list[dict[str, Any]]:
    return [run for run in server.runs() if run["state"] not in ENDED]


def test_an_answer_lost_after_creation_starts_no_second_run(
    server: Any, adapter: Make, request_run: Request
) -> None:
    port = adapter(server.url)
    server.fault(method="POST", path="/runs", cut="after")

    with pytest.raises(Unavailable, match="create run: Kubeflow Pipelines at http://"):
        port.start(request_run())
    port.start(request_run())

    assert len(server.runs()) == 1
    assert port.status("run-1").phase is RunPhase.PENDING


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/experiments"), ("GET", "/runs"), ("POST", "/runs")]
)
def test_a_failing_server_is_unavailable_and_a_later_start_is_the_only_one(
    server: Any, adapter: Make, request_run: Request, method: str, path: str
) -> None:
    port = adapter(server.url)
    server.fault(method=method, path=path, status=503)

    with pytest.raises(Unavailable, match="503: on order") as raised:
        port.start(request_run())
    assert raised.value.__cause__ is not None
    assert server.runs() == []
    port.start(request_run())

    assert len(server.runs()) == 1


def test_a_run_that_appears_after_its_request_was_given_up_is_taken_back(
    server: Any, adapter: Make, request_run: Request
) -> None:
    server.fault(method="POST", path="/runs", held=True)
    with pytest.raises(Unavailable, match="timed out"):
        adapter(server.url, timeout=1.0).start(request_run())

    port = adapter(server.url, timeout=30.0)
    port.start(request_run())  # the first one is still on its way
    server.release()
    soon(server.runs, lambda runs: len(runs) == 2, 20, "both runs")
    port.status("run-1")

    assert len(going(server)) == 1
    oldest = min(server.runs(), key=lambda run: (run["created_at"], run["run_id"]))
    assert going(server)[0]["run_id"] == oldest["run_id"]


def test_many_that_start_at_once_leave_one_run(
    server: Any, adapter: Make, request_run: Request
) -> None:
    ports = [adapter(server.url, timeout=30.0) for _ in range(6)]

    with ThreadPoolExecutor(len(ports)) as threads:
        list(threads.map(lambda port: port.start(request_run()), ports))

    oldest = min(server.runs(), key=lambda run: (run["created_at"], run["run_id"]))
    assert [run["run_id"] for run in going(server)] == [oldest["run_id"]]
    assert all(port.status("run-1").phase is RunPhase.PENDING for port in ports)


def test_of_several_runs_of_one_name_the_oldest_counts_whatever_page_it_is_on(
    server: Any, adapter: Make, request_run: Request
) -> None:
    port = adapter(server.url)
    port.start(request_run())
    server.act("run-1", "copy", count=120, created_at="2039-01-01T00:00:00Z", state="FAILED")
    server.act("run-1", "task", task="tune", state="RUNNING")
    server.act("run-1", "state", state="RUNNING")

    status = port.status("run-1")

    assert (status.phase, status.detail) == (RunPhase.RUNNING, "tune")
    listed = [r for r in server.requests() if "/runs?" in r["path"] and "page_token=1" in r["path"]]
    assert listed, "the second page was asked for"


def test_a_killed_server_is_unavailable_and_a_restarted_one_knows_the_run(
    server: Any, adapter: Make, request_run: Request
) -> None:
    port = adapter(server.url)
    port.start(request_run())
    server.kill()

    with pytest.raises(Unavailable, match="can't be reached"):
        port.status("run-1")
    server.start()

    port.start(request_run())
    assert port.status("run-1").phase is RunPhase.PENDING
    assert len(server.runs()) == 1


def test_the_token_is_read_again_for_each_request_and_never_told(
    server: Any,
    adapter: Make,
    request_run: Request,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    token = tmp_path / "token"
    token.write_text("old-secret\n")
    server.hook("token", token="new-secret")  # noqa: S106 - made up
    port = adapter(server.url, token_file=token)

    with pytest.raises(PipelineError, match=r"refuses this identity \(401\).*expired") as raised:
        port.start(request_run())
    token.write_text("new-secret\n")
    port.start(request_run())

    assert len(server.runs()) == 1
    assert {r["authorization"] for r in server.requests()} == {
        "Bearer old-secret",
        "Bearer new-secret",
    }
    said = f"{raised.value} {caplog.text} {capsys.readouterr()} {server.runs()}"
    assert "secret" not in said


def test_a_token_file_that_is_not_there_is_named(
    server: Any, adapter: Make, tmp_path: Path
) -> None:
    with pytest.raises(PipelineError, match=r"token_file: .*/token can't be read"):
        adapter(server.url, token_file=tmp_path / "token").status("run-1")


def test_a_login_page_is_no_empty_list_of_runs(
    server: Any, adapter: Make, request_run: Request
) -> None:
    port = adapter(server.url)
    port.start(request_run())
    server.fault(method="GET", path="/runs", html=True)

    with pytest.raises(PipelineError, match="text/html, not JSON; is this Kubeflow Pipelines"):
        port.start(request_run())

    assert len(server.runs()) == 1


def test_what_the_server_refuses_is_told_in_its_words(
    server: Any, adapter: Make, request_run: Request
) -> None:
    server.fault(method="POST", path="/runs", status=400, message="no such service account")

    with pytest.raises(InvalidInput, match=r"refuses the request \(400\): no such service"):
        adapter(server.url).start(request_run())


def test_tls_with_a_ca_of_our_own(
    kfp_server: Callable[..., Any], adapter: Make, request_run: Request, tmp_path: Path
) -> None:
    pem, ca = _certificate(tmp_path)
    server = kfp_server("--cert", str(pem))
    trusting = adapter(server.url.replace("127.0.0.1", "localhost"), ca_file=ca)

    assert trusting.status("run-1").phase is RunPhase.UNKNOWN
    with pytest.raises(PipelineError, match=r"certificate that is not trusted.*ca_file"):
        adapter(server.url.replace("127.0.0.1", "localhost")).status("run-1")


def test_a_profile_is_asked_for_by_its_namespace(
    kfp_server: Callable[..., Any], adapter: Make, request_run: Request
) -> None:
    server = kfp_server("--multi-user")

    with pytest.raises(InvalidInput, match=r"several users.*in a namespace; give your profile's"):
        adapter(server.url).start(request_run())
    port = adapter(server.url, namespace="team")
    port.start(request_run())

    assert port.status("run-1").phase is RunPhase.PENDING
    assert adapter(server.url, namespace="others").status("run-1").phase is RunPhase.UNKNOWN


@pytest.mark.parametrize(
    ("state", "phase", "detail"),
    [
        ("PENDING", RunPhase.PENDING, ""),
        ("RUNNING", RunPhase.RUNNING, ""),
        ("PAUSED", RunPhase.RUNNING, "paused"),
        ("CANCELED", RunPhase.CANCELLED, "it was terminated"),
        ("SKIPPED", RunPhase.FAILED, "the server skipped the run"),
        ("SUCCEEDED", RunPhase.FAILED, "registered no version"),
        ("FAILED", RunPhase.FAILED, "nothing says why; look at its pods: kubectl get pods "),
    ],
)
def test_every_state_of_the_server_is_a_phase(
    server: Any, adapter: Make, request_run: Request, state: str, phase: RunPhase, detail: str
) -> None:
    port = adapter(server.url)
    port.start(request_run())
    server.act("run-1", "state", state=state)

    status = port.status("run-1")

    assert status.phase is phase
    assert detail in status.detail


def test_what_the_run_was_given(server: Any, adapter: Make, request_run: Request) -> None:
    adapter(server.url, service_account="noria-training").start(request_run(champion="4"))

    run = server.runs()[0]
    given = run["runtime_config"]["parameters"]
    assert run["service_account"] == "noria-training"
    assert (given["run_id"], given["champion"], given["base"]) == ("run-1", "4", "/model")
    assert given["tracking_uri"].startswith("sqlite:///")
    assert "{{$" not in given["reason"] + given["model"]


@pytest.mark.parametrize("host", ["", "kubeflow.example", "ftp://x"])
def test_a_host_that_is_no_url_is_refused(host: str) -> None:
    with pytest.raises(InvalidInput, match="is not a URL; write http"):
        KubeflowSettings(host)


def _certificate(folder: Path) -> tuple[Path, Path]:
    """Make a CA and a server certificate of it; return the server's PEM and the CA's."""
    now = times.datetime.now(times.UTC)

    def sign(subject: str, key: Any, issuer: str, signer: Any, *extensions: Any) -> Any:
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - times.timedelta(minutes=1))
            .not_valid_after(now + times.timedelta(hours=1))
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(signer, hashes.SHA256())

    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root = sign("ca", ca_key, "ca", ca_key, x509.BasicConstraints(ca=True, path_length=None))
    names = x509.SubjectAlternativeName(
        [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    )
    leaf = sign("localhost", key, "ca", ca_key, names)
    pem = serialization.Encoding.PEM
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.pem").write_bytes(key.private_bytes(pem, *plain) + leaf.public_bytes(pem))
    (folder / "ca.pem").write_bytes(root.public_bytes(pem))
    return folder / "server.pem", folder / "ca.pem"
