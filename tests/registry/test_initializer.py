"""The package of a registered version is put in place whole and as it was registered, or not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from noria.errors import IntegrityError, InvalidInput, RegistryError
from noria.registry import Candidate, MlflowRegistry
from noria.registry.initializer import initialise, main
from noria.tasks.package import package_digest
from tests.registry.mlflow_server import answers, mlflow_server

# MLflow calls what its own dependencies have deprecated, and leaves its database to the collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*unclosed database.*:ResourceWarning"),
]

Make = Callable[..., Candidate]


@pytest.fixture
def registered(registry: MlflowRegistry, make_candidate: Make) -> tuple[MlflowRegistry, Candidate]:
    candidate = make_candidate()
    assert registry.register(candidate) == "1"
    return registry, candidate


@pytest.fixture
def uri(home: Path) -> str:
    return f"sqlite:///{home}/mlflow.db"


def test_a_registered_version_is_put_in_place(
    registered: tuple[MlflowRegistry, Candidate], uri: str, tmp_path: Path
) -> None:
    registry, candidate = registered
    folder = tmp_path / "models"
    folder.mkdir()
    initialise("models:/flights/1", folder, uri)
    info = registry.version("flights", "1")
    assert info is not None
    assert package_digest(folder) == info.digest
    assert _names(folder) == _names(candidate.package)


def test_a_container_that_starts_again_finds_it_done(
    registered: tuple[MlflowRegistry, Candidate], uri: str, tmp_path: Path
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    initialise("models:/flights/1", folder, uri)
    before = (folder / "noria.json").stat().st_ino
    (folder / ".noria-download").mkdir()
    initialise("models:/flights/1", folder, uri)
    assert (folder / "noria.json").stat().st_ino == before
    assert not (folder / ".noria-download").exists()


def test_what_a_killed_move_left_is_replaced(
    registered: tuple[MlflowRegistry, Candidate], uri: str, tmp_path: Path
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "coefficients.json").write_text("half of i")
    (folder / ".noria-download").mkdir()
    (folder / ".noria-download" / "leftover").write_text("x")
    initialise("models:/flights/1", folder, uri)
    registry, _ = registered
    info = registry.version("flights", "1")
    assert info is not None
    assert package_digest(folder) == info.digest


def test_a_changed_artifact_is_not_put_in_place(
    registered: tuple[MlflowRegistry, Candidate], uri: str, tmp_path: Path
) -> None:
    registry, _ = registered
    stored = registry.package_path("flights", "1") / "coefficients.json"
    stored.write_text('{"auc": 0.99}')
    folder = tmp_path / "models"
    folder.mkdir()
    with pytest.raises(IntegrityError, match="not what was registered"):
        initialise("models:/flights/1", folder, uri)
    assert list(folder.iterdir()) == []


def test_another_version_under_its_name_is_not_put_in_place(
    registered: tuple[MlflowRegistry, Candidate], uri: str, make_candidate: Make, tmp_path: Path
) -> None:
    registry, _ = registered
    assert registry.register(make_candidate("run-2", auc=0.8)) == "2"
    first, second = (registry.package_path("flights", version) for version in ("1", "2"))
    for path in second.iterdir():
        (first / path.name).write_bytes(path.read_bytes())
    folder = tmp_path / "models"
    folder.mkdir()
    with pytest.raises(IntegrityError):
        initialise("models:/flights/1", folder, uri)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "source",
    [
        "models:/flights@champion",
        "models:/flights/Production",
        "models:/flights",
        "models:/flights/1/",
        "models:/../1",
        "s3://bucket/flights/1",
        "runs:/abc/model",
    ],
)
def test_only_a_version_is_taken(source: str, uri: str, tmp_path: Path) -> None:
    with pytest.raises((InvalidInput, RegistryError), match=r"models:/|flights|\.\."):
        initialise(source, tmp_path, uri)


def test_an_alias_ends_with_code_2_and_says_so_to_kubernetes(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    last_words = tmp_path / "termination-log"
    last_words.touch()
    code = main(["models:/flights@champion", str(tmp_path / "models")], last_words=last_words)
    assert code == 2
    assert "does not name a version" in last_words.read_text()
    assert last_words.read_text() in capsys.readouterr().err


def test_a_changed_artifact_ends_with_code_1_and_says_so_to_kubernetes(
    registered: tuple[MlflowRegistry, Candidate],
    uri: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry, _ = registered
    (registry.package_path("flights", "1") / "coefficients.json").write_text("{}")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    folder, last_words = tmp_path / "models", tmp_path / "termination-log"
    folder.mkdir()
    last_words.touch()
    assert main(["models:/flights/1", str(folder)], last_words=last_words) == 1
    assert "sha256" in last_words.read_text()


def test_an_unknown_version_is_an_error_of_the_registry(
    registered: tuple[MlflowRegistry, Candidate], uri: str, tmp_path: Path
) -> None:
    with pytest.raises(RegistryError, match="version 9 of flights"):
        initialise("models:/flights/9", tmp_path / "models", uri)


def test_a_folder_with_something_else_is_left_alone(
    registered: tuple[MlflowRegistry, Candidate], uri: str, tmp_path: Path
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(InvalidInput, match=r"thesis\.txt"):
        initialise("models:/flights/1", folder, uri)
    assert (folder / "thesis.txt").read_text() == "years of work"


def test_without_a_tracking_uri_it_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert main(["models:/flights/1", str(tmp_path)]) == 2
    assert "MLFLOW_TRACKING_URI is not set" in capsys.readouterr().err


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    with mlflow_server(tmp_path / "server") as url:
        answers(f"{url}/health")
        yield url


@pytest.mark.slow
def test_a_pod_gets_it_over_http(server: str, make_candidate: Make, tmp_path: Path) -> None:
    registry = MlflowRegistry(server, tmp_path / "cache")
    candidate = make_candidate()
    assert registry.register(candidate) == "1"
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.mkdir()
    bad.mkdir()
    assert _run(server, "models:/flights/1", good).returncode == 0
    assert package_digest(good) == package_digest(candidate.package)

    (stored,) = (tmp_path / "server" / "stored").rglob("coefficients.json")
    stored.write_text('{"auc": 0.99}')
    ended = _run(server, "models:/flights/1", bad)
    assert ended.returncode == 1
    assert "not what was registered" in ended.stderr
    assert list(bad.iterdir()) == []
    assert _run(server, "models:/flights@champion", bad).returncode == 2
    nobody = _run("http://127.0.0.1:9", "models:/flights/1", bad)
    assert nobody.returncode == 1
    assert "read version 1 of flights from http://127.0.0.1:9" in nobody.stderr


def _run(server: str, source: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": server,
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "HOME": str(folder),
    }
    arguments = [sys.executable, "-m", "noria.registry.initializer", source, str(folder)]
    return subprocess.run(
        arguments, env=environment, capture_output=True, text=True, check=False, timeout=300
    )


def _names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
