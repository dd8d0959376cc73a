"""The model package: a directory with a ``noria.json`` and native model files, without pickle.

A package is written once and read by the trainer, the registry, the model
server and the monitor. Every file is listed in the manifest with its SHA-256;
the digest of the whole package covers the manifest too, so whoever knows the
digest knows that the bytes are the ones that were registered. Loading reads
each file once, checks it, and builds the predictor from the bytes that were
checked, so nothing can change in between.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, runtime_checkable

import msgspec
from msgspec import UNSET, UnsetType

from noria.errors import IntegrityError, InvalidInput, NotInstalled, TrainingError, shorten
from noria.labels import checked_targets
from noria.tasks.loaders import loader

if TYPE_CHECKING:
    import numpy as np

MANIFEST_NAME: Final = "noria.json"
FORMAT: Final = 1
_BINARY: Final = 2
_MAX_MANIFEST_BYTES: Final = 64 * 1024 * 1024

Kind = Literal[
    "numeric", "categorical", "boolean", "timestamp", "text", "vector", "series", "image"
]


class Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One column that a client sends.

    ``datatype`` is the Open Inference Protocol's (FP64, BYTES, BOOL, INT64).
    A timestamp is INT64 milliseconds since 1970 UTC here; a server may accept
    ISO-8601 strings and convert them. An optional input (an entity key, an
    event time that no feature needs) need not be sent. A vector has its ``width``: n of
    them are one tensor [n, width]. A series has one too, the most values that count: n of them are
    [n, m] of any m up to it, the newest value last; NaN is a gap, or fills up a shorter one in
    front. Nothing else has one, and no package of scalars says any. An image is BYTES: the bytes of
    a file, in JSON as base64; or UINT8 pixels, [n, height, width] or [n, height, width, channels].
    A predictor gets an object array of ``bytes`` and of uint8 arrays; it is never logged.
    """

    name: str
    datatype: str
    kind: Kind
    optional: bool = False
    width: int | UnsetType = UNSET

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one value: empty for a scalar."""
        return () if self.width is UNSET else (self.width,)


class Output(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One column that the model answers with; ``shape`` is per row (empty: a scalar).

    Of a ``nullable`` one a row may have no answer: NaN, which JSON has as null. No other output
    holds NaN, and none an infinity; a package that has no such output says nothing of it.
    """

    name: str
    datatype: str
    shape: tuple[int, ...] = ()
    nullable: bool | UnsetType = UNSET


class Feature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One column of the model's matrix (of a vector: its width), in order.

    ``origin``: sent by the client, looked up online, derived from the event time, or a descriptor:
    a number or category that is watched in place of inputs that it is made of (``Describing``).
    ``categories`` is the table of a categorical feature; a value's code
    is its place in it, and a value that is not in it is missing. A vector has its ``width``;
    so have a text and a timestamp, which are as many numbers of the matrix. An image is read by its
    predictor alone.
    """

    name: str
    kind: Literal["numeric", "categorical", "boolean", "vector", "text", "timestamp", "image"]
    origin: Literal["input", "lookup", "time", "descriptor"] = "input"
    categories: tuple[str, ...] = ()
    width: int | UnsetType = UNSET

    @property
    def size(self) -> int:
        """How many columns of the matrix it is: 1 for a scalar."""
        return 1 if self.width is UNSET else self.width


class Lookup(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Which features the server has to look up, and by which columns."""

    kind: Literal["feast"]
    repository: str
    service: str
    join_keys: tuple[str, ...]
    features: tuple[str, ...]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What ``noria.json`` says; closed, so that an unknown key is refused and not ignored.

    ``rows`` is how many rows the model was fitted on, ``trained_until`` the
    latest event time among them (milliseconds since 1970 UTC, None when rows
    have no time): a later comparison must not judge the model on rows that it
    has seen. ``recipe`` names what it was trained by (``noria.tasks.judging``).
    ``targets`` names the numbers of a row's prediction, in order: labels may name them, and reports
    do. A package without names says none. ``thresholds`` are the probabilities from which on
    something is called positive: one of two classes, or one of each target; without any it is 0.5.
    ``files`` maps each relative path to its SHA-256 in hex.
    """

    model: str
    family: str
    algorithm: str
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    features: tuple[Feature, ...]
    format: int = FORMAT
    options: dict[str, Any] = msgspec.field(default_factory=dict)
    lookup: Lookup | None = None
    event_time: str | None = None
    entity_key: tuple[str, ...] = ()
    target: str = ""
    targets: tuple[str, ...] | UnsetType = UNSET
    classes: tuple[str | int | bool, ...] = ()
    thresholds: tuple[float, ...] | UnsetType = UNSET
    rows: int = 0
    trained_until: int | None = None
    seed: int = 0
    parameters: dict[str, Any] = msgspec.field(default_factory=dict)
    recipe: str = ""
    files: dict[str, str] = msgspec.field(default_factory=dict)

    @property
    def target_names(self) -> tuple[str, ...]:
        """The names of a row's targets; empty: they are counted from 0."""
        return () if self.targets is UNSET else self.targets

    @property
    def features_read(self) -> tuple[Feature, ...]:
        """The features that the matrix is made of: all but what is watched beside them."""
        return tuple(one for one in self.features if one.origin != "descriptor")

    @property
    def limits(self) -> tuple[float, ...]:
        """The thresholds; empty: they are 0.5."""
        return () if self.thresholds is UNSET else self.thresholds

    def may_be_missing(self, name: str) -> bool:
        """Say whether a column of a request may have missing values.

        It may when it is an optional input or none that a client has to send, or when the
        option ``allowMissing`` is true or names it.
        """
        allowed = self.options.get("allowMissing", False)
        if allowed is True or (isinstance(allowed, list | tuple) and name in allowed):
            return True
        return all(item.optional for item in self.inputs if item.name == name)


