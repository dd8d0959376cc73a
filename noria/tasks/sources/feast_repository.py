"""Opens a Feast repository for the folder of a model's file.

A repository is named by a folder or by an importable package, each with a
``feature_store.yaml`` and Python modules of definitions:

- a folder (relative to the model's file) is an ordinary Feast repository: its paths are
  relative to itself;
- a package (``feature_repo``) is a template: the paths in its definitions and in its
  ``feature_store.yaml`` are relative to the folder of the model's file, so that a copy of that
  folder is complete, with its own data and state.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
import sqlite3
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from noria.errors import DataError, NotInstalled, Unavailable, shorten

_YAML = "feature_store.yaml"


@dataclass(frozen=True, slots=True)
class View:
    """A feature view as one feature service uses it.

    ``keys`` are its join keys, ``fields`` everything that it stores, each with its Feast type
    (INT64, STRING), ``features`` those of the fields that the service offers. ``created`` is
    the column of creation times; it can be read online when it is one of ``fields``.
    """

    name: str
    keys: Mapping[str, str]
    features: tuple[str, ...]
    fields: Mapping[str, str]
    ttl: timedelta | None
    event: str
    created: str | None
    definition: Any


@dataclass(frozen=True, slots=True)
class Repository:
    """An open Feast repository: its store, and the folder that its paths are relative to."""

    name: str
    store: Any
    root: Path
    folder: Path
    package: str | None

    def apply(self) -> None:
        """Register the definitions and make the tables of the online store; repeatable."""
        config = self.store.config
        if config.registry.registry_type == "file" and "://" not in config.registry.path:
            (self.root / config.registry.path).parent.mkdir(parents=True, exist_ok=True)
        database = self.online_database()
        with feast_errors(f"the Feast repository {self.name!r} can't be applied"):
            if database is not None:
                database.parent.mkdir(parents=True, exist_ok=True)
                with sqlite3.connect(database) as connection:
                    # Readers go on while a sync writes; the mode stays with the file.
                    connection.execute("PRAGMA journal_mode=WAL")
                connection.close()
            self.store.apply(self._definitions())

    def online_database(self) -> Path | None:
        """Return the file of an SQLite online store, or None for any other kind."""
        online = self.store.config.online_store
        return self.root / online.path if online is not None and online.type == "sqlite" else None

    def views(self, service: str) -> tuple[View, ...]:
        """Return the feature views of ``service``.

        Raises:
            DataError: The service is unknown or uses what Noria does not support.
            Unavailable: The repository has not been applied.
        """
        registry = self.store.config.registry
        if registry.registry_type == "file" and not self._is_registered(registry.path):
            raise Unavailable(
                f"the Feast repository {self.name!r} has not been applied in {self.root}",
                fix="apply the repository first",
            )
        with feast_errors(f"the feature service {service!r} of {self.name!r} can't be read"):
            projections = self.store.get_feature_service(service).feature_view_projections
            return tuple(self._view(projection) for projection in projections)

    def _is_registered(self, path: str) -> bool:
        # Asked before Feast looks: it would make an empty registry. Remote ones are URLs.
        return "://" in path or (self.root / path).is_file()

    def _view(self, projection: Any) -> View:
        if projection.join_key_map or projection.name_alias:
            raise DataError(
                f"the feature view {projection.name!r} is renamed in its service, which an "
                "online lookup does not support",
                fix="use it under its own name and entities",
            )
        definition = self.store.get_feature_view(projection.name)
        source = definition.batch_source
        ttl = definition.ttl
        return View(
            name=projection.name,
            keys=_kinds(definition.entity_columns),
            features=tuple(field.name for field in projection.features),
            fields=_kinds(definition.features),
            ttl=ttl if ttl and ttl.total_seconds() > 0 else None,
            event=source.timestamp_field,
            created=source.created_timestamp_column or None,
            definition=definition,
        )

    def _definitions(self) -> list[Any]:
        import feast
        from feast.data_source import DataSource

        kinds = (
            feast.Entity,
            feast.FeatureView,
            feast.OnDemandFeatureView,
            feast.FeatureService,
            DataSource,
        )
        found: dict[int, Any] = {}
        for module in self._modules():
            for value in vars(module).values():
                if isinstance(value, kinds):
                    found[id(value)] = value
        if not found:
            raise DataError(
                f"the Feast repository {self.name!r} ({self.folder}) defines nothing",
                fix="define entities, feature views and a feature service in its modules",
            )
        return list(found.values())

    def _modules(self) -> Iterator[ModuleType]:
        if self.package is not None:
            for module in pkgutil.iter_modules([str(self.folder)], f"{self.package}."):
                yield importlib.import_module(module.name)
            return
        # As Feast's own command line does: the repository's modules may import each other.
        sys.path.insert(0, str(self.folder))
        try:
            for path in sorted(self.folder.glob("*.py")):
                spec = importlib.util.spec_from_file_location(f"_feast_{path.stem}", path)
                if spec is None or spec.loader is None:
                    continue
                loaded = importlib.util.module_from_spec(spec)
                spec.loader.exec_module(loaded)
                yield loaded
        finally:
            sys.path.remove(str(self.folder))


def _kinds(fields: Iterable[Any]) -> Mapping[str, str]:
    return {field.name: field.dtype.to_value_type().name for field in fields}


def open_repository(repository: str, base: Path, scratch: Path | None = None) -> Repository:
    """Return the repository that ``repository`` names, for the model's file in ``base``.

    With ``scratch``, a folder, the registry is made there and there is no online store: what
    is shared, on this machine or elsewhere, is neither read nor changed.

    Raises:
        DataError: No such repository, or its configuration is refused.
        NotInstalled: Feast is missing.
    """
    import_feast()
    from feast import FeatureStore
    from feast.repo_config import RepoConfig

    folder, package = _locate(repository, base)
    root = base.resolve() if package is not None else folder
    with feast_errors(f"{folder / _YAML} is refused"):
        raw = yaml.safe_load(os.path.expandvars((folder / _YAML).read_text()))
        if scratch is not None:
            raw |= {"registry": str(scratch / "registry.db"), "online_store": None}
        config = RepoConfig(**raw, repo_path=root)
        store = FeatureStore(repo_path=str(root), config=config)
    return Repository(repository, store, root, folder, package)


def _locate(repository: str, base: Path) -> tuple[Path, str | None]:
    folder = (base / repository).resolve()
    if (folder / _YAML).is_file():
        return folder, None
    found = None
    if all(part.isidentifier() for part in repository.split(".")):
        try:
            found = importlib.util.find_spec(repository)
        except ModuleNotFoundError:
            found = None
    for place in found.submodule_search_locations or () if found is not None else ():
        if (Path(place) / _YAML).is_file():
            return Path(place), repository
    raise DataError(
        f"spec.data.source.feast.repository: {shorten(repository)} is neither a folder under "
        f"{base} nor an importable package with a {_YAML}",
        fix="name the folder or the package that holds it",
    )


def require_offered(wanted: Sequence[str], offered: Iterable[str], service: str) -> None:
    """Refuse, with DataError, features that are wanted and not offered."""
    names = set(offered)
    missing = [name for name in wanted if name not in names]
    if missing:
        raise DataError(
            f"the feature service {service!r} does not offer {missing[0]!r}",
            fix="add it to the service, or take `from: feast` off the feature",
        )


def import_feast() -> None:
    """Import Feast without PyTorch, which it would load only to be able to return tensors.

    That costs a process some 450 MB and a few seconds; Feast itself copes with its absence.

    Raises:
        NotInstalled: Feast is missing.
    """
    if "feast" in sys.modules:
        return
    hidden = "torch" not in sys.modules
    if hidden:
        sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        # Feast changes the process's warning filters as it is imported.
        with warnings.catch_warnings():
            importlib.import_module("feast")
    except ModuleNotFoundError as error:
        raise NotInstalled(
            "Feast is not installed", fix="install the extra noria[features]"
        ) from error
    finally:
        if hidden:
            del sys.modules["torch"]


@contextmanager
def feast_errors(what: str) -> Iterator[None]:
    """Turn what Feast and its stores raise into DataError or Unavailable, chained."""
    import_feast()
    from feast.errors import FeastError

    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{what}: {error}", fix="prepare the data first") from error
    except (sqlite3.Error, OSError) as error:
        raise Unavailable(f"{what}: {error}") from error
    except (
        FeastError,
        ArithmeticError,
        AttributeError,
        ImportError,
        LookupError,
        NotImplementedError,
        TypeError,
        ValueError,
        yaml.YAMLError,
    ) as error:
        raise DataError(f"{what}: {error}") from error
