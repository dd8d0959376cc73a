"""Looked-up features from Feast: for training as they were, for prediction as they are.

Both sides follow one rule (see :mod:`noria.tasks.sources.asof`): at an instant counts the
latest event that was known by then. Offline, the instant is the row's event time. Online,
values become visible when a sync reaches the time at which they became known, and a value is
hidden from a row whose event time it is later than, or more than the view's ttl older than.

Nothing here reports to anybody: Feast 0.67 has no usage reporting, and its integrations
(MLflow, OpenLineage) are off unless the repository's ``feature_store.yaml`` asks for them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from noria.errors import DataError
from noria.tasks.sources.feast_online import LookupSpec, OnlineFeatures
from noria.tasks.sources.feast_repository import feast_errors, open_repository, require_offered
from noria.tasks.sources.feast_sync import OnlineSync
from noria.tasks.sources.feast_values import key_of
from noria.tasks.sources.typed import read_frame, roles_of

if TYPE_CHECKING:
    from noria.spec import ModelSpec

__all__ = ["LookupSpec", "OnlineFeatures", "OnlineSync", "apply", "historical"]

_ROW: Final = "noria_row"


def apply(base: Path, repository: str) -> None:
    """Register the repository's definitions and make its online tables; repeatable.

    Args:
        base: Folder of the model's file.
        repository: ``spec.data.source.feast.repository``.

    Raises:
        DataError: The definitions, or the data that they point at, are refused.
        Unavailable: The registry or the online store can't be written.
    """
    open_repository(repository, base).apply()


def historical(spec: ModelSpec, base: Path, rows: pd.DataFrame) -> pd.DataFrame:
    """Return ``rows`` with their looked-up features as they were known at each event time.

    Distinct (join keys, event time) are asked for once. Index and order are kept. Shared state
    is not touched: the definitions are registered in a folder of its own for the call.

    Args:
        spec: The model; its source is Feast.
        base: Folder of the model's file.
        rows: n rows with the join keys and the event time.

    Raises:
        DataError: A column is missing, an event time is missing, or Feast refuses.
        Unavailable: The offline store does not answer.
    """
    source, at = spec.data.source.feast, spec.data.event_time
    wanted = [feature.name for feature in spec.data.looked_up_features()]
    if source is None or at is None:
        raise DataError("spec.data: features from Feast need source.feast and eventTime")
    keys = list(spec.data.join_keys)
    absent = [column for column in (*keys, at) if column not in rows]
    if absent:
        raise DataError(
            f"the rows have no column {absent[0]!r}, which the features are joined by",
            fix=f"the columns are {', '.join(map(str, rows.columns))}",
        )
    instants = read_frame(rows[[at]], {at: "time"})[at]
    if instants.isna().any():
        first = rows.index[instants.isna()][0]
        raise DataError(f"{at}: row {first} has no event time", fix="drop such rows")
    asked = read_frame(rows[keys], dict.fromkeys(keys, "text")).assign(event_timestamp=instants)
    group = asked.groupby([*keys, "event_timestamp"], sort=False, dropna=False).ngroup()
    distinct = asked[~group.duplicated()].reset_index(drop=True)
    found = _joined(source.repository, source.service, base, distinct, wanted)
    found = found.take(group.to_numpy()).set_axis(rows.index, axis=0)
    roles = roles_of(spec)
    found = read_frame(
        found, {name: roles[name] for name in wanted}, f"feature service {source.service}"
    )
    return rows.assign(**{name: found[name] for name in wanted})


def _joined(
    repository: str, service: str, base: Path, rows: pd.DataFrame, wanted: Sequence[str]
) -> pd.DataFrame:
    with tempfile.TemporaryDirectory(prefix="noria-features-") as scratch:
        opened = open_repository(repository, base, Path(scratch))
        opened.apply()
        kinds = {key: kind for view in opened.views(service) for key, kind in view.keys.items()}
        # An offline store joins by equal values: keys are asked for in the entity's own type.
        typed = {
            key: _column([key_of(text, kind) for text in rows[key]])
            for key, kind in kinds.items()
            if key in rows
        }
        with feast_errors(f"the feature service {service!r} can't be joined"):
            job = opened.store.get_historical_features(
                entity_df=rows.assign(**typed, **{_ROW: np.arange(len(rows))}),
                features=opened.store.get_feature_service(service),
                filter_by_created_timestamp=True,
            )
            found: pd.DataFrame = job.to_df()
    require_offered(wanted, found.columns, service)
    # Feast's stores promise no order, and the file store loses rows with nothing but old values.
    return found.set_index(_ROW).reindex(np.arange(len(rows)))[list(wanted)]


def _column(values: Sequence[Any]) -> Any:
    """Return keys as Feast joins them: whole numbers as 64-bit integers, the rest as they are."""
    known = {type(value) for value in values} - {type(None)}
    if known != {int}:
        return pd.Series(values, dtype=object)
    return pd.array(values, dtype="int64" if None not in values else "Int64")
