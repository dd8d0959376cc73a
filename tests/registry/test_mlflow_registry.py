"""The MLflow registry: versions with everything that belongs to them, and aliases that swap."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from noria.errors import Conflict, RegistryError, Unavailable
from noria.files import sqlite_uri
from noria.loop.conformance import RegistryConformance
from noria.loop.values import Verdict
from noria.registry import Candidate, MlflowRegistry
from noria.registry.server_catalog import ServerCatalog
from noria.served.used import ServedRows
from noria.tasks.package import package_digest, read_manifest, write_package
from noria.tasks.tabular.hand_made import package_linear

# MLflow, and what it imports, warn about their own internals; nothing of ours is meant.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*unclosed database.*:ResourceWarning"),
]

MakeCandidate = Callable[..., Candidate]


def test_a_registered_version_carries_everything_that_belongs_to_it(
    registry: MlflowRegistry, make_candidate: MakeCandidate
) -> None:
    candidate = make_candidate(champion=None)

    version = registry.register(candidate)

    info = registry.version("flights", version)
    assert info is not None
    assert (info.model, info.version, info.rows, info.champion) == ("flights", "1", 100, None)
    assert {name: info.metrics[name] for name in ("auc", "log-loss")} == {
        "auc": 0.7,
        "log-loss": None,
    }
    assert info.gates[0].verdict is Verdict.PASS
    assert info.digest == package_digest(candidate.package)
    assert Path(info.package) == registry.package_path("flights", version)
    assert package_digest(registry.package_path("flights", version)) == info.digest
    assert (registry.reference_path("flights", version) / "reference.json").is_file()


def test_the_run_holds_params_metrics_plots_the_spec_and_the_model_card(
    registry: MlflowRegistry, make_candidate: MakeCandidate, home: Path
) -> None:
    import mlflow

    registry.register(make_candidate())

    server = mlflow.MlflowClient(f"sqlite:///{home}/mlflow.db")
    made = server.get_model_version("flights", "1")
    run = server.get_run(made.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["n_estimators"] == "150"
    assert run.data.metrics["auc"] == 0.7
    assert run.data.metrics["auc.low"] == pytest.approx(0.68)
    assert run.data.metrics["baseline.auc"] == 0.61
    assert "log-loss" not in run.data.metrics
    assert made.tags["noria.fingerprint"] == "ab" * 32
    assert made.tags["noria.code_version"] == "noria 0.2.0"
    artifacts = {item.path for item in server.list_artifacts(run.info.run_id)}
    assert {"model_card.md", "model.json", "plots", "reference"} <= artifacts
    signature = mlflow.models.get_model_info(made.source).signature
    assert signature.inputs.input_names() == ["distance", "carrier", "flight_id"]
    assert signature.inputs.required_input_names() == ["distance", "carrier"]


def test_no_artifact_is_a_pickle(
    registry: MlflowRegistry, make_candidate: MakeCandidate, home: Path
) -> None:
    registry.register(make_candidate())

    files = [path for path in (home / "artifacts").rglob("*") if path.is_file()]
    assert len(files) > 5
    assert not [path for path in files if path.suffix in {".pkl", ".pickle", ".joblib"}]
    assert not [path for path in files if path.read_bytes()[:1] == b"\x80"]
    assert os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"


def test_a_package_with_a_pickle_in_it_is_refused(
    registry: MlflowRegistry, make_candidate: MakeCandidate
) -> None:
    import pickle

    candidate = make_candidate()
    (candidate.package / "weights.bin").write_bytes(pickle.dumps({"a": 1}))

    with pytest.raises(RegistryError, match="is a pickle"):
        registry.register(candidate)
    assert registry.versions("flights") == ()


def test_a_pickle_that_the_package_admits_to_is_registered_and_the_card_says_so(
    home: Path, registry: MlflowRegistry, make_candidate: MakeCandidate
) -> None:
    import pickle

    candidate = make_candidate()
    manifest = read_manifest(candidate.package)
    package = candidate.package.with_name("with-a-pickle")
    admits = msgspec.structs.replace(manifest, options={"allowPickle": True})
    write_package(package, admits, {"weights.bin": pickle.dumps({"a": 1})})

    said = ("its package may hold a pickle",)
    registry.register(replace(candidate, package=package, cautions=said))

    card = next((home / "artifacts").rglob("model_card.md")).read_text()
    assert "- Caution: its package may hold a pickle." in card


def test_tag_and_card_say_which_of_the_rows_were_served(
    home: Path, registry: MlflowRegistry, make_candidate: MakeCandidate
) -> None:
    import mlflow

    served = ServedRows(
        30, 40, "cd" * 32, "2026-01-01T00:00:00+00:00", "2026-01-09T00:00:00+00:00", 3, ("part-x",)
    )
    registry.register(replace(make_candidate(), served=served))

    made = mlflow.MlflowClient(f"sqlite:///{home}/mlflow.db").get_model_version("flights", "1")
    assert msgspec.json.decode(made.tags["noria.served"], type=ServedRows) == served
    card = next((home / "artifacts").rglob("model_card.md")).read_text()
    assert "30 were served and labelled between 2026-01-01T00:00:00+00:00 and" in card
    assert f"sha256:{'cd' * 32}" in card
    assert "Damaged, so that their rows are missing: part-x." in card


def test_registering_a_run_again_returns_the_version_it_has(
    registry: MlflowRegistry, make_candidate: MakeCandidate
) -> None:
    first = registry.register(make_candidate("run-1"))
    again = registry.register(make_candidate("run-1"))
    other = registry.register(make_candidate("run-2"))

    assert (first, again, other) == ("1", "1", "2")
    assert [info.version for info in registry.versions("flights")] == ["1", "2"]


def test_a_worse_candidate_that_finishes_last_cannot_win(
    registry: MlflowRegistry, make_candidate: MakeCandidate
) -> None:
    champion = registry.register(make_candidate("run-1", auc=0.6))
    registry.set_alias("flights", "champion", champion, expected=None)
    better = registry.register(make_candidate("run-2", auc=0.8, champion=champion))
    worse = registry.register(make_candidate("run-3", auc=0.65, champion=champion))

    def promote(version: str) -> None:
        info = registry.version("flights", version)
        assert info is not None
        registry.set_alias("flights", "champion", version, expected=info.champion)

    promote(better)
    with pytest.raises(Conflict, match="points at 2, not at 1"):
        promote(worse)
    assert registry.alias("flights", "champion") == better


def test_an_alias_moves_only_from_where_it_was_expected(
    registry: MlflowRegistry, make_candidate: MakeCandidate
) -> None:
    registry.register(make_candidate())
    assert registry.alias("flights", "mine") is None

    registry.set_alias("flights", "mine", "1", expected=None)
    with pytest.raises(Conflict):
        registry.set_alias("flights", "mine", "1", expected=None)
    registry.set_alias("flights", "mine", None, expected="1")

    assert registry.alias("flights", "mine") is None
    with pytest.raises(RegistryError, match="no version 9"):
        registry.set_alias("flights", "mine", "9", expected=None)


@pytest.mark.parametrize("through", ["sqlite", "client"])
def test_the_challenger_is_the_newest_version_until_it_is_the_champion(
    registry: MlflowRegistry, make_candidate: MakeCandidate, home: Path, through: str
) -> None:
    if through == "client":
        registry._catalog = ServerCatalog(f"sqlite:///{home}/mlflow.db")
    registry.register(make_candidate("run-1"))
    assert registry.alias("flights", "challenger") == "1"

    registry.set_alias("flights", "champion", "1", expected=None)
    registry.register(make_candidate("run-1"))
    assert registry.alias("flights", "champion") == "1"
    assert registry.alias("flights", "challenger") is None

    registry.register(make_candidate("run-2"))
    registry.register(make_candidate("run-3"))
    registry.register(make_candidate("run-2"))
    assert registry.alias("flights", "challenger") == "3"
    registry.set_alias("flights", "champion", "2", expected="1")
    assert registry.alias("flights", "challenger") == "3"
    with pytest.raises(Conflict):
        registry.set_alias("flights", "champion", "3", expected="1")
    assert registry.alias("flights", "challenger") == "3"


def test_of_many_swaps_at_once_one_wins(
    registry: MlflowRegistry, make_candidate: MakeCandidate, home: Path
) -> None:
    registry.register(make_candidate())
    outcomes: list[str] = []

    def swap() -> None:
        mine = MlflowRegistry(f"sqlite:///{home}/mlflow.db", home / "artifacts")
        try:
            mine.set_alias("flights", "champion", "1", expected=None)
            outcomes.append("won")
        except Conflict:
            outcomes.append("lost")

    threads = [threading.Thread(target=swap) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == ["lost"] * 7 + ["won"]


def test_mlflow_sees_the_same_versions_and_aliases(
    registry: MlflowRegistry, make_candidate: MakeCandidate, home: Path
) -> None:
    registry.register(make_candidate("run-1"))
    registry.register(make_candidate("run-2"))
    registry.set_alias("flights", "champion", "2", expected=None)
    through_mlflow = ServerCatalog(f"sqlite:///{home}/mlflow.db")

    assert through_mlflow.versions("flights") == registry._catalog.versions("flights")
    assert through_mlflow.alias("flights", "champion") == "2"
    with pytest.raises(Conflict):
        through_mlflow.set_alias("flights", "champion", "1", expected=None)
    through_mlflow.set_alias("flights", "champion", "1", expected="2")
    assert registry.alias("flights", "champion") == "1"
    through_mlflow.set_alias("flights", "champion", None, expected="1")
    assert registry.alias("flights", "champion") is None


def test_before_the_first_version_the_registry_is_empty(tmp_path: Path) -> None:
    registry = MlflowRegistry(f"sqlite:///{tmp_path}/none.db", tmp_path / "artifacts")

    assert registry.versions("flights") == ()
    assert registry.version("flights", "1") is None
    assert registry.alias("flights", "champion") is None
    with pytest.raises(RegistryError):
        registry.set_alias("flights", "champion", "1", expected=None)
    with pytest.raises(RegistryError, match="no version 1"):
        registry.package_path("flights", "1")


def test_a_server_that_does_not_answer_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    registry = MlflowRegistry("http://127.0.0.1:9", tmp_path / "artifacts")

    with pytest.raises(Unavailable) as caught:
        registry.versions("flights")
    assert caught.value.__cause__ is not None


def test_reading_the_registry_does_not_import_mlflow(home: Path) -> None:
    script = (
        "import sys, pathlib\n"
        "from noria.registry import MlflowRegistry\n"
        f"r = MlflowRegistry('sqlite:///{home}/mlflow.db', pathlib.Path({str(home)!r}))\n"
        "assert r.versions('flights') == () and r.alias('flights', 'champion') is None\n"
        "heavy = {'mlflow', 'pandas', 'numpy', 'sqlalchemy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=300)


def test_the_model_card_says_what_was_measured(
    registry: MlflowRegistry, make_candidate: MakeCandidate, home: Path
) -> None:
    registry.register(make_candidate())

    card = next((home / "artifacts").rglob("model_card.md")).read_text()
    assert "# Model card: flights" in card
    assert "| auc | 0.7 | 0.68 to 0.72 (95%) | 500 | 0.61 |" in card
    assert "one class only" in card
    assert "drift in distance" in card
    assert "There was no champion" in card
    assert "`n_estimators`: 150" in card


class Driver:
    model = "flights"

    def __init__(self, home: Path, make_candidate: MakeCandidate) -> None:
        self._home = home
        self._make_candidate = make_candidate
        self.port = self.reopen()

    def register(self) -> str:
        run_id = f"run-{len(self.port.versions('flights')) + 1}"
        return self.port.register(self._make_candidate(run_id))

    def reopen(self) -> MlflowRegistry:
        return MlflowRegistry(f"sqlite:///{self._home}/mlflow.db", self._home / "artifacts")


class TestConformance(RegistryConformance):
    @pytest.fixture
    def driver(self, home: Path, make_candidate: MakeCandidate) -> Driver:
        return Driver(home, make_candidate)


def test_the_model_predicts_through_mlflow_without_a_pickle(
    registry: MlflowRegistry, make_candidate: MakeCandidate, tmp_path: Path, home: Path
) -> None:
    import mlflow
    import pandas as pd

    package = tmp_path / "linear"
    package_linear(package, "flights", ["distance", "temp"], [0.0, 1.0], 0.0)
    registry.register(make_candidate(package=package, example={"distance": 1.0, "temp": 2.0}))
    mlflow.set_tracking_uri(f"sqlite:///{home}/mlflow.db")
    mlflow.set_registry_uri(f"sqlite:///{home}/mlflow.db")

    model = mlflow.pyfunc.load_model("models:/flights/1")
    answer = model.predict(pd.DataFrame({"distance": [1.0, 5.0], "temp": [-1.0, 100.0]}))

    assert answer["probability"].tolist() == pytest.approx([0.2689, 1.0], abs=1e-4)
    assert answer["label"].tolist() == [0, 1]
    assert model.input_example.to_dict("records") == [{"distance": 1.0, "temp": 2.0}]


def test_a_registry_lives_in_any_folder_and_nowhere_else(
    tmp_path: Path, make_candidate: Callable[..., Candidate], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "odd" / 'que?ry #1 per%20cent o\'brien "[x]" 한글'
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    registry = MlflowRegistry(sqlite_uri(folder / "mlflow.db"), folder / "artifacts")
    candidate = make_candidate()
    moved = folder / "trained"
    shutil.copytree(candidate.package.parent, moved)
    version = registry.register(
        replace(
            candidate,
            package=moved / candidate.package.name,
            reference=moved / candidate.reference.name,
            plots=None,
        )
    )
    assert (folder / "mlflow.db").is_file()
    assert (registry.package_path("flights", version) / "noria.json").is_file()
    assert folder in registry.reference_path("flights", version).parents
    assert [path.name for path in (tmp_path / "odd").iterdir()] == [folder.name]
