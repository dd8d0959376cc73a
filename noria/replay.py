"""Historical rows, told again in time order: as requests first, as labels once they were known.

The rows come from the model's own source (``TaskFamily.ingest``), so a replay
needs no code of a project's. Times are epoch milliseconds in UTC.
"""

from __future__ import annotations

import glob
import http.client
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from noria.errors import DataError, InvalidInput, ServingError, Unavailable, shorten
from noria.spec import CsvSource, ModelSpec, ParquetSource, Source
from noria.tasks.families import family
from noria.tasks.protocol import Asking, Requests
from noria.tasks.sources.rows import label_columns, moments
from noria.tasks.sources.typed import read_as
from noria.values.vectors import aligned, stacked, width_of

if TYPE_CHECKING:
    import pandas as pd


_LISTS: Final = ("vector", "series")


@dataclass(frozen=True, slots=True)
class History:
    """``n`` rows, labelled unless ``labelled`` is false, sorted by event time.

    ``columns`` holds what a client sends, (n,) each or (n, width) of a vector, and
    ``datatypes`` the Open Inference Protocol's type of each; ``label`` (n,) is the target, or
    (n, k) those that ``targets`` names; ``event_ms`` and ``label_ms`` (n,) say when the row
    happened and when its label became known. Without labels, ``label`` is NaN.
    """

    columns: Mapping[str, npt.NDArray[Any]]
    datatypes: Mapping[str, str]
    label: npt.NDArray[Any]
    event_ms: npt.NDArray[np.int64]
    label_ms: npt.NDArray[np.int64]
    targets: tuple[str, ...] = ()
    labelled: bool = True

    def __len__(self) -> int:
        return len(self.label)

    def since(self, start: datetime) -> History:
        """Return the rows whose event is not before ``start``.

        Raises:
            DataError: There is none.
        """
        first = int(np.searchsorted(self.event_ms, _epoch_ms(start)))
        if first == len(self):
            raise DataError(f"no labelled row lies after {start}", fix="start earlier")
        return History(
            {name: values[first:] for name, values in self.columns.items()},
            self.datatypes,
            self.label[first:],
            self.event_ms[first:],
            self.label_ms[first:],
            self.targets,
            self.labelled,
        )


@dataclass(frozen=True, slots=True)
class Replaying:
    """What to replay: the source's rows in [start, end), or those of the file ``rows``.

    ``speed`` is simulated seconds per second, 0 for as fast as it goes. ``seen`` says what
    becomes of rows that the model was fitted on: ``mark`` has them answered and not measured.
    """

    start: datetime | None = None
    end: datetime | None = None
    rows: Path | None = None
    speed: float = 0
    seen: Literal["refuse", "mark"] = "refuse"


def read_history(
    spec: ModelSpec,
    base: Path,
    start: datetime | None = None,
    end: datetime | None = None,
    file: Path | None = None,
) -> History:
    """Return the labelled rows whose event lies in [start, end), oldest first.

    ``file`` is read instead of the source: CSV or Parquet with the source's columns.

    Raises:
        InvalidInput: There is no such file, or it is neither of the two.
        DataError: The source can't be read, the model has no event time, or no row is left.
    """
    if spec.data.event_time is None:
        raise DataError(
            "spec.data.eventTime: a replay needs a time to follow",
            fix="name the column that says when a row happened",
        )
    learner, data = family(spec.task.family), spec.data
    rows = learner.ingest(all_rows(spec, file), base, None)
    first = -inf if start is None else _epoch_ms(start)
    stop = inf if end is None else _epoch_ms(end)
    if isinstance(learner, Asking):
        asked = learner.requests(spec, rows, first, stop)
    else:
        event = moments(rows, spec.data.event_time)
        rows = rows[(event >= first) & (event < stop)]
        known = moments(rows, data.label_time or spec.data.event_time)
        labels = (one for one in label_columns(data, rows) if one not in spec.family.inputs)
        asked = Requests(rows, tuple(labels), known)
    rows, targets = asked.rows, asked.targets
    if rows.empty:
        raise DataError(
            f"no labelled row lies between {start} and {end}", fix="widen the time of the replay"
        )
    labelled = bool(targets) or spec.family.target is not None
    if labelled and not targets:
        raise DataError(
            "spec.data.source: its rows have no column of a label, so no answer can be measured",
            fix="let the family's ingest return one for each target",
        )
    order = np.argsort(moments(rows, spec.data.event_time), kind="stable")
    rows, known = rows.iloc[order], asked.known[order]
    event = moments(rows, spec.data.event_time)
    datatypes = sent_datatypes(spec)
    kinds = _types(spec)
    named = labelled and (data.target is None or data.target not in targets)
    return History(
        columns={
            name: event
            if datatype == "INT64"
            else _vectors(rows[name], kinds[name])
            if kinds.get(name) in _LISTS
            else _files(rows[name])
            if kinds.get(name) == "image"
            else _readable(rows[name], datatype)
            for name, datatype in datatypes.items()
        },
        datatypes=datatypes,
        label=_labels(rows, targets, data.target if not named else None),
        event_ms=event,
        label_ms=known,
        targets=targets if named else (),
        labelled=labelled,
    )


