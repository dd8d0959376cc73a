"""``spec.data``: where rows come from, what the columns mean, how they are split and checked."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import BeforeValidator, Field, WithJsonSchema, create_model

from noria.errors import shorten
from noria.exchange.moments import days_of
from noria.spec.families import FromFamilies, installed
from noria.spec.section import FILLED, Column, Items, Section, refuse
from noria.spec.served import Served
from noria.spec.units import Duration

TimeFeature: TypeAlias = Literal[
    "minute-of-day", "hour-of-day", "day-of-week", "day-of-year", "month"
]

FeatureType: TypeAlias = Literal["numeric", "categorical", "boolean", "text", "timestamp", "vector"]
MAX_WIDTH: Final = 16_384
"""Most numbers in a value of a vector."""


class FeastSource(Section):
    """Labelled rows in a file, joined point in time with a Feast feature service."""

    repository: str = Field(
        min_length=1,
        description="Folder of the Feast repository, relative to this file.",
        examples=["../../feature_repo"],
    )
    service: str = Field(
        min_length=1,
        description="Feature service that holds the looked-up features.",
        examples=["flight_delay"],
    )
    rows: str = Field(
        min_length=1,
        description="Parquet file of the labelled rows, relative to this file.",
        examples=["data/flights.parquet"],
    )


class ParquetSource(Section):
    """Rows in Parquet files."""

    paths: Items[str] = Field(
        min_length=1,
        description="Files or patterns, relative to this file, read in this order.",
        examples=[["data/*.parquet"]],
    )


def _encoding(value: Any) -> Any:
    if isinstance(value, str):
        try:
            "".encode(value)
        except (LookupError, UnicodeError, ValueError):
            raise refuse(
                f"{shorten(value)} is not an encoding that is known here",
                "use utf-8, utf-16, cp949, cp1252 or another one that Python has",
            ) from None
    return value


def _date_format(value: Any) -> Any:
    if isinstance(value, str):
        at = datetime(2001, 12, 31, 23, 59, 58, tzinfo=UTC)
        try:
            read = datetime.strptime(at.strftime(value), value)  # noqa: DTZ007 - its zone is not used
        except ValueError:
            read = None
        if read is None or read.date() != at.date():
            raise refuse(
                f"{shorten(value)} does not write a date that can be read again",
                "use directives of strptime, such as %d.%m.%Y %H:%M",
            )
    return value


class CsvSource(Section):
    """Rows in CSV files with a header."""

    paths: Items[str] = Field(
        min_length=1,
        description="Files or patterns, relative to this file, read in this order.",
        examples=[["data/*.csv"]],
    )
    separator: str = Field(
        default=",",
        min_length=1,
        max_length=1,
        pattern=r"""^[^"\r\n.0-9A-Za-z+-]$""",
        description="The one character between two fields, such as ; or a tab. RFC 4180 has the "
        "comma.",
        examples=[";"],
    )
    encoding: Annotated[
        str,
        BeforeValidator(_encoding),
        WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 40}),
    ] = Field(
        default="utf-8",
        description="How the files write characters, by a name that Python knows: utf-8 (with or "
        "without a byte order mark), utf-16, cp949, cp1252. It is not guessed: a wrong guess is "
        "seldom seen.",
        examples=["cp949"],
    )
    missing_values: Items[str] = Field(
        default=("",),
        max_length=100,
        description="Fields that mean missing, in any column, when they are not in quotes; in "
        "columns of numbers, booleans and times also when they are. Only the empty one by "
        "default: NA and None may be names.",
        examples=[["", "NA"]],
    )
    decimal: Literal[".", ","] = Field(
        default=".", description="The sign before a number's fraction.", examples=[","]
    )
    date_format: (
        Annotated[
            str,
            BeforeValidator(_date_format),
            WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 100}),
        ]
        | None
    ) = Field(
        default=None,
        description="How eventTime, labelTime and timestamps are written, by the directives of "
        "strptime; without %z they are UTC. null: ISO 8601, or epoch milliseconds.",
        examples=["%d.%m.%Y %H:%M"],
    )


class Source(Section):
    """Where rows come from: exactly one of the keys. Families may bring keys of their own."""

    feast: FeastSource | None = Field(
        default=None, description="Labelled rows joined point in time with a Feast service."
    )
    parquet: ParquetSource | None = Field(default=None, description="Parquet files.")
    csv: CsvSource | None = Field(default=None, description="CSV files with a header.")

    def kinds(self) -> tuple[str, ...]:
        """Return the keys that are given; a valid resource has exactly one."""
        return tuple(kind for kind in type(self).model_fields if getattr(self, kind) is not None)

    @property
    def kind(self) -> str:
        """The one key that is given."""
        return self.kinds()[0]

    @property
    def given(self) -> Section:
        """What the one key holds."""
        section: Section = getattr(self, self.kind)
        return section


@cache
def source_class() -> type[Source]:
    """Return the class of ``spec.data.source``, with the keys that installed families bring."""
    brought: dict[str, Any] = {
        kind: (section | None, Field(default=None, description=inspect.getdoc(section)))
        for plugin in installed().plugins
        for kind, section in plugin.family.data.items()
    }
    if not brought:
        return Source
    return create_model(
        "Source", __base__=Source, __doc__=Source.__doc__, __module__=__name__, **brought
    )


