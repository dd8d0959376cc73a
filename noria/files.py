"""Noria's own small files: one writer that is durable, one reader that doubts.

A file is replaced whole: a temporary file beside it, written through to the disk,
then renamed, so that a reader (or a power cut) meets the old content or the new
one, never a part. What can't be read as what it should be is set aside as
``NAME.damaged`` for a person to look at, and counts as absent: whoever reads the
file makes it again from what knows better.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import unquote

import msgspec

from noria.errors import StoreError

T = TypeVar("T")

DAMAGED: Final = ".damaged"
_PRIVATE_FILE: Final = 0o600
_PRIVATE_FOLDER: Final = 0o700
FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_MOST_BYTES: Final = 64 << 20
_MOST_WALKED: Final = 100_000
_SQLITE: Final = "sqlite:///"
_LEAST_ROOM: Final = 1 << 20
_log = logging.getLogger(__name__)


def make_folder(path: Path) -> Path:
    """Make a folder that only its owner may enter, and those above it; returns ``path``.

    Raises:
        StoreError: It can't be made.
    """
    missing = [above for above in (path, *path.parents) if not above.exists()]
    try:
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True, mode=_PRIVATE_FOLDER)
        path.mkdir(exist_ok=True)  # a file in its place
    except OSError as error:
        raise _unwritable(path, error) from error
    return path


def write_file(path: Path, content: bytes) -> None:
    """Replace a file at once and durably; only its owner may read it.

    Raises:
        StoreError: It can't be written; the old content stands.
    """
    make_folder(path.parent)
    draft: Path | None = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        draft = Path(name)
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), _PRIVATE_FILE)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        clear(path)
        draft.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        if draft is not None:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
        raise _unwritable(path, error) from error


def write_json(path: Path, value: Any) -> None:
    """Replace a file with a value as JSON; otherwise as ``write_file``."""
    write_file(path, msgspec.json.encode(value))


def read_json(path: Path, kind: type[T]) -> T | None:
    """Return what a file holds, checked against ``kind`` (``dict[str, Any]``, a msgspec struct).

    None when there is no file, or one that is damaged: that one is set aside.

    Raises:
        StoreError: The file is there and the system won't let it be read.
    """
    found = _read(path)
    if found is None:
        return None
    content, inode = found
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        # Somebody else may have set it aside and made it again by now.
        if _inode(path) == inode:
            set_aside(path, str(error))
        return None


def read_file(path: Path) -> bytes | None:
    """Return the content of a file, None when there is none, or something else in its place.

    That something (a folder, a link that leads nowhere, a file without end) is set aside.

    Raises:
        StoreError: The file is there and the system won't let it be read.
    """
    found = _read(path)
    return None if found is None else found[0]


def _read(path: Path) -> tuple[bytes, int] | None:
    """Return a file's content and inode."""
    try:
        # A pipe in its place must not make us wait for a writer.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            set_aside(path, "it leads nowhere")
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            set_aside(path, "it leads nowhere")
            return None
        raise _unreadable(path, error) from error
    try:
        seen = os.fstat(handle)
        if not stat.S_ISREG(seen.st_mode) or seen.st_size > _MOST_BYTES:
            set_aside(path, "it is no file of ours")
            return None
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read(), seen.st_ino
    except OSError as error:
        raise _unreadable(path, error) from error
    finally:
        os.close(handle)


def for_appending(path: Path) -> Path:
    """Make sure that a log can be appended to, by its owner alone; returns ``path``.

    Raises:
        StoreError: It can't.
    """
    make_folder(path.parent)
    try:
        clear(path)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, _PRIVATE_FILE))
    except OSError as error:
        raise _unwritable(path, error) from error
    return path


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[int | None]:
    """Hold a lock between processes, which the kernel lets go of however its holder ends.

    Yields the descriptor that holds it; None when ``wait`` is off and another has it.

    Raises:
        StoreError: The lock's file can't be made.
    """
    for_appending(path)
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield None
        else:
            yield handle
    finally:
        os.close(handle)


def set_aside(path: Path, why: str) -> Path:
    """Move what is damaged out of the way, to ``NAME.damaged``; returns where it is now.

    An older one of that name is replaced: the newest damage is the one to look at.
    """
    aside = path.with_name(path.name + DAMAGED)
    try:
        if aside.is_dir() and not aside.is_symlink():
            shutil.rmtree(aside)
        elif path.is_dir() and not path.is_symlink():
            aside.unlink(missing_ok=True)
        path.replace(aside)
    except OSError as error:
        _log.warning("%s is damaged (%s) and can't be set aside: %s", path, why, error.strerror)
        return path
    _log.warning("%s is damaged (%s): it is set aside as %s", path, why, aside.name)
    return aside


def damaged(folder: Path, *, skip: Collection[str] = ()) -> tuple[Path, ...]:
    """Return the files below a folder that were set aside, sorted; not those in folders ``skip``.

    It stops after a hundred thousand files: whoever asks wants an answer now.
    """
    found, walked = [], 0
    for root, folders, names in os.walk(folder):
        walked += len(names)
        if walked > _MOST_WALKED:
            break
        found += [Path(root, name) for name in (*names, *folders) if name.endswith(DAMAGED)]
        folders[:] = [name for name in folders if name not in skip and not name.endswith(DAMAGED)]
    return tuple(sorted(found))


def tighten(folder: Path) -> None:
    """Take from everybody but its owner what an earlier release left open below a folder."""
    for root, _, names in os.walk(folder):
        for path in (Path(root), *(Path(root, name) for name in names)):
            with suppress(OSError):  # somebody else's, or gone meanwhile
                mode = path.lstat().st_mode
                if mode & 0o077 and not stat.S_ISLNK(mode):
                    path.chmod(stat.S_IMODE(mode) & 0o700)


def room_problem(folder: Path) -> str:
    """Return what is wrong with the disk of a folder when it is full; empty when it is not."""
    try:
        seen = os.statvfs(folder)
    except OSError:
        return ""
    if seen.f_bavail * seen.f_frsize >= _LEAST_ROOM and (not seen.f_files or seen.f_favail):
        return ""
    return f"the disk of {folder} is full: make room on it"


def sqlite_uri(database: Path) -> str:
    """Return SQLAlchemy's URI of a SQLite file, whatever its path holds.

    Only what means something there is quoted: the question mark that ends the path, and the
    percent sign of quoting.
    """
    return _SQLITE + str(database.absolute()).replace("%", "%25").replace("?", "%3F")


def sqlite_path(uri: str) -> Path | None:
    """Return the file that such a URI means, None for any other URI."""
    if not uri.startswith(_SQLITE):
        return None
    return Path(unquote(uri.removeprefix(_SQLITE).partition("?")[0])).absolute()


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def clear(path: Path) -> None:
    """Set aside what is in a file's place and is none: a folder, a link, a pipe."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return
    if not stat.S_ISREG(mode):
        set_aside(path, "it is no file")


def sync_folder(folder: Path) -> None:
    """Make a rename durable. Some file systems can't sync a folder; they say so with EINVAL."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(handle)


def _unwritable(path: Path, error: OSError) -> StoreError:
    fix = "make room on its disk" if error.errno in FULL else "mend its folder's owner and mode"
    return StoreError(f"{path} can't be written: {error.strerror}", fix=fix)


def _unreadable(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"{path} can't be read: {error.strerror}", fix="mend its owner and mode, or delete it"
    )
