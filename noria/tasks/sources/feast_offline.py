"""An offline store for Feast that joins files point in time without a full merge.

Feast's own file store (dask) merges every entity row with every source row of its key and
then filters: 45,000 flights with a year of hourly weather are 130 million rows in between.
It also loses entity rows all of whose candidates are older than the ttl. This store gives
the same answer by an as-of join, keeps every row, and inherits the rest.

Use it in ``feature_store.yaml``::

    offline_store:
      type: noria.tasks.sources.feast_offline.AsOfOfflineStore
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow.parquet as pq
from feast.infra.offline_stores.dask import (
    DaskOfflineStore,
    DaskOfflineStoreConfig,
    DaskRetrievalJob,
)
from feast.infra.offline_stores.file_source import FileSource
from feast.infra.offline_stores.offline_store import RetrievalMetadata

from noria.tasks.sources.asof import as_of, known_log

_EVENT_TIMESTAMP = "event_timestamp"
_NAME = "noria.tasks.sources.feast_offline.AsOfOfflineStore"


class AsOfOfflineStoreConfig(DaskOfflineStoreConfig):  # type: ignore[misc]
    """Configuration of the store: only its type."""

    type: Literal["noria.tasks.sources.feast_offline.AsOfOfflineStore"] = _NAME  # type: ignore[assignment]


class AsOfOfflineStore(DaskOfflineStore):  # type: ignore[misc]
    """Feast's file store with an as-of join."""

    @staticmethod
    def get_historical_features(
        config: Any,
        feature_views: list[Any],
        feature_refs: list[str],
        entity_df: pd.DataFrame | str | None,
        registry: Any,
        project: str,
        full_feature_names: bool = False,  # noqa: FBT001, FBT002 - Feast's signature
        filter_by_created_timestamp: bool = False,  # noqa: FBT001, FBT002
        **kwargs: Any,
    ) -> Any:
        """Return Feast's retrieval job; entity rows keep their order.

        Falls back to the inherited store for retrievals without an entity frame and for
        on-demand views.
        """
        wanted = _wanted(feature_views, feature_refs)
        usable = isinstance(entity_df, pd.DataFrame) and _EVENT_TIMESTAMP in entity_df
        if not usable or len(wanted) != len({ref.partition(":")[0] for ref in feature_refs}):
            return DaskOfflineStore.get_historical_features(
                config,
                feature_views,
                feature_refs,
                entity_df,
                registry,
                project,
                full_feature_names,
                filter_by_created_timestamp,
                **kwargs,
            )

        def join() -> _Computed:
            found = [
                _join(
                    entity_df,
                    view,
                    features,
                    Path(config.repo_path),
                    by_creation=filter_by_created_timestamp,
                ).add_prefix(f"{view.projection.name_to_use()}__" if full_feature_names else "")
                for view, features in wanted
            ]
            return _Computed(pd.concat([entity_df, *found], axis=1))

        instants = entity_df[_EVENT_TIMESTAMP]
        return DaskRetrievalJob(
            evaluation_function=join,
            full_feature_names=full_feature_names,
            repo_path=str(config.repo_path),
            metadata=RetrievalMetadata(
                features=feature_refs,
                keys=[column for column in entity_df if column != _EVENT_TIMESTAMP],
                min_event_timestamp=instants.min(),
                max_event_timestamp=instants.max(),
            ),
        )


class _Computed:
    """A frame where Feast's job expects a dask graph."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    def compute(self) -> pd.DataFrame:
        return self._frame


def _wanted(views: Sequence[Any], references: Sequence[str]) -> list[tuple[Any, list[str]]]:
    features: dict[str, list[str]] = defaultdict(list)
    for reference in references:
        view, _, feature = reference.partition(":")
        features[view].append(feature)
    return [
        (view, features[view.projection.name_to_use()])
        for view in views
        if view.projection.name_to_use() in features
    ]


def _join(
    rows: pd.DataFrame, view: Any, features: Sequence[str], folder: Path, *, by_creation: bool
) -> pd.DataFrame:
    source = view.batch_source
    names = view.projection.join_key_map
    keys = [names.get(column.name, column.name) for column in view.entity_columns]
    created = source.created_timestamp_column or None
    table = read_source(source, folder).rename(columns=names)
    # Without the filter Feast lets a value be seen before its creation, which then only breaks
    # ties; with it, as Noria asks, a row counts from its creation on.
    log = known_log(table, keys, source.timestamp_field, created if by_creation else None)
    ttl = view.ttl if view.ttl and view.ttl.total_seconds() > 0 else None
    return as_of(rows, log, keys, _EVENT_TIMESTAMP, features, ttl)


def read_source(source: Any, folder: Path) -> pd.DataFrame:
    """Return all rows of a Feast ``FileSource`` whose path is relative to ``folder``."""
    uri = FileSource.get_uri_for_file_path(repo_path=folder, uri=source.file_options.uri)
    files, path = FileSource.create_filesystem_and_path(
        str(uri), source.file_options.s3_endpoint_override
    )
    table = pq.read_table(path, filesystem=files).to_pandas()
    return table.rename(columns=source.field_mapping or {})
