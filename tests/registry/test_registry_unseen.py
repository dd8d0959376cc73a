"""What can't be read is "can't be seen", never "empty": the loop keeps its champion."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from noria.errors import RegistryError, Unavailable
from noria.loop.fakes import FakeWorld, sample_model
from noria.loop.ports import CHAMPION
from noria.registry import MlflowRegistry, sqlite_catalog
from noria.registry.sqlite_catalog import REVISION

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*unclosed database.*:ResourceWarning"),
]


def _sql(*statements: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        session = sqlite3.connect(path)
        with session:
            for statement in statements:
                session.execute(statement)
        session.close()

    return change


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _nowhere(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("nowhere"))


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "an older layout": _sql("UPDATE alembic_version SET version_num = '3500859a5d39'"),
    "a newer layout": _sql("UPDATE alembic_version SET version_num = 'f00dfeed0000'"),
    "a layout half changed": _sql("INSERT INTO alembic_version VALUES ('f00dfeed0000')"),
    "no layout": _sql("DELETE FROM alembic_version"),
    "no table of layouts": _sql("DROP TABLE alembic_version"),
    "no aliases": _sql("DROP TABLE registered_model_aliases"),
    "no versions": _sql("PRAGMA foreign_keys = OFF", "DROP TABLE model_versions"),
    "a column less": _sql("ALTER TABLE registered_model_aliases RENAME COLUMN workspace TO space"),
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:5000]),
    "garbage": lambda path: path.write_bytes(b"garbage " * 1000),
    "a folder": _folder,
    "a link that leads nowhere": _nowhere,
}


def _unseen(registry: MlflowRegistry, *errors: type[Exception]) -> None:
    """See that no question has an answer, and that the loop keeps its champion."""
    for ask in (
        lambda: registry.alias("flights", CHAMPION),
        lambda: registry.version("flights", "1"),
        lambda: registry.set_alias("flights", CHAMPION, "1", expected=None),
        lambda: registry.set_alias("flights", CHAMPION, None, expected=None),
    ):
        with pytest.raises(errors):
            ask()
    world = FakeWorld(sample_model())
    world.install("1")
    seen = dict(world.traffic.weights(world.name))
    setattr(world, "registry", registry)  # noqa: B010 - of another type than the fake's
    decision = world.cycle(3)
    assert world.state.champion == "1"
    assert dict(world.traffic.weights(world.name)) == seen
    assert "the registry can't be seen" in " ".join(note.text for note in decision.explanation)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_is_not_the_known_tables_is_no_empty_registry(
    registry: MlflowRegistry, home: Path, damage: str
) -> None:
    # A table can be missing and the questions about the others be answered: both are asked.
    registry.set_alias("flights", "mine", None, expected=None)
    DAMAGES[damage](home / "mlflow.db")
    if damage in {"no aliases", "a column less"}:
        with pytest.raises(RegistryError, match=r"mlflow\.db"):
            registry.alias("flights", CHAMPION)
    elif damage == "no versions":
        with pytest.raises(RegistryError, match=r"mlflow\.db"):
            registry.versions("flights")
    else:
        _unseen(registry, RegistryError)
        with pytest.raises(RegistryError, match=r"mlflow\.db"):
            registry.anchor("flights", "1", "1:aa")
        with pytest.raises(RegistryError, match=r"mlflow\.db"):
            registry.ready()
        with pytest.raises(RegistryError, match=r"mlflow\.db"):
            registry.initialise()


def test_a_file_of_another_mlflow_is_named_with_what_to_do(
    registry: MlflowRegistry, home: Path
) -> None:
    DAMAGES["an older layout"](home / "mlflow.db")
    with pytest.raises(RegistryError, match=f"3500859a5d39, and {REVISION} .* is known") as caught:
        registry.alias("flights", CHAMPION)
    assert "mlflow db upgrade" in str(caught.value)


def test_the_known_layout_is_that_of_the_installed_mlflow() -> None:
    from mlflow.store.db.utils import _get_latest_schema_revision

    assert _get_latest_schema_revision() == REVISION


def test_a_locked_file_is_unavailable(
    registry: MlflowRegistry, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_catalog, "_BUSY_SECONDS", 0.01)
    other = sqlite3.connect(home / "mlflow.db")
    other.execute("BEGIN EXCLUSIVE")
    _unseen(registry, Unavailable)
    other.rollback()
    other.close()
    assert registry.alias("flights", CHAMPION) is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_no_empty_registry(
    registry: MlflowRegistry, home: Path
) -> None:
    (home / "mlflow.db").chmod(0)
    _unseen(registry, RegistryError)


def test_a_kill_while_the_tables_are_made_leaves_none(tmp_path: Path) -> None:
    registry = MlflowRegistry(f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "artifacts")
    (tmp_path / ".mlflow.db.draft").write_bytes(b"half made")

    assert registry.versions("flights") == ()
    registry.initialise()
    assert registry.ready()
    assert [path.name for path in tmp_path.iterdir() if "mlflow" in path.name] == ["mlflow.db"]


ANSWERS: dict[str, tuple[int, bytes]] = {
    "a page that is not found": (404, b"<html>not found</html>"),
    "another service's not found": (404, b'{"kind": "Status", "code": 404}'),
    "no such endpoint": (404, b'{"error_code": "ENDPOINT_NOT_FOUND", "message": "?"}'),
    "a failure": (500, b'{"error_code": "INTERNAL_ERROR", "message": "?"}'),
    "a proxy's failure": (502, b"bad gateway"),
    "a refusal": (401, b"who are you?"),
    "a login page": (200, b"<html>log in</html>"),
    "nothing": (200, b""),
    "an empty object": (200, b"{}"),
    "a list": (200, b"[]"),
    "a model without a name": (200, b'{"registered_model": {}}'),
    "another model": (200, b'{"registered_model": {"name": "parcels"}}'),
    "other types": (200, b'{"registered_model": {"name": ["flights"]}}'),
    "no model": (200, b'{"registered_model": 7}'),
}


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[tuple[int, bytes]]]]:
    """A server that answers every request with the one entry of a list."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    answer: list[tuple[int, bytes]] = [(200, b"")]

    class Handler(BaseHTTPRequestHandler):
        def reply(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, body = answer[0]
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = do_DELETE = reply  # noqa: N815 - http.server's names

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", answer
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_server_that_answers_something_else_is_no_empty_registry(
    stub: tuple[str, list[tuple[int, bytes]]], tmp_path: Path, answer: str
) -> None:
    url, answers = stub
    answers[0] = ANSWERS[answer]
    _unseen(MlflowRegistry(url, tmp_path / "artifacts"), RegistryError, Unavailable)


def test_a_version_without_a_number_is_no_version(
    stub: tuple[str, list[tuple[int, bytes]]], tmp_path: Path
) -> None:
    url, answers = stub
    answers[0] = (200, b'{"registered_model": {"name": "flights"}, "model_versions": [{}]}')
    with pytest.raises(RegistryError, match="list the versions of flights"):
        MlflowRegistry(url, tmp_path / "artifacts").versions("flights")


def test_only_mlflows_own_word_is_that_there_is_no_such_model(
    stub: tuple[str, list[tuple[int, bytes]]], tmp_path: Path
) -> None:
    url, answers = stub
    answers[0] = (404, b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "?"}')
    registry = MlflowRegistry(url, tmp_path / "artifacts")

    assert registry.alias("flights", CHAMPION) is None
    assert registry.versions("flights") == ()
    # And of a model that has a champion, the loop does not believe even that.
    world = FakeWorld(sample_model())
    world.install("1")
    setattr(world, "registry", registry)  # noqa: B010 - of another type than the fake's
    world.cycle(2)
    assert world.state.champion == "1"
