"""Which cluster is meant, and that importing it costs little."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from noria.errors import InvalidInput
from noria.kube import KubeClient, kinds
from noria.kube.kinds import MODEL, NODE, Kind
from noria.spec.model import API_VERSION
from noria.spec.model import KIND as MODEL_KIND

_IMPORT = """
import sys
import noria.kube
print(*sorted({"kubernetes", "kopf", "mlflow", "kfp", "feast", "torch"} & set(sys.modules)))
"""


def test_the_import_loads_no_heavy_library() -> None:
    arguments = [sys.executable, "-c", _IMPORT]
    said = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout
    assert said.split() == []


def test_the_explicit_file_wins_over_the_environment(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "not-there"))
    client = KubeClient.connect(server.kubeconfig(tmp_path / "explicit"))
    assert client.host == server.url


def test_the_environments_file_is_read_now_and_not_at_import(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path / "mine")))
    assert KubeClient.connect().host == server.url
    assert KubeClient.connect(context="two").host == server.url


def test_without_any_the_users_own_file_is_read(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(InvalidInput, match=r"no Kubernetes cluster by ~/\.kube/config"):
        KubeClient.connect()
    (tmp_path / ".kube").mkdir()
    server.kubeconfig(tmp_path / ".kube" / "config")
    assert KubeClient.connect().host == server.url


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "ParserError"),
        ("[1, 2]", "no Kubernetes cluster"),
        ("users: [{name: a, user: {token: very-secret}}]", "no Kubernetes cluster"),
    ],
)
def test_a_file_that_can_not_be_used_is_named_and_not_quoted(
    tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "broken"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=said) as raised:
        KubeClient.connect(path)
    assert str(path) in str(raised.value)
    assert "very-secret" not in str(raised.value)


def test_a_context_that_is_not_there_is_named(server: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="three"):
        KubeClient.connect(server.kubeconfig(tmp_path / "kubeconfig"), context="three")


def test_the_kind_of_the_model_is_the_specs() -> None:
    assert (MODEL.api_version, MODEL.kind) == (API_VERSION, MODEL_KIND)


def test_every_kind_has_its_own_path() -> None:
    found = [value for value in vars(kinds).values() if isinstance(value, Kind)]
    paths = [kind.path(None) for kind in found]
    assert len(set(paths)) == len(paths) > 30
    assert NODE.path("ignored", "n1") == "/api/v1/nodes/n1"
    assert MODEL.path("prod", "m") == "/apis/noria.dev/v1alpha1/namespaces/prod/models/m"
