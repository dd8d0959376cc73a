"""A batch: every part answered once, in order, with some rows at a time in every thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from noria.errors import Conflict, DataError, InvalidInput, NoriaError, ServingError, shorten
from noria.tasks.package import Manifest
from serving.batch import writing
from serving.batch.answering import Answered, Refused, answer
from serving.batch.chunks import Chunk, kept_of, read, rows_at_once
from serving.batch.parts import WHOLE, Part, Shard, find
from serving.service import Loaded

if TYPE_CHECKING:
    import pyarrow as pa

_AHEAD: Final = 2
"""Chunks that are read before a thread is free for them."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for. ``keep``: as ``kept_of``. ``at_most`` rows may have no answer."""

    source: Path
    out: Path
    keep: tuple[str, ...] | None = None
    at_most: int = 0
    threads: int = 1
    shard: Shard = WHOLE


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a batch is: parts and rows that are done, also by an earlier run, and rows refused.

    ``of_rows`` is None while it is not known, as of JSON lines.
    """

    parts: int
    of_parts: int
    rows: int
    of_rows: int | None
    refused: int
    earlier: int


class Log(Protocol):
    """Tells the monitor of answered rows."""

    def tell(self, part: Part, answered: Answered) -> None:
        """Return once the monitor has them; what it was told before it knows.

        Raises:
            MonitoringError: It does not take them.
        """
        ...


def run(
    loaded: Loaded,
    stamp: writing.Stamp,
    wanted: Wanted,
    log: Log | None,
    show: Callable[[Progress], None],
) -> Progress:
    """Answer every part that is not answered yet; return what is there in the end.

    A part's file is in its place only when all of its rows were answered, refused by name, and told
    to ``log``: a batch that was killed goes on with the part that it was at. Its
    output is the same, byte for byte, whatever the number of threads.

    Args:
        loaded: The model, from ``serving.service.load``.
        stamp: What the answers are of; the source's fields are filled in here.
        wanted: What is asked for.
        log: Who hears of the answers; None: nobody.
        show: Hears where the batch is, after some rows each.

    Raises:
        InvalidInput: There is nothing to read, a column is missing, or more rows than ``at_most``
            are refused.
        Conflict: The folder has other answers, or another process is at a part.
        ServingError: The predictor failed.
    """
    manifest = loaded.manifest
    if loaded.runner.reads_whole_requests:
        raise InvalidInput(
            f"{stamp.model}: what it says of a row depends on the rows that are asked with it, and "
            "a batch has no requests",
            fix="ask its server, all rows of a group in one request",
        )
    if wanted.source.is_dir() and wanted.out.resolve().is_relative_to(wanted.source.resolve()):
        raise InvalidInput(
            f"--out {wanted.out}: lies in the folder that is read, {wanted.source}: the next run "
            "would take the answers for rows",
            fix="give a folder beside it",
        )
    parts = wanted.shard.of_parts(find(wanted.source))
    known = [part.rows for part in parts if part.rows is not None]
    of_rows = sum(known) if len(known) == len(parts) else None
    where = Progress(0, len(parts), 0, of_rows, 0, 0)
    todo: list[tuple[Part, writing.Stamp, pa.Schema]] = []
    for part in parts:
        kept = kept_of(part, manifest, wanted.keep)
        _refuse_names(manifest, kept.names)
        own = _of(part, stamp, wanted, kept.names)
        found = _earlier(part, own, wanted)
        if found is None:
            todo.append((part, own, kept))
        else:
            where = replace(
                where,
                parts=where.parts + 1,
                rows=where.rows + found.rows,
                refused=where.refused + found.refused,
                earlier=where.earlier + 1,
            )
    show(where)
    for part, own, kept in todo:
        where = _answer(loaded, part, own, kept, wanted, log, where, show)
    return where


def _refuse_names(manifest: Manifest, keep: Sequence[str]) -> None:
    for name in keep:
        if name in {output.name for output in manifest.outputs}:
            raise InvalidInput(
                f"--keep {name}: the model's answer has that name", fix="rename the column"
            )


def _of(part: Part, stamp: writing.Stamp, wanted: Wanted, keep: Sequence[str]) -> writing.Stamp:
    base = wanted.source if wanted.source.is_dir() else wanted.source.parent
    return msgspec.structs.replace(
        stamp,
        source=part.source.relative_to(base).as_posix(),
        size=part.size,
        modified=part.modified,
        first=part.first,
        keep=tuple(keep),
    )


def _earlier(part: Part, own: writing.Stamp, wanted: Wanted) -> writing.Written | None:
    """Return what an earlier run wrote of a part; None if nobody did.

    Raises:
        Conflict: It is of other rows, of another model, or keeps other columns.
    """
    path = wanted.out / part.name
    found = writing.read_written(path)
    if found is None or found.stamp == own:
        return found
    differs = next(
        name for name in own.__struct_fields__ if getattr(found.stamp, name) != getattr(own, name)
    )
    then, now = getattr(found.stamp, differs), getattr(own, differs)
    raise Conflict(
        f"{path}: these answers are of something else: {differs} was {shorten(then)}, and is "
        f"{shorten(now)} now",
        fix="give another --out, or remove them",
    )


def _answer(
    loaded: Loaded,
    part: Part,
    own: writing.Stamp,
    kept: pa.Schema,
    wanted: Wanted,
    log: Log | None,
    where: Progress,
    show: Callable[[Progress], None],
) -> Progress:
    path, manifest = wanted.out / part.name, loaded.manifest
    with writing.held(wanted.out, part) as ours:
        if not ours:
            raise Conflict(
                f"{path}: another process is at it", fix="wait for it, or give each its --shard"
            )
        if (found := _earlier(part, own, wanted)) is not None:  # of a process that just ended
            return replace(where, parts=where.parts + 1, rows=where.rows + found.rows,
                           refused=where.refused + found.refused)  # fmt: skip
        chunks = read(part, manifest.inputs, kept.names, rows_at_once(manifest))
        with writing.draft(path, own, kept, manifest.outputs) as made:
            for piece in _in_order(loaded, part, chunks, wanted.threads):
                if isinstance(piece, Refused):
                    made.refused.append(piece)
                    where = replace(where, refused=where.refused + 1)
                    if where.refused > wanted.at_most:
                        raise _too_many(part, piece, wanted)
                    continue
                if log is not None:
                    log.tell(part, piece)
                made.add(piece.chunk, piece.outcome)
                where = replace(where, rows=where.rows + piece.outcome.rows)
                show(where)
    where = replace(where, parts=where.parts + 1)
    show(where)
    return where


def _in_order(
    loaded: Loaded, part: Part, chunks: Iterator[Chunk], threads: int
) -> Iterator[Answered | Refused]:
    """Yield the answers of chunks in their order, while later ones are under way."""
    waiting: deque[Future[list[Answered | Refused]]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="batch") as pool:
        try:
            for chunk in chunks:
                waiting.append(pool.submit(_safely, loaded, part, chunk))
                if len(waiting) >= threads + _AHEAD:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _safely(loaded: Loaded, part: Part, chunk: Chunk) -> list[Answered | Refused]:
    try:
        return answer(loaded, chunk)
    except NoriaError:
        raise
    except Exception as error:
        first, last = chunk.first + 1, chunk.first + chunk.rows
        raise ServingError(
            f"{part.source}: the predictor failed on rows {first:,} to {last:,}: "
            f"{type(error).__name__}: {shorten(str(error))}",
            fix="its exception is the cause of this error",
        ) from error


def _too_many(part: Part, last: Refused, wanted: Wanted) -> InvalidInput:
    more = "" if not wanted.at_most else f"; {wanted.at_most:,} were refused before it"
    return DataError(
        f"{part.source}: row {last.row + 1:,}: {last.why}{more}",
        fix="correct the row, or let so many be set aside with --refused N",
    )
