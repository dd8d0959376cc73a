"""Entities, feature views and the feature service of the flight models.

Paths are relative to the folder that the repository is opened in.
"""

from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.data_format import ParquetFormat
from feast.types import Float64, String, UnixTimestamp

origin = Entity(
    name="origin",
    join_keys=["origin"],
    value_type=ValueType.STRING,
    description="Airport of departure: EWR, JFK or LGA.",
)
dest = Entity(
    name="dest",
    join_keys=["dest"],
    value_type=ValueType.STRING,
    description="Airport of arrival; with `origin` it makes a route.",
)

observations = FileSource(
    name="observations",
    path="data/weather.parquet",
    file_format=ParquetFormat(),
    timestamp_field="observed",
    created_timestamp_column="published",
    description="Hourly observations. A correction repeats (origin, observed) and is published "
    "later.",
)
distances = FileSource(
    name="distances",
    path="data/routes.parquet",
    file_format=ParquetFormat(),
    timestamp_field="effective",
    description="Great-circle distances.",
)

weather = FeatureView(
    name="weather",
    entities=[origin],
    # A station that fell silent says nothing after this long: a gap is a missing value, both
    # in training and online, not a stale one.
    ttl=timedelta(hours=6),
    schema=[
        Field(name="origin", dtype=String),
        Field(name="temp", dtype=Float64, description="deg F"),
        Field(name="dewp", dtype=Float64, description="Dew point, deg F."),
        Field(name="humid", dtype=Float64, description="Relative humidity, %."),
        Field(name="wind_dir", dtype=Float64, description="Degrees; 0 is calm."),
        Field(name="wind_speed", dtype=Float64, description="mph"),
        Field(name="precip", dtype=Float64, description="Inches in the hour."),
        Field(name="pressure", dtype=Float64, description="Sea level, millibars."),
        Field(name="visib", dtype=Float64, description="Visibility, miles."),
        # Not a model's feature: it lets a reader of the online store see when a value became
        # known, which Feast itself does not return.
        Field(name="published", dtype=UnixTimestamp),
    ],
    source=observations,
    online=True,
)
route = FeatureView(
    name="route",
    entities=[origin, dest],
    ttl=timedelta(0),
    schema=[
        Field(name="origin", dtype=String),
        Field(name="dest", dtype=String),
        Field(name="distance", dtype=Float64, description="miles"),
    ],
    source=distances,
    online=True,
)

flight_delay = FeatureService(
    name="flight_delay",
    features=[
        weather[["temp", "dewp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib"]],
        route[["distance"]],
    ],
    description="What is known of a flight's weather and route at its scheduled departure.",
)