class Predictor(Protocol):
    """A loaded model. Thread-safe; ``predict`` holds no state between calls."""

    @property
    def manifest(self) -> Manifest:
        """What the package says about itself."""
        ...

    def predict(self, columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return one array of n rows per output, for columns of n rows each.

        Numeric: float or integer arrays. Categorical: object arrays of str or
        None, or fixed-width str arrays. Vectors: an (n, width) float matrix, or
        an object array of n arrays or None. Timestamps: int64 milliseconds since
        1970 UTC, or datetime64. NaN and None are missing values. Looked-up
        features are columns too.

        Raises:
            InvalidInput: a column is missing, has another length or a type
                that can't be read.
        """
        ...


@runtime_checkable
class Describing(Protocol):
    """A predictor whose manifest has descriptors: features that the server logs, computed here."""

    def describe(self, columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return each descriptor of n rows, (n,) numbers, NaN where there is none.

        Of a category they are texts, or None.

        Args:
            columns: As ``predict`` takes them, and after it has taken them.
        """
        ...


@runtime_checkable
class DescribingAnswers(Describing, Protocol):
    """A predictor whose descriptors come of its answers: nothing is computed twice."""

    def describe_answers(
        self, columns: Mapping[str, np.ndarray], answers: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Return what ``describe`` does.

        Args:
            columns: As ``predict`` took them.
            answers: What it returned.
        """
        ...


@runtime_checkable
class ReadingWhole(Protocol):
    """A predictor whose answer to a row may depend on the other rows of its request."""

    @property
    def reads_whole_requests(self) -> bool:
        """Whether it does; requests are then never answered together."""
        ...


def load_predictor(package: Path, *, digest: str | None = None) -> Predictor:
    """Check a package and load its model, importing only what its algorithm needs.

    Args:
        package: The package's directory.
        digest: The digest that the package must have, when it is known.

    Raises:
        IntegrityError: A file is missing, added, changed or outside of the
            package, or the digest is another one.
        NotInstalled: The family or the algorithm's library is not installed.
    """
    manifest, files = read_package(package, digest=digest)
    try:
        build = loader(manifest.family)
    except NotInstalled as error:
        raise NotInstalled(f"{package}: can't be loaded: {error}") from error
    return build(manifest, files)


def read_manifest(package: Path) -> Manifest:
    """Return a package's manifest without reading its other files.

    Raises:
        IntegrityError: ``noria.json`` is missing, malformed or of another format.
    """
    return _parse(package, _read(package, MANIFEST_NAME))


def read_package(package: Path, *, digest: str | None = None) -> tuple[Manifest, dict[str, bytes]]:
    """Read and check every file of a package, each once.

    Raises:
        IntegrityError: See ``load_predictor``.
    """
    raw = _read(package, MANIFEST_NAME)
    manifest = _parse(package, raw)
    _refuse_unlisted(package, manifest)
    files: dict[str, bytes] = {}
    for path, expected in manifest.files.items():
        content = _read(package, path)
        actual = sha256(content)
        if actual != expected:
            raise IntegrityError(
                f"{package / path}: its sha256 is {actual}, the manifest says {expected}",
                fix="fetch the package from the registry again",
            )
        files[path] = content
    actual = _combine({**manifest.files, MANIFEST_NAME: sha256(raw)})
    if digest is not None and actual != digest:
        raise IntegrityError(
            f"{package}: the package's digest is {actual}, expected {digest}",
            fix="it is another version than the one that was asked for, or it was changed",
        )
    return manifest, files


def package_digest(package: Path) -> str:
    """Return the digest of a package: SHA-256 over its sorted ``sha256  path`` lines.

    The lines cover every file, the manifest included. The files are read and
    checked against the manifest first.

    Raises:
        IntegrityError: A file does not match the manifest.
    """
    manifest, _ = read_package(package)
    return _combine({**manifest.files, MANIFEST_NAME: sha256(_read(package, MANIFEST_NAME))})


def write_package(package: Path, manifest: Manifest, files: Mapping[str, bytes]) -> Manifest:
    """Write a package into a new or empty directory and return its manifest with all digests.

    The same manifest and files give the same bytes. ``noria.json`` is written
    last, by a rename: a half-written package has no manifest and can't be read.

    Raises:
        IntegrityError: A path leaves the package, or the targets' names are none.
        TrainingError: The directory is not empty or can't be written.
    """
    _check_names_and_thresholds(package, manifest)
    complete = msgspec.structs.replace(
        manifest, files={path: sha256(files[path]) for path in sorted(files)}
    )
    try:
        package.mkdir(parents=True, exist_ok=True)
        if any(package.iterdir()):
            raise TrainingError(f"{package}: not empty", fix="write a package to a new directory")
        for path, content in files.items():
            _check_relative(package, path)
            (package / path).parent.mkdir(parents=True, exist_ok=True)
            (package / path).write_bytes(content)
        text = msgspec.json.format(msgspec.json.encode(complete), indent=2) + b"\n"
        draft = package / f".{MANIFEST_NAME}.new"
        draft.write_bytes(text)
        draft.replace(package / MANIFEST_NAME)
    except OSError as error:
        raise TrainingError(f"{package}: the model package can't be written: {error}") from error
    return complete


def sha256(content: bytes) -> str:
    """Return the SHA-256 of ``content`` in lower-case hex."""
    return hashlib.sha256(content).hexdigest()


def _combine(digests: Mapping[str, str]) -> str:
    lines = "".join(f"{digests[path]}  {path}\n" for path in sorted(digests))
    return sha256(lines.encode())


def parse_manifest(raw: bytes) -> Manifest:
    """Return the manifest of the text of a ``noria.json``.

    Raises:
        IntegrityError: It is malformed or of another format.
    """
    return _parse(Path(), raw)


def _parse(package: Path, raw: bytes) -> Manifest:
    where = package / MANIFEST_NAME
    try:
        header = msgspec.json.decode(raw)
    except msgspec.DecodeError as error:
        raise IntegrityError(f"{where}: not JSON: {error}") from error
    found = header.get("format") if isinstance(header, dict) else None
    if found != FORMAT or isinstance(found, bool):
        raise IntegrityError(
            f"{where}: format is {shorten(found)}, this version reads format {FORMAT}",
            fix="use the version of Noria that wrote it, or train again",
        )
    try:
        manifest = msgspec.convert(header, Manifest)
    except msgspec.ValidationError as error:
        raise IntegrityError(f"{where}: {error}", fix="train again") from error
    for path in manifest.files:
        _check_relative(package, path)
    _check_names_and_thresholds(package, manifest)
    return manifest


def _check_names_and_thresholds(package: Path, manifest: Manifest) -> None:
    limits = manifest.limits
    wanted = len(manifest.target_names) or int(len(manifest.classes) == _BINARY)
    if limits and (len(limits) != wanted or not all(0 < limit <= 1 for limit in limits)):
        raise IntegrityError(
            f"{package / MANIFEST_NAME}: thresholds {list(limits)} are not one probability of two "
            "classes, nor one of each target",
            fix="train again",
        )
    where = f"{package / MANIFEST_NAME}: targets"
    if manifest.target_names and manifest.classes:
        raise IntegrityError(f"{where}: a model of classes has one target", fix="name none")
    try:
        checked_targets(manifest.target_names, where)
    except InvalidInput as error:
        raise IntegrityError(error.message, fix=error.fix) from error


def _check_relative(package: Path, path: str) -> None:
    pure = PurePosixPath(path)
    plain = bool(path) and str(pure) == path and "\\" not in path and "\0" not in path
    if not plain or pure.is_absolute() or ".." in pure.parts or path == MANIFEST_NAME:
        raise IntegrityError(
            f"{package / MANIFEST_NAME}: the path {shorten(path)} leaves the package",
            fix="a package lists plain relative paths with forward slashes",
        )


def _read(package: Path, path: str) -> bytes:
    """Read one file; refuses links, so that a listed path can't lead out of the package."""
    where = package / path
    try:
        current = package
        for part in PurePosixPath(path).parts:
            current = current / part
            if current.is_symlink():
                raise IntegrityError(f"{current}: a symbolic link", fix="copy the file instead")
        if path == MANIFEST_NAME and where.stat().st_size > _MAX_MANIFEST_BYTES:
            raise IntegrityError(f"{where}: larger than {_MAX_MANIFEST_BYTES} bytes")
        return where.read_bytes()
    except FileNotFoundError as error:
        raise IntegrityError(
            f"{where}: there is no such file", fix="give the directory that holds noria.json"
        ) from error
    except OSError as error:
        raise IntegrityError(f"{where}: can't be read: {error}") from error


def _refuse_unlisted(package: Path, manifest: Manifest) -> None:
    for folder, _, names in os.walk(package):
        for name in names:
            path = (Path(folder) / name).relative_to(package).as_posix()
            if path != MANIFEST_NAME and path not in manifest.files:
                raise IntegrityError(
                    f"{package / path}: not listed in {MANIFEST_NAME}",
                    fix="remove it, or fetch the package from the registry again",
                )