def _labels(rows: pd.DataFrame, targets: Sequence[str], target: str | None) -> npt.NDArray[Any]:
    """Return the target of n rows, (n,), or their k targets, (n, k); without any NaN, (n,)."""
    if target is not None:
        return rows[target].to_numpy()
    if not targets:
        return np.full(len(rows), np.nan)
    return np.column_stack([read_as(rows[name], "number") for name in targets])


def all_rows(spec: ModelSpec, file: Path | None) -> ModelSpec:
    """Return the spec whose source is every row that is to be told, however old.

    Raises:
        InvalidInput: ``file`` is not there, or is no CSV or Parquet file.
    """
    every = spec.retraining.model_copy(
        update={"train_on": type(spec.retraining.train_on)(kind="all")}
    )
    data = (
        spec.data
        if file is None
        else spec.data.model_copy(
            update={"source": _source_of(spec.data.source, file), "module": None}
        )
    )
    return spec.model_copy(update={"data": data, "retraining": every})


def _source_of(source: Source, file: Path) -> Source:
    """Return a file as a source of its own, read as the model's source is where it can be."""
    if not file.is_file():
        raise InvalidInput(f"--rows: there is no file {file}", fix="correct the path")
    path = glob.escape(str(file.resolve()))
    match file.suffix.lower():
        case ".parquet" if source.feast is not None:
            return Source(feast=source.feast.model_copy(update={"rows": path}))
        case ".parquet":
            return Source(parquet=ParquetSource(paths=(path,)))
        case ".csv" if source.csv is not None:
            return Source(csv=source.csv.model_copy(update={"paths": (path,)}))
        case ".csv" if source.feast is None:
            return Source(csv=CsvSource(paths=(path,)))
    wanted = "Parquet, as the rows of a Feast source are" if source.feast else "CSV or Parquet"
    raise InvalidInput(f"--rows: {file} is not {wanted}", fix="write the rows so")


def sent_datatypes(spec: ModelSpec) -> dict[str, str]:
    """Return the Open Inference Protocol's type of each column that a client sends, in order.

    Numbers, vectors and series are FP64, booleans BOOL, the event time INT64 (epoch milliseconds).
    Everything else is BYTES, keys and categories too, whatever type the file has.
    """
    known = _types(spec)
    datatypes = {"numeric": "FP64", "boolean": "BOOL", "vector": "FP64", "series": "FP64"}
    return {
        name: "INT64"
        if name == spec.data.event_time and name not in known
        else datatypes.get(known.get(name, ""), "BYTES")
        for name in family(spec.task.family).request_columns(spec)
    }


def _types(spec: ModelSpec) -> dict[str, str]:
    return {**{one.name: one.type for one in spec.data.features}, **spec.family.inputs}


def _files(column: pd.Series) -> npt.NDArray[Any]:
    """Return the bytes of files as JSON has them: base64."""
    from base64 import b64encode

    return np.array([b64encode(one).decode("ascii") for one in column], dtype=object)


def _readable(column: pd.Series, datatype: str) -> npt.NDArray[Any]:
    """Return a column of the source as training reads it; None or NaN for what is missing."""
    if datatype == "BYTES":
        return read_as(column, "text")
    if datatype == "FP64":
        return read_as(column, "number")
    values = read_as(column, "boolean")
    known: npt.NDArray[Any] = (values == 1.0).astype(object)
    known[np.isnan(values)] = None
    return known


def _vectors(column: pd.Series, kind: str) -> npt.NDArray[Any]:
    if kind == "series":
        return aligned(column, max(map(len, column), default=0))
    found = read_as(column, "vector")
    return stacked(found, width_of(found))


def _epoch_ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def moment(millis: int | np.int64) -> datetime:
    """Return epoch milliseconds as an aware datetime."""
    return datetime.fromtimestamp(int(millis) / 1000, UTC)


def infer_body(history: History, rows: slice) -> dict[str, Any]:
    """Return the Open Inference Protocol request for some rows, one tensor per column."""
    inputs = []
    for name, values in history.columns.items():
        part = values[rows]
        data = [None if value != value else value for value in part.ravel().tolist()]
        inputs.append(
            {
                "name": name,
                "shape": list(part.shape),
                "datatype": history.datatypes[name],
                "data": data,
            }
        )
    return {"inputs": inputs}


@dataclass(frozen=True, slots=True)
class Answer:
    """What the served model said about some rows: who answered, under which request id.

    ``outputs`` are (n,) each, or (n, k) of an output with k values per row.
    """

    request_id: str
    version: str
    outputs: Mapping[str, npt.NDArray[Any]]