class Feature(Section):
    """One column that the model reads."""

    name: Column = Field(description="The column's name.", examples=["distance"])
    type: FeatureType = Field(
        description="What its values are. Numbers that are only names (a zip code) are "
        "categorical. text: sentences; a few different words are categorical. timestamp: a moment "
        "other than eventTime. vector: a list of so many numbers in each row, such as an embedding."
    )
    width: int | None = Field(
        default=None,
        ge=1,
        le=MAX_WIDTH,
        description="Numbers in each value of a vector, or that a text becomes. null: as many as "
        "the rows have; of a text 32.",
        examples=[384],
    )
    monotone: Literal["increasing", "decreasing"] | None = Field(
        default=None,
        description="The prediction (of two classes the probability of the positive one) never "
        "falls, or never rises, as this number rises and all others stay. null: it may do both.",
    )
    source_: Literal["request", "feast"] = Field(
        default="request",
        alias="from",
        description="request: the client sends it. feast: it is looked up online by joinKeys, "
        "and never sent.",
    )


class Range(Section):
    """Limits of a numeric column, both included."""

    min: float | None = Field(
        default=None, description="Least value, in the column's unit. null: no limit."
    )
    max: float | None = Field(
        default=None, description="Greatest value, in the column's unit. null: no limit."
    )


class Split(Section):
    """How rows are held out."""

    kind: Literal["temporal", "stratified", "group"] = Field(
        json_schema_extra=FILLED,
        default="temporal",
        description="temporal holds out the latest rows, as the model will meet them; stratified "
        "shuffles and keeps the target's shares; group keeps each group on one side. "
        "Without an eventTime the default is stratified.",
    )
    test_fraction: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="Share of rows held out, 0 to 1. A fifth measures well and leaves the rest "
        "to learn from.",
    )
    gap: Duration = Field(
        default=timedelta(0),
        description="Time left out between training and held-out rows, a duration (temporal only). "
        "As long as a label takes to arrive, it shows what the model will really know.",
    )
    group_key: Column | None = Field(
        default=None, description="Column whose values stay on one side (group only)."
    )


class Validation(Section):
    """What rows must look like before anything is trained on them."""

    min_rows: int = Field(
        default=1000,
        ge=1,
        description="Least number of rows. Fewer than 1000 seldom make a model worth serving.",
    )
    max_missing: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="Greatest share of missing values in a feature, 0 to 1.",
    )
    ranges: dict[Column, Range] = Field(
        default={},
        max_length=1000,
        description="Limits of numeric columns, by column. A row outside them fails.",
    )


class Data(Section):
    """Where rows come from, what the columns mean, how they are split and checked."""

    module: str | None = Field(
        default=None,
        min_length=1,
        description="The project's own Python file, relative to this file. null: none is needed.",
    )
    source: Annotated[Source, FromFamilies(source_class)] = Field(
        description="Where rows come from: exactly one key.",
        examples=[{"parquet": {"paths": ["data/*.parquet"]}}],
    )
    served: Served | None = Field(
        default=None,
        description="Learn from what was served, too: rows that got their label through the "
        "monitor are kept as a table. null: rows come from the source alone.",
        examples=[{"retention": "180d"}],
    )
    features: Items[Feature] = Field(
        default=(),
        max_length=1000,
        description="What the model reads, in this order. Needed by families that read columns.",
    )
    time_features: Items[TimeFeature] = Field(
        default=(),
        max_length=5,
        description="Features derived from eventTime (UTC), after the others, in this order.",
    )
    target: Column | None = Field(
        default=None,
        description="Column to predict. Families that learn without labels have none.",
        examples=["late"],
    )
    event_time: Column | None = Field(
        default=None,
        description="Column of the moment at which the prediction is asked for: ISO 8601 in UTC, "
        "or epoch milliseconds. Nothing later is known to the model.",
    )
    label_time: Column | None = Field(
        default=None,
        description="Column of the moment at which the label became known. null: at once.",
    )
    weight: Column | None = Field(
        default=None,
        description="Column of how much each row counts when a model is fitted: 2 as two such "
        "rows, 0 not at all. Metrics count all rows alike; it is never sent, and no feature. "
        "null: all the same.",
        examples=["importance"],
    )
    entity_key: Items[Column] = Field(
        default=(),
        max_length=20,
        description="Columns that identify a row; labels join by them. Sent, but not features.",
    )
    join_keys: Items[Column] = Field(
        default=(),
        max_length=20,
        description="Columns that the online lookup needs. They may also be features.",
    )
    split: Split = Field(default_factory=Split, description="How rows are held out.")
    validation: Validation = Field(
        default_factory=Validation, description="What rows must look like before training."
    )

    def sent_features(self) -> tuple[Feature, ...]:
        """Return the features that a client sends, in order."""
        return tuple(feature for feature in self.features if feature.source_ == "request")

    def looked_up_features(self) -> tuple[Feature, ...]:
        """Return the features that are looked up online, in order."""
        return tuple(feature for feature in self.features if feature.source_ == "feast")

    def distances(self) -> dict[str, str]:
        """Return what is watched of each feature that is a timestamp: by its name, the days."""
        if self.event_time is None:
            return {}
        return {one.name: days_of(one.name) for one in self.features if one.type == "timestamp"}

    def feature_names(self) -> tuple[str, ...]:
        """Return what the model reads: the features in order, then the time features."""
        return (*(feature.name for feature in self.features), *self.time_features)

    def request_columns(self) -> tuple[str, ...]:
        """Return what a client sends: sent features, event time, entity key, join keys.

        Each column is named once, where it comes first.
        """
        event_time = () if self.event_time is None else (self.event_time,)
        sent = (feature.name for feature in self.sent_features())
        return tuple(dict.fromkeys((*sent, *event_time, *self.entity_key, *self.join_keys)))
