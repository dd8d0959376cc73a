"""Rows in CSV files with a header (RFC 4180), whose fields are all read as texts."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

from noria.errors import DataError, Problem, shorten
from noria.spec import CsvSource
from noria.tasks.sources.files import column_problems
from noria.tasks.sources.typed import Part

_OTHERS: Final = ("cp949", "cp932", "gb18030", "cp1252")
_SEPARATORS: Final = (",", ";", "\t", "|")
_WHERE: Final = "spec.data.source.csv"


def read(paths: Sequence[Path], columns: Sequence[str], source: CsvSource) -> list[Part]:
    """Return the columns of each file as texts, null for what means missing.

    A field in quotes is never missing. An empty line is no row.

    Raises:
        DataError: A file can't be read in its encoding, or is no CSV.
    """
    return [_part(path, columns, source) for path in paths]


def _part(path: Path, columns: Sequence[str], source: CsvSource) -> Part:
    import pyarrow as pa
    from pyarrow import csv as arrow

    content = _utf8(path, source.encoding)
    header = _header(path, content, source)
    named = [name for name in header if name]
    problems = list(column_problems(path, columns, named))
    if problems:
        problems = [_hint(problem, header, source) for problem in problems]
    if b'"' in content:
        _refuse_open_quotes(path, content, source)
    wanted = [name for name in columns if header.count(name) == 1]
    ragged: list[object] = []

    def skip(row: object) -> str:
        ragged.append(row)
        return "skip"

    try:
        table = arrow.read_csv(
            pa.BufferReader(content),
            # One block: a row may be longer than any other block size.
            arrow.ReadOptions(use_threads=False, block_size=len(content) + 1),
            arrow.ParseOptions(
                delimiter=source.separator, newlines_in_values=True, invalid_row_handler=skip
            ),
            arrow.ConvertOptions(
                column_types={name: pa.string() for name in header},
                include_columns=wanted,
                null_values=list(source.missing_values),
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
    except pa.ArrowException as error:
        raise DataError(
            f"{path}: can't be read as CSV: {error}", fix=f"check the file and {_WHERE}"
        ) from error
    if ragged:
        problems.append(_ragged(path, content, header, source, len(ragged)))
    return Part(str(path), {name: table[name] for name in wanted}, problems)


def _utf8(path: Path, encoding: str) -> bytes:
    """Return the file's text in UTF-8, without a byte order mark."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror}") from error
    utf8 = encoding.lower().replace("_", "-") in ("utf-8", "utf8", "utf-8-sig")
    try:
        text = content.decode("utf-8-sig" if utf8 else encoding)
    except UnicodeError as error:
        raise DataError(
            f"{path}: {_undecodable(content, error)} is not {encoding}",
            fix=f"set {_WHERE}.encoding: {_guess(content)}",
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(
            f"{path}: line {line} holds a NUL character",
            fix=f"write the file again, or set {_WHERE}.encoding if it is utf-16-le or utf-16-be",
        )
    return (
        text.removeprefix("\ufeff").encode() if not utf8 else content.removeprefix(b"\xef\xbb\xbf")
    )


def _undecodable(content: bytes, error: UnicodeError) -> str:
    if not isinstance(error, UnicodeDecodeError):
        return "the file"
    line = content.count(b"\n", 0, error.start) + 1
    return f"byte {error.start} (line {line}, {content[error.start : error.end]!r})"


def _guess(content: bytes) -> str:
    """Return the encodings that could have written these bytes, the likeliest first."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    fitting = []
    for encoding in _OTHERS:
        try:
            content.decode(encoding)
        except UnicodeError:
            continue
        fitting.append(encoding)
    first = fitting[0] if fitting else "latin-1"
    return f"{first} (or {', '.join(fitting[1:])})" if fitting[1:] else first


def _header(path: Path, content: bytes, source: CsvSource) -> list[str]:
    rows = _records(content, source)
    try:
        header = next((row for _, row in rows if row), None)
    except csv.Error as error:
        raise DataError(f"{path}: line 1: {error}", fix="write the header again") from error
    if header is None:
        raise DataError(f"{path}: is empty", fix="give a header and rows")
    try:
        following = next((row for _, row in rows if row), None)
    except csv.Error:
        return header  # said below, with its line
    if following is None:
        raise DataError(f"{path}: has a header and no rows", fix="give rows, or remove the file")
    return header


def _records(content: bytes, source: CsvSource) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each record's last line, and its fields."""
    text = io.TextIOWrapper(io.BytesIO(content), "utf-8", newline="")
    reader = csv.reader(text, delimiter=source.separator, strict=True)
    for row in reader:
        yield reader.line_num, row


def _hint(problem: Problem, header: Sequence[str], source: CsvSource) -> Problem:
    """Say more about a file whose columns are not there: another separator, or no header."""
    if len(header) == 1:
        for other in _SEPARATORS:
            if other in header[0] and other != source.separator:
                fix = f"set {_WHERE}.separator: {other!r}"
                return Problem(problem.path, problem.message, fix)
    if any(_is_number(name) for name in header):
        fix = f"give the file a header: its first line looks like a row; {problem.fix}"
        return Problem(problem.path, problem.message, fix)
    return problem


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _refuse_open_quotes(path: Path, content: bytes, source: CsvSource) -> None:
    """Refuse a quote that is not closed, which would take the rows after it for its own text."""
    line = 1
    try:
        for line, _ in _records(content, source):  # noqa: B007 - its last value is what counts
            pass
    except csv.Error as error:
        raise DataError(
            f"{path}: the record after line {line}: {error}",
            fix='close the quote, and write a quote inside of a quoted field twice ("")',
        ) from error


def _ragged(
    path: Path, content: bytes, header: Sequence[str], source: CsvSource, count: int
) -> Problem:
    wrong = ((line, row) for line, row in _records(content, source) if row)
    shown = [
        f"line {line} has {len(row)}: {shorten(source.separator.join(row), 60)}"
        for line, row in islice(((n, r) for n, r in wrong if len(r) != len(header)), 3)
    ]
    return Problem(
        str(path),
        f"the header has {len(header)} fields, and {count} rows have another number; "
        + "; ".join(shown),
        f"write every row with {len(header)} fields, and quote a field that holds the separator",
    )
