"""The answers of one part: a Parquet file that is whole or not there, and says what it is of."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from noria import files
from noria.errors import IntegrityError, StoreError
from noria.tasks.package import Output
from serving.batch.answering import Refused, arrays_of, type_of
from serving.batch.chunks import Chunk
from serving.batch.parts import Part
from serving.runner import Outcome

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_KEY: Final = b"noria.batch"
_LOCKS: Final = ".locks"


class Stamp(msgspec.Struct, frozen=True):
    """What answers are of: two that are equal are of the same rows by the same model.

    ``digest`` is the model package's. ``size`` and ``modified`` are the source file's, as in
    ``Part``. ``logged`` says that the monitor has them.
    """

    model: str
    version: str
    digest: str
    source: str = ""
    size: int = 0
    modified: int = 0
    first: int = 0
    keep: tuple[str, ...] = ()
    logged: bool = False


class Written(msgspec.Struct, frozen=True):
    """What a file of answers says about itself: its stamp, rows answered, and rows refused."""

    stamp: Stamp
    rows: int
    refused: int


@dataclass(slots=True)
class Draft:
    """Answers on their way to a file. They are written in the order of the rows."""

    writer: pq.ParquetWriter
    outputs: Sequence[Output]
    rows: int = 0
    refused: list[Refused] = field(default_factory=list)

    def add(self, chunk: Chunk, outcome: Outcome) -> None:
        """Write answered rows: what is kept of them, and what was said."""
        import pyarrow as pa

        columns = {**chunk.columns(), **arrays_of(outcome, self.outputs)}
        arrays = [columns[name] for name in self.writer.schema.names]
        self.writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self.writer.schema))
        self.rows += outcome.rows


def read_written(path: Path) -> Written | None:
    """Return what a file of answers says about itself; None where there is none.

    Raises:
        IntegrityError: It is no such file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.exists():
        return None
    try:
        said = pq.read_metadata(path).metadata or {}
        return msgspec.json.decode(said[_KEY], type=Written)
    except (pa.ArrowException, OSError, KeyError, msgspec.MsgspecError) as error:
        raise IntegrityError(
            f"{path}: no answers that Noria wrote: {error}",
            fix="move it away, or give another --out",
        ) from error


@contextmanager
def held(out: Path, part: Part) -> Iterator[bool]:
    """Hold a part against other processes; False: another one is at it."""
    with files.locked(out / _LOCKS / f"{part.name}.lock", wait=False) as lock:
        yield lock is not None


@contextmanager
def draft(path: Path, stamp: Stamp, kept: pa.Schema, outputs: Sequence[Output]) -> Iterator[Draft]:
    """Take answers, and put them in their place, durably, when all of them are there.

    Whoever holds the part (``held``) alone may do so. Refused rows go beside it, before it does.

    Raises:
        StoreError: The file can't be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([*kept, *(pa.field(one.name, type_of(one)) for one in outputs)])
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with pq.ParquetWriter(partial, schema, compression="zstd") as writer:
            made = Draft(writer, outputs)
            yield made
            told = Written(stamp, made.rows, len(made.refused))
            writer.add_key_value_metadata({_KEY: msgspec.json.encode(told)})
        beside = refused_beside(path)
        if made.refused:
            files.write_file(beside, b"".join(map(_line, made.refused)))
        else:
            beside.unlink(missing_ok=True)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
        files.sync_folder(path.parent)
    except OSError as error:
        raise StoreError(f"{path}: can't be written: {error}", fix="make room there") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def refused_beside(path: Path) -> Path:
    """Return where the refused rows of a part are: a JSON object a line, with place and reason."""
    return path.with_suffix(".refused.jsonl")


def _line(one: Refused) -> bytes:
    row: dict[str, Any] = {"row": one.row + 1, "why": one.why, **one.kept}
    return msgspec.json.encode(row, enc_hook=str) + b"\n"
