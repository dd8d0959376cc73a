"""Where a Feast repository may live, and what is refused."""

from __future__ import annotations

import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import feature_repo
from noria.errors import DataError
from noria.tasks.sources.feast import OnlineFeatures, OnlineSync, apply

if TYPE_CHECKING:
    from conftest import Home, Lookup

PACKAGE = Path(feature_repo.__file__).parent
NOW = datetime(2013, 1, 6, tzinfo=UTC)
ROW = {
    "origin": np.array(["JFK"], dtype=object),
    "dest": np.array(["LAX"], dtype=object),
    "scheduled": np.array([int(NOW.timestamp() * 1000)]),
}


def copied(into: Path) -> Path:
    for name in ("feature_store.yaml", "definitions.py"):
        shutil.copy(PACKAGE / name, into / name)
    return into


def test_two_folders_opened_with_one_package_share_nothing(home: Home, lookup: Lookup) -> None:
    first, second = home(name="first"), home(name="second")
    for base in (first, second):
        apply(base, lookup.repository)
    OnlineSync(first, lookup.repository, lookup.service).materialise(NOW)
    assert np.isfinite(OnlineFeatures(first, lookup).lookup(ROW)["temp"]).all()
    assert np.isnan(OnlineFeatures(second, lookup).lookup(ROW)["temp"]).all()
    assert {path.name for path in first.iterdir()} == {"data", ".noria"}


def test_a_folder_is_an_ordinary_feast_repository(
    home: Home, lookup: Lookup, tmp_path: Path
) -> None:
    folder = copied(home(name="repository"))
    model = tmp_path / "model"
    model.mkdir()
    apply(model, "../repository")
    OnlineSync(model, "../repository", lookup.service).materialise(NOW)
    at_folder = type(lookup)("../repository", lookup.service, lookup.features)
    assert np.isfinite(OnlineFeatures(model, at_folder).lookup(ROW)["temp"]).all()
    assert (folder / ".noria" / "features" / "online.db").is_file()
    assert not list(model.iterdir())


def test_applying_twice_keeps_what_is_online(home: Home, lookup: Lookup) -> None:
    base = home()
    apply(base, lookup.repository)
    OnlineSync(base, lookup.repository, lookup.service).materialise(NOW)
    apply(base, lookup.repository)
    assert np.isfinite(OnlineFeatures(base, lookup).lookup(ROW)["temp"]).all()


@pytest.mark.parametrize("name", ["no_such_package", "../nowhere", "json", "noria"])
def test_what_is_no_repository_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"neither a folder .* nor an importable package"):
        apply(tmp_path, name)


def test_an_unknown_service_is_refused(home: Home, lookup: Lookup) -> None:
    base = home()
    apply(base, lookup.repository)
    with pytest.raises(DataError, match="'no_such_service'"):
        OnlineSync(base, lookup.repository, "no_such_service")


def test_a_broken_configuration_names_its_file(tmp_path: Path) -> None:
    copied(tmp_path)
    (tmp_path / "feature_store.yaml").write_text("project: [")
    with pytest.raises(DataError, match=r"feature_store\.yaml is refused"):
        apply(tmp_path, ".")


@pytest.mark.slow
def test_feasts_own_command_line_applies_and_materialises_it(home: Home, lookup: Lookup) -> None:
    folder = copied(home())
    (folder / ".noria" / "features").mkdir(parents=True)
    feast = Path(sys.executable).with_name("feast")
    for arguments in (["apply"], ["materialize", "2013-01-01T00:00:00", "2013-01-05T12:00:00"]):
        done = subprocess.run(
            [feast, "-c", str(folder), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr
    here = type(lookup)(".", lookup.service, lookup.features)
    assert np.isfinite(OnlineFeatures(folder, here).lookup(ROW)["temp"]).all()
