"""Which files hold a pickle, told by their content: whoever loads one runs the code in it.

This keeps pickles out that somebody saved without thinking (``joblib.dump``, ``torch.save``, an
array of objects). It is no wall against code that hides one: the class itself is code.
"""

from __future__ import annotations

import bz2
import io
import lzma
import pickletools
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import Final

from noria.errors import IntegrityError

_HEAD: Final = 4096
_OPCODES: Final = 8
_MOST_MEMBERS: Final = 10_000
_DEPTH: Final = 3
_NUMPY: Final = b"\x93NUMPY"
_RUNS: Final = frozenset({"GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "REDUCE", "BUILD", "NEWOBJ"})
"""Opcodes by which loading a pickle runs code; data alone has none of them."""

_PACKED: Final[tuple[tuple[bytes, str, Callable[[bytes], bytes]], ...]] = (
    (b"\x1f\x8b", "gzip", lambda data: zlib.decompressobj(wbits=31).decompress(data, _HEAD)),
    (b"BZh", "bzip2", lambda data: bz2.BZ2Decompressor().decompress(data, _HEAD)),
    (b"\xfd7zXZ", "xz", lambda data: lzma.LZMADecompressor().decompress(data, _HEAD)),
    (b"\x5d\x00\x00", "lzma", lambda data: lzma.LZMADecompressor().decompress(data, _HEAD)),
    (b"\x78", "zlib", lambda data: zlib.decompressobj().decompress(data, _HEAD)),
)


def refuse_pickles(files: Mapping[str, bytes], *, by: str) -> None:
    """Refuse files that hold a pickle.

    Args:
        files: Content by path.
        by: Who saved them, such as ``model.py:Digits``.

    Raises:
        IntegrityError: One does; the message names it.
    """
    for name, content in files.items():
        found = pickle_in(content)
        if found:
            raise IntegrityError(
                f"{by} saved {name}, which is {found}: loading it runs whatever code is in it",
                fix="save numbers and texts instead (npz, JSON, safetensors, skops, or the "
                "library's own format), or write spec.task.options.allowPickle: true",
            )


def pickle_in(content: bytes, depth: int = _DEPTH) -> str:
    """Return what a file's content has to do with pickle; empty: nothing that can be told."""
    if _is_pickle(content):
        return "a pickle"
    if content.startswith(_NUMPY):
        return "a NumPy array of objects, which is a pickle" if _has_objects(content) else ""
    if depth and content.startswith(b"PK"):
        return _in_zip(content, depth)
    for magic, name, unpack in _PACKED:
        if content.startswith(magic):
            try:
                head = unpack(content)
            except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError):
                continue
            if _is_pickle(head):
                return f"a pickle compressed by {name}"
    return _in_tar(content, depth) if depth and content[257:262] == b"ustar" else ""


def _is_pickle(content: bytes) -> bool:
    """Whether it begins as a pickle of protocol 2 or later, or is an older one that runs code.

    Two bytes are no proof: the length at the head of a safetensors file may be the same ones. So
    the first opcodes are read too.
    """
    modern = content[:1] == b"\x80" and content[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")
    if not modern and (not content or b"." not in content or content[:1] not in b"(]}ciIFKMJLSVN"):
        return False
    seen: list[str] = []
    try:
        for opcode, _, _ in pickletools.genops(content):
            seen.append(opcode.name)
            if modern and len(seen) >= _OPCODES:
                return True
    except Exception as error:  # noqa: BLE001 - pickletools raises several kinds on what is none
        # A head that was cut is still one.
        return modern and len(seen) > 1 and "exhausted" in str(error)
    return modern or (not _RUNS.isdisjoint(seen))


def _has_objects(content: bytes) -> bool:
    return b"'|O'" in content[:_HEAD] or b"'O'" in content[:_HEAD]


def _in_zip(content: bytes, depth: int) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for member in archive.infolist()[:_MOST_MEMBERS]:
                with archive.open(member) as file:
                    # What is packed again must be read whole; the rest shows at its head.
                    head = file.read(_HEAD)
                    rest = file.read() if head.startswith((b"PK", b"\x1f\x8b")) else b""
                found = pickle_in(head + rest, depth - 1)
                if found:
                    return f"an archive with {member.filename}, {found}"
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError):
        return ""
    return ""


def _in_tar(content: bytes, depth: int) -> str:
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for member in archive:
                file = archive.extractfile(member)
                found = "" if file is None else pickle_in(file.read(), depth - 1)
                if found:
                    return f"an archive with {member.name}, {found}"
    except (tarfile.TarError, OSError):
        return ""
    return ""
