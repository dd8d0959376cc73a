"""Pictures from folders and tables, and what is said of those that can't be used."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from noria.errors import DataError, SpecError
from noria.tasks.images.family import LEARNER
from tests.pictures.conftest import digits, png, spec_of

FOLDERS: dict[str, Any] = {
    "source": {"folder": {"path": "pictures"}},
    "target": "digit",
    "eventTime": None,
    "entityKey": ["path"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("folder")
    pixels, codes = digits()
    for number in range(200):
        path = base / "pictures" / f"d{codes[number]}" / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(pixels[number]))
    (base / "pictures" / "notes.txt").write_text("no picture, and in no folder of a class")
    (base / "pictures" / "d0" / "notes.txt").write_text("no picture")
    return base


def details(spec: Any, base: Path) -> dict[str, str]:
    rows = LEARNER.ingest(spec, base, None)
    return {check.name: check.detail for check in LEARNER.validate(spec, rows).checks}


def test_folders_name_the_classes(folder: Path) -> None:
    rows = LEARNER.ingest(spec_of(data=FOLDERS), folder, None)
    assert len(rows) == 200
    assert rows["digit"].tolist() == [path.partition("/")[0] for path in rows["path"]]
    first = folder / "pictures" / rows["path"].iloc[0]
    assert rows["image"].iloc[0] == first.read_bytes()


def test_a_table_of_paths_and_one_of_bytes_are_the_same_rows(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "pictures", tmp_path / "shots")
    paths = sorted((tmp_path / "shots").glob("*/*.png"))
    start = pd.Timestamp("2026-01-01", tz="UTC")
    rows = pd.DataFrame(
        {
            "key": [path.stem for path in paths],
            "at": [start + pd.Timedelta(hours=number) for number in range(len(paths))],
            "digit": [path.parent.name for path in paths],
            "photo": [path.relative_to(tmp_path / "shots").as_posix() for path in paths],
        }
    )
    rows.assign(at=rows["at"].map(pd.Timestamp.isoformat)).to_csv(tmp_path / "t.csv", index=False)
    rows.assign(photo=[path.read_bytes() for path in paths]).to_parquet(tmp_path / "t.parquet")
    options = {"column": "photo", "root": "shots"}
    found = [
        LEARNER.ingest(
            spec_of(options, {"source": {kind: {"paths": [f"t.{kind}"]}}}), tmp_path, None
        )
        for kind in ("csv", "parquet")
    ]
    columns = ["key", "at", "digit", "image"]
    pd.testing.assert_frame_equal(found[0][columns], found[1][columns])
    assert found[0]["image"].iloc[0] == paths[0].read_bytes()


def test_pictures_that_cant_be_read_are_named_and_set_aside(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "pictures", tmp_path / "pictures")
    (tmp_path / "pictures" / "d0" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    spec = spec_of(data=FOLDERS)
    said = details(spec, tmp_path)["pictures"]
    assert said.startswith("1 of 201 are set aside: row ")
    assert "(d0/broken.png)" in said
    rows = LEARNER.features(spec, tmp_path, LEARNER.ingest(spec, tmp_path, None))
    assert len(rows) == 200
    assert "d0/broken.png" not in set(rows["path"])


def test_more_of_them_than_may_be_missing_are_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "pictures", tmp_path / "pictures")
    for path in sorted((tmp_path / "pictures").glob("*/*.png"))[:60]:
        path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match=r"60 of 200 pictures can't be read.*and 55 more"):
        details(spec_of(data=FOLDERS), tmp_path)


def test_a_path_that_is_not_there_is_a_picture_that_cant_be_read(tmp_path: Path) -> None:
    pixels, codes = digits()
    names = [f"{number}.png" for number in range(150)]
    for name, one in zip(names[1:], pixels[1:150], strict=True):
        (tmp_path / name).write_bytes(png(one))
    pd.DataFrame(
        {
            "key": names,
            "at": pd.date_range("2026-01-01", periods=150, tz="UTC"),
            "digit": codes[:150],
            "image": names,
        }
    ).to_parquet(tmp_path / "digits.parquet")
    assert "row 0 (0.png) is empty" in details(spec_of(), tmp_path)["pictures"]


def test_a_held_out_picture_that_is_learnt_from_is_said_as_leakage(tmp_path: Path) -> None:
    pixels, codes = digits()
    pixels, codes = pixels[:200].copy(), codes[:200].copy()
    pixels[190], codes[190] = pixels[3], codes[3]  # the newest fifth is held out
    files = [png(one) for one in pixels]
    files[190] = png(pixels[190], "TIFF")
    pd.DataFrame(
        {
            "key": [str(number) for number in range(200)],
            "at": pd.date_range("2026-01-01", periods=200, tz="UTC"),
            "digit": codes,
            "image": files,
        }
    ).to_parquet(tmp_path / "digits.parquet")
    said = details(spec_of(), tmp_path)
    assert said["leakage"].startswith("1 of 40 held-out pictures are (nearly) the same")
    assert "row 190 and row 3" in said["leakage"]
    assert said["sizes"] == "8 to 8 wide, 8 to 8 high, in pixels"


@pytest.mark.parametrize(
    ("options", "data", "said"),
    [
        ({}, {"features": [{"name": "x", "type": "numeric"}]}, "reads pictures alone"),
        ({}, {"target": None}, "learns a class"),
        ({}, {**FOLDERS, "eventTime": "at"}, "a folder tells path and class alone"),
        ({"augment": "wild"}, {}, "augment"),
        ({"size": 4}, {}, "size"),
    ],
)
def test_what_cant_be_is_refused_by_validate(
    options: dict[str, Any], data: dict[str, Any], said: str
) -> None:
    with pytest.raises(SpecError, match=said):
        spec_of(options, data)


def test_a_folder_without_pictures_and_a_column_of_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no folder"):
        LEARNER.ingest(spec_of(data=FOLDERS), tmp_path, None)
    (tmp_path / "pictures" / "d0").mkdir(parents=True)
    with pytest.raises(DataError, match="has no picture in any folder"):
        LEARNER.ingest(spec_of(data=FOLDERS), tmp_path, None)
    pd.DataFrame(
        {
            "key": ["a"],
            "at": pd.date_range("2026-01-01", periods=1, tz="UTC"),
            "digit": [np.int64(1)],
            "image": [3.5],
        }
    ).to_parquet(tmp_path / "digits.parquet")
    with pytest.raises(DataError, match="image holds double"):
        LEARNER.ingest(spec_of(), tmp_path, None)