class Client:
    """A keep-alive connection to the stable address of a model.

    One request at a time; not thread-safe.
    """

    def __init__(self, url: str, model: str, timeout: float = 30.0) -> None:
        parts = urlsplit(url)
        self._path = f"/v2/models/{model}/infer"
        self._connection = http.client.HTTPConnection(
            parts.hostname or "127.0.0.1", parts.port or 80, timeout=timeout
        )

    def infer(self, body: Mapping[str, Any], request_id: str) -> Answer:
        """Ask for predictions.

        Raises:
            Unavailable: Nobody answers.
            ServingError: The server refused; the message has its words.
        """
        content = json.dumps({"id": request_id, **body}).encode()
        headers = {"content-type": "application/json"}
        try:
            self._connection.request("POST", self._path, content, headers)
            response = self._connection.getresponse()
            payload = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise Unavailable(
                f"{self._path}: no answer ({error})", fix="see `noria status`"
            ) from error
        if response.status != http.client.OK:
            raise ServingError(f"{self._path}: HTTP {response.status}: {_words(payload)}")
        answer = json.loads(payload)
        return Answer(
            request_id=answer["id"],
            version=answer["model_version"],
            outputs={
                out["name"]: np.asarray(out["data"]).reshape(out["shape"])
                for out in answer["outputs"]
            },
        )

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _words(payload: bytes) -> str:
    """Return what a refusal says; as it came, when it isn't a model server's."""
    try:
        return str(json.loads(payload)["error"])
    except (ValueError, KeyError, TypeError):
        return shorten(payload, 500)


def steps(history: History, period_ms: int, offset_ms: int = 0) -> Iterator[tuple[int, slice]]:
    """Cut the rows into periods of event time: yields (end of the period in ms, its rows).

    Periods start at multiples of ``period_ms`` plus ``offset_ms``; empty ones are left out.
    """
    key = (history.event_ms - offset_ms) // period_ms
    starts = np.flatnonzero(np.r_[True, key[1:] != key[:-1]])
    ends = np.r_[starts[1:], len(key)]
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        yield int(key[start] + 1) * period_ms + offset_ms, slice(start, end)


class Labels:
    """Hands out labels in the order in which they became known, once their row was answered."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._order = np.argsort(history.label_ms, kind="stable")
        if not history.labelled:
            self._order = self._order[:0]
        self._next = 0
        self._ids: list[str] = [""] * len(history)

    def answered(self, rows: slice, request_id: str) -> None:
        """Remember which prediction each row got."""
        for index, row in enumerate(range(rows.start, rows.stop)):
            self._ids[row] = f"{request_id}:{index}"

    def known(self, until_ms: int) -> Sequence[tuple[int, Mapping[str, Any]]]:
        """Return labels that became known up to ``until_ms`` and were not handed out yet.

        Each comes with the number of its row; it is ready for the monitor's ``/feedback``. Of
        several targets there is one for each that the row has, and none of a row without a label.
        """
        out = []
        history, order = self._history, self._order
        while self._next < len(order) and history.label_ms[order[self._next]] <= until_ms:
            row = int(order[self._next])
            if not self._ids[row]:  # its request has not been sent: it stays first in line
                break
            time = moment(history.label_ms[row]).isoformat()
            said = history.label[row : row + 1].tolist()[0]
            if not history.targets and said == said:
                out.append((row, {"id": self._ids[row], "label": said, "time": time}))
            for name, value in zip(history.targets, said if history.targets else (), strict=True):
                if value == value:
                    label = {"id": self._ids[row], "label": value, "target": name, "time": time}
                    out.append((row, label))
            self._next += 1
        return out


def labels_by_key(history: History, spec: ModelSpec) -> Iterator[dict[str, Any]]:
    """Yield the label of each row by its entity key, ready for the monitor's ``/feedback``.

    Of several targets it is a list, None for those that are not known yet.

    Raises:
        InvalidInput: The model learns without labels, or names no key, or one that is asked about
            again and again.
    """
    data = spec.data
    if not history.labelled:
        raise InvalidInput(
            f"spec.task.family: {spec.family.name} learns without labels", fix="send none"
        )
    if not spec.family.key_has_time and isinstance(family(spec.task.family), Asking):
        raise InvalidInput(
            f"{spec.task.family}: labels of the source can't find their requests: the same "
            f"{', '.join(data.entity_key)} asks again and again",
            fix="send each label to the monitor's /feedback by the id of its request",
        )
    if not data.entity_key and not spec.family.key_has_time:
        raise InvalidInput(
            "spec.data.entityKey: is empty, and labels of the source find their rows by it",
            fix="name the columns that identify a row",
        )
    for row in range(len(history)):
        key = [history.columns[name][row] for name in data.entity_key]
        if any(part is None for part in key):
            continue
        if spec.family.key_has_time:
            key.append(int(history.event_ms[row]))
        said = history.label[row : row + 1].tolist()[0]
        if history.targets:
            said = [value if value == value else None for value in said]
        elif said != said:
            continue
        yield {"key": key, "label": said, "time": moment(history.label_ms[row]).isoformat()}
