"""A project that travels as a parameter: packed the same every time, unpacked only inside."""

from __future__ import annotations

import base64
import io
import os
import zipfile
from pathlib import Path

import pytest

from components.project import PACKED, pack, project_folder
from noria.errors import InvalidInput


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "lib").mkdir()
    (tmp_path / "data.py").write_text("def prepare(base): ...\n")
    (tmp_path / "lib" / "rows.csv").write_text("a,b\n1,2\n")
    return tmp_path


def test_what_is_packed_comes_out(folder: Path) -> None:
    unpacked = project_folder(pack(folder, ["lib/rows.csv", "data.py"]))

    assert unpacked != folder
    assert (unpacked / "data.py").read_text() == "def prepare(base): ...\n"
    assert (unpacked / "lib" / "rows.csv").read_text() == "a,b\n1,2\n"


def test_the_same_files_are_the_same_text_whenever_they_were_written(folder: Path) -> None:
    before = pack(folder, ["data.py", "lib/rows.csv"])
    os.utime(folder / "data.py", (0, 0))

    assert pack(folder, ["lib/rows.csv", "data.py"]) == before
    (folder / "data.py").write_text("other")
    assert pack(folder, ["lib/rows.csv", "data.py"]) != before


def test_a_folder_of_the_image_is_itself() -> None:
    assert project_folder("/model") == Path("/model")


@pytest.mark.parametrize("name", ["../data.py", "/etc/passwd"])
def test_a_file_outside_of_the_project_does_not_travel(folder: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="lies outside of the project"):
        pack(folder, [name])


def test_what_is_too_large_is_refused_with_what_to_do(folder: Path) -> None:
    (folder / "noise.bin").write_bytes(os.urandom(60_000))

    with pytest.raises(InvalidInput, match=r"60,|80,.*spec\.train\.compute\.image"):
        pack(folder, ["noise.bin"])


def test_a_missing_file_is_named(folder: Path) -> None:
    with pytest.raises(InvalidInput, match=r"gone\.py can't be read: No such file"):
        pack(folder, ["gone.py"])


@pytest.mark.parametrize("text", ["zip:", "zip:!!", "zip:aGVsbG8="])
def test_a_damaged_archive_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="can't be unpacked"):
        project_folder(text)


def test_an_archive_writes_nothing_outside_of_its_folder() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../outside.py", "evil")

    with pytest.raises(InvalidInput, match="would be written outside"):
        project_folder(PACKED + base64.b64encode(buffer.getvalue()).decode())
