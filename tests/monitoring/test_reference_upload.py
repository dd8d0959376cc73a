"""A version's reference that comes over the network, as a zip of its two files."""

from __future__ import annotations

import io
import json
import resource
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pytest

from monitoring import upload
from monitoring.upload import packed
from noria.errors import InvalidInput, Unavailable


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
    b.monitor.put_reference_zip("1", packed(reference), champion=True).result()
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


def test_a_zip_that_unpacks_to_too_much_is_refused(reference: Path) -> None:
    with pytest.raises(InvalidInput, match="unpacks to over 1000 bytes"):
        upload.unpacked(packed(reference), most_bytes=1000)


def test_a_disk_that_takes_no_more_is_not_blamed_on_the_sender(bench: Any, reference: Path) -> None:
    b = bench()
    data = packed(reference)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))
    try:
        with pytest.raises(Unavailable, match="can't be kept"):
            b.monitor.put_reference_zip("1", data, champion=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def npz(**arrays: bytes) -> bytes:
    return archive(**{f"{name}.npy": content for name, content in arrays.items()})


def npy(header: str, content: bytes = b"") -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + content


PLAIN = "{'descr': '<f8', 'fortran_order': False, 'shape': (%s,), }"
ONE = {"format": 1, "features": [{"name": "wind", "kind": "numeric"}]}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (npz(f0=npy(PLAIN % (1 << 40))), "f0.npy unpacks to over"),
        (npz(f0=npy(PLAIN % 9, bytes(8))), "does not hold what its header says"),
        (npz(f0=npy(PLAIN % 1, bytes(800))), "does not hold what its header says"),
        (npz(f0=npy(PLAIN % -1)), "no array of plain numbers"),
        (npz(f0=npy(PLAIN.replace("<f8", "|O") % 1, bytes(8))), "no array of plain numbers"),
        (npz(f0=npy("(" * 5000)), "can't be unpacked"),
        (npz(f0=b"not an array"), "can't be unpacked"),
        (npz(f1=npy(PLAIN % 0)), "no column f0"),
        (archive(**{f"x{i}": b"" for i in range(300)}), "more than 18 files"),
        (b"PK\5\6" + bytes(18), "no column f0"),
        (b"", "is no zip"),
    ],
)
def test_each_layer_of_a_reference_is_bounded_before_it_is_read(
    bench: Any, rows: bytes, said: str
) -> None:
    b = bench()
    data = archive(**{"reference.json": json.dumps(ONE).encode(), "rows.npz": rows})
    tracemalloc.start()
    try:
        with pytest.raises(InvalidInput, match=said):
            b.monitor.put_reference_zip("1", data, champion=True)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < len(data) + 2 * len(rows) + (8 << 20)


def test_arrays_that_are_not_listed_are_not_read(bench: Any) -> None:
    bomb = npy(PLAIN % (300 << 20), bytes(300 << 20))
    rows = npz(f0=npy(PLAIN % 2, bytes(16)), unlisted=bomb)
    data = archive(**{"reference.json": json.dumps(ONE).encode(), "rows.npz": rows})
    b = bench()
    tracemalloc.start()
    try:
        b.monitor.put_reference_zip("1", data, champion=True).result()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 << 20


@pytest.mark.parametrize(
    "features",
    [
        [{"name": "a", "kind": "numeric"}, {"name": "a", "kind": "numeric"}],
        [{"name": "", "kind": "numeric"}],
        [{"name": "a", "kind": "categorical", "categories": ["x"]}],
    ],
)
def test_a_reference_that_does_not_fit_itself_is_refused(
    bench: Any, features: list[dict[str, Any]]
) -> None:
    column = npy("{'descr': '<i4', 'fortran_order': False, 'shape': (1,), }", b"\7\0\0\0")
    data = archive(
        **{
            "reference.json": json.dumps({"format": 1, "features": features}).encode(),
            "rows.npz": npz(f0=column, f1=column),
        }
    )
    with pytest.raises(InvalidInput, match=r"features\[[01]\]"):
        bench().monitor.put_reference_zip("1", data, champion=True)
