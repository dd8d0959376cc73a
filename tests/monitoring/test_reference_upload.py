"""A version's reference that comes over the network, as a zip of its two files."""

from __future__ import annotations

import io
import resource
import zipfile
from pathlib import Path
from typing import Any

import pytest

from monitoring import upload
from noria.errors import InvalidInput, Unavailable
from noria.operator.watching import zipped


@pytest.fixture
def reference(world: Any, tmp_path: Path) -> Path:
    folder: Path = world.reference(tmp_path / "reference")
    return folder


def archive(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in files.items():
            made.writestr(name, content)
    return buffer.getvalue()


def test_a_zip_is_watched_against_like_a_folder(bench: Any, reference: Path) -> None:
    b = bench()
    b.monitor.put_reference_zip("1", zipped(reference), champion=True).result()
    b.predict("r", 200)
    assert b.status()["champion"] == "1"
    assert b.status()["drift"]["features"]["samples"] == 200


def test_a_zip_of_anything_else_is_refused(bench: Any, reference: Path) -> None:
    b = bench()
    document = (reference / "reference.json").read_bytes()
    rows = (reference / "rows.npz").read_bytes()
    both = {"reference.json": document, "rows.npz": rows}
    wrong = {
        "no zip": b"not a zip",
        "one file": archive(**{"reference.json": document}),
        "a path that leads out": archive(**both, **{"../evil": b"x"}),
        "a broken document": archive(**{**both, "reference.json": b"{"}),
    }
    for said, data in wrong.items():
        with pytest.raises(InvalidInput):
            b.monitor.put_reference_zip("1", data, champion=True)
        assert b.status()["champion"] == "", said


def test_a_zip_that_unpacks_to_too_much_is_refused(
    bench: Any, reference: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "MAX_UNPACKED_BYTES", 1000)
    with pytest.raises(InvalidInput, match="unpacks to over 1000 bytes"):
        bench().monitor.put_reference_zip("1", zipped(reference), champion=True)


def test_a_disk_that_takes_no_more_is_not_blamed_on_the_sender(
    reference: Path, tmp_path: Path
) -> None:
    data = zipped(reference)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))
    try:
        with pytest.raises(Unavailable, match="can't be kept"), upload.unpacked(data, tmp_path):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.glob(".upload-*"))
