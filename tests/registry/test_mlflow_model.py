"""The logged model, asked the way others ask it, answers as the server does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from starlette.testclient import TestClient

from noria.registry import Candidate, MlflowRegistry
from noria.tasks.package import (
    Feature,
    Input,
    Manifest,
    Output,
    load_predictor,
    read_manifest,
    write_package,
)
from noria.tasks.tabular.scorers.linear import LinearScorer
from serving.columns import InputBinder
from serving.oip.rest import decode

# MLflow, and what it imports, warn about their own internals; nothing of ours is meant.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*unclosed database.*:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:.*httpx.*with `starlette.testclient`.*"),
]

CATEGORIES = ("-3", "0.1", "7", "9007199254740993", "NA", "UA", "true", "서울")
SKIES = ("clear", "rain")
DATATYPES = {"carrier": "BYTES", "distance": "FP64", "night": "BOOL", "at": "INT64"}
ROW = {"carrier": "UA", "distance": 12.5, "night": True, "at": 1_767_225_600_000}


TEXT_ONLY = ("carrier", "at", "flight_id", "minute-of-day", "month")
INPUTS = (
    Input("carrier", "BYTES", "categorical"),
    Input("distance", "FP64", "numeric"),
    Input("night", "BOOL", "boolean"),
    Input("at", "INT64", "timestamp"),
    Input("flight_id", "BYTES", "categorical", optional=True),
)
FEATURES = (
    Feature("carrier", "categorical", categories=CATEGORIES),
    Feature("distance", "numeric"),
    Feature("night", "boolean"),
    Feature("wind", "numeric", "lookup"),
    Feature("sky", "categorical", "lookup", categories=SKIES),
    Feature("minute-of-day", "numeric", "time"),
    Feature("month", "numeric", "time"),
)
WEIGHTS = {"distance": 1.0, "night": 0.125, "wind": 0.017, "minute-of-day": 1e-4, "month": 1e3}


def write_model(package: Path, only: tuple[str, ...] = (), **options: Any) -> None:
    """Write a model with every type of feature, in which each value has a weight of its own."""
    features = [item for item in FEATURES if not only or item.name in only]
    tables = [item.categories for item in features if item.kind == "categorical"]
    ends = np.cumsum([len(table) + 1 for table in tables])
    weights = np.array([[WEIGHTS[item.name]] for item in features if item.name in WEIGHTS])
    places = enumerate(item.kind == "categorical" for item in features)
    numeric, categorical = [], []
    for place, is_table in places:
        (categorical if is_table else numeric).append(place)
    scorer = LinearScorer(
        numeric=np.array(numeric),
        categorical=np.array(categorical),
        weights=weights,
        missing=-3.3 * weights - 0.7,
        table=np.sqrt(np.arange(ends[-1], dtype=np.float64))[:, None],
        starts=ends - [len(table) + 1 for table in tables],
        absent=ends - 1,
        intercept=np.array([0.0]),
    )
    manifest = Manifest(
        model="flights",
        family="tabular-regression",
        algorithm="linear",
        inputs=tuple(item for item in INPUTS if not only or item.name in only),
        outputs=(Output("prediction", "FP64"),),
        features=tuple(features),
        options=options,
        event_time="at",
        entity_key=("flight_id",),
    )
    write_package(package, manifest, scorer.files())


class Asked:
    """One package, as MLflow loads it and as the server reads it."""

    def __init__(self, model: Any, package: Path) -> None:
        from mlflow.pyfunc import scoring_server

        self.model = model
        self._predictor = load_predictor(package)
        self._client = TestClient(scoring_server.init(model))

    def served(self, columns: dict[str, tuple[str, list[Any]]], **looked_up: Any) -> list[float]:
        tensors = [
            {"name": name, "datatype": datatype, "shape": [len(data)], "data": data}
            for name, (datatype, data) in columns.items()
        ]
        call = decode(json.dumps({"inputs": tensors}).encode(), None)
        batch = InputBinder(self._predictor.manifest).bind(call.tensors)
        rows = batch.rows
        found = {"wind": np.full(rows, np.nan), "sky": np.full(rows, None, dtype=object)}
        answer = self._predictor.predict({**batch.columns, **found, **looked_up})
        return list(answer["prediction"].tolist())

    def loaded(self, given_input: Any) -> list[float]:
        return list(self.model.predict(given_input)["prediction"].tolist())

    def post(self, content: bytes, kind: str = "application/json") -> Any:
        return self._client.post("/invocations", content=content, headers={"content-type": kind})

    def posted(self, body: Any) -> list[float]:
        answer = self.post(json.dumps(body).encode())
        assert answer.status_code == 200, answer.text
        return [row["prediction"] for row in answer.json()["predictions"]]


@pytest.fixture(scope="module")
def register(
    tmp_path_factory: pytest.TempPathFactory, empty_registry: Path
) -> Iterator[Callable[..., Any]]:
    import mlflow

    from noria.tasks.protocol import Evaluation

    home = tmp_path_factory.mktemp("flights")
    (home / "mlflow.db").write_bytes(empty_registry.read_bytes())
    uri = f"sqlite:///{home}/mlflow.db"
    registry = MlflowRegistry(uri, home / "artifacts")
    reference = home / "reference"
    reference.mkdir()
    (reference / "reference.json").write_text('{"format": 1}')

    def register(package: Path, example: dict[str, Any]) -> Any:
        candidate = Candidate(
            model="flights",
            run_id=package.name,
            package=package,
            reference=reference,
            evaluation=Evaluation(rows=1, metrics={}, baseline={}, gates=()),
            rows=1,
            champion=None,
            as_of=datetime(2026, 1, 1, tzinfo=UTC),
            fingerprint="ab" * 32,
            code_version="noria",
            reason="test",
            example=example,
        )
        version = registry.register(candidate)
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
        return mlflow.pyfunc.load_model(f"models:/flights/{version}")

    return register


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, register: Callable[..., Any]) -> Asked:
    package = tmp_path_factory.mktemp("gaps") / "package-gaps"
    write_model(package, allowMissing=True)
    return Asked(register(package, ROW), package)


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory, register: Callable[..., Any]) -> Asked:
    package = tmp_path_factory.mktemp("strict") / "package-strict"
    write_model(package)
    return Asked(register(package, ROW), package)


def arrow(values: list[Any], kind: pa.DataType) -> pd.Series[Any]:
    return pd.Series(values, dtype=pd.ArrowDtype(kind))


JANUARY = 1_767_225_600_000
NOON = JANUARY + 12 * 3_600_000
TWO_TIMES = [JANUARY, NOON]

# Two values as a frame may hold them, and as a client of the server sends them.
FORMS: list[tuple[str, pd.Series[Any], str, list[Any]]] = [
    *[("distance", pd.Series([3, 200], dtype=kind), "FP64", [3, 200])
      for kind in ("int64", "int32", "int16", "uint8", "uint64", "float32", "float64", "Int64",
                   "UInt8", "Float32", "Float64", "int64[pyarrow]", "float[pyarrow]", "category")],
    ("distance", pd.Series([0.1, 2.5], dtype="float32"), "FP32", [0.1, 2.5]),
    ("distance", pd.Series([3, None], dtype="Int64"), "FP64", [3, None]),
    ("distance", pd.Series([3, None], dtype=object), "FP64", [3, None]),
    ("distance", arrow([3, None], pa.int32()), "FP64", [3, None]),
    ("distance", pd.Series([Decimal("3.50"), None]), "FP64", [3.5, None]),
    ("distance", arrow([Decimal("3.50"), None], pa.decimal128(9, 2)), "FP64", [3.5, None]),
    *[("carrier", pd.Series(["UA", "서울"], dtype=kind), "BYTES", ["UA", "서울"])
      for kind in ("str", "object", "string", "string[pyarrow]", "string[python]", "category")],
    *[("carrier", pd.Series(["NA", None], dtype=kind), "BYTES", ["NA", None])
      for kind in ("str", "object", "string", "string[pyarrow]", "category")],
    ("carrier", arrow(["UA", None], pa.dictionary(pa.int32(), pa.string())), "BYTES", ["UA", None]),
    *[("carrier", pd.Series([7, -3], dtype=kind), "INT64", [7, -3])
      for kind in ("int64", "int32", "int8", "Int64", "category", "object", "int64[pyarrow]")],
    ("carrier", pd.Series([7, None], dtype="Int64"), "BYTES", ["7", None]),
    ("carrier", pd.Series([7, None], dtype="float64"), "FP64", [7, None]),
    ("carrier", pd.Series([2**53 + 1, 7], dtype="int64"), "INT64", [2**53 + 1, 7]),
    *[("carrier", pd.Series([0.1, 7], dtype=kind), "FP32", [0.1, 7])
      for kind in ("float32", "Float32", "float16", "float[pyarrow]", "category")],
    ("carrier", pd.Series([0.1, None], dtype="Float32"), "FP32", [0.1, None]),
    ("carrier", pd.Series([0.1, 0.2]), "FP64", [0.1, 0.2]),
    ("carrier", pd.Series([Decimal("7.00"), Decimal("0.10")]), "BYTES", ["7", "0.1"]),
    ("carrier", pd.Series([True, False]), "BOOL", [True, False]),
    ("carrier", pd.Series([7, "7.0", 0.1], dtype=object).iloc[:2], "BYTES", ["7", "7.0"]),
    ("carrier", pd.Series([b"UA", None]), "BYTES", ["UA", None]),
    ("carrier", pd.Series([date(2026, 1, 1), None]), "BYTES", ["2026-01-01", None]),
    *[("night", pd.Series([True, False], dtype=kind), "BOOL", [True, False])
      for kind in ("bool", "object", "boolean", "bool[pyarrow]", "int64", "float64", "category")],
    *[("night", pd.Series([True, None], dtype=kind), "BOOL", [True, None])
      for kind in ("object", "boolean", "bool[pyarrow]")],
    ("night", pd.Series([1, None], dtype="Int8"), "BOOL", [True, None]),
    *[("at", pd.to_datetime(pd.Series(TWO_TIMES), unit="ms").astype(kind), "INT64", TWO_TIMES)
      for kind in ("datetime64[ns]", "datetime64[us]", "datetime64[s]", "object",
                   "timestamp[us][pyarrow]")],
    *[("at", pd.to_datetime(pd.Series(TWO_TIMES), unit="ms", utc=True).dt.tz_convert(zone),
       "INT64", TWO_TIMES) for zone in ("UTC", "Asia/Seoul")],
    ("at", pd.Series(["2026-01-01", "2026-01-01T21:00:00+09:00"]), "INT64", TWO_TIMES),
    ("at", pd.Series([datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T12:00:00Z"], dtype=object),
     "INT64", TWO_TIMES),
    *[("at", pd.Series(TWO_TIMES, dtype=kind), "INT64", TWO_TIMES)
      for kind in ("int64", "Int64", "float64", "int64[pyarrow]")],
    ("at", pd.Series([date(2026, 1, 1), date(2026, 2, 1)]), "BYTES", ["2026-01-01", "2026-02-01"]),
    ("at", pd.Series([-1, NOON]), "INT64", [-1, NOON]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "column", "datatype", "data"),
    [pytest.param(*form, id=f"{form[0]}-{i}-{form[1].dtype}") for i, form in enumerate(FORMS)],
)
def test_a_column_of_any_type_gets_the_served_answers(
    asked: Asked, name: str, column: pd.Series[Any], datatype: str, data: list[Any]
) -> None:
    sent: dict[str, tuple[str, list[Any]]] = {
        key: (DATATYPES[key], [value] * 2) for key, value in ROW.items()
    }
    expected = asked.served({**sent, name: (datatype, data)})
    columns: dict[str, Any] = {key: [value] * 2 for key, value in ROW.items()}
    frame = pd.DataFrame({**columns, name: column, "unknown": [object(), "x"]}, index=[5, 3])
    frame[name] = column.set_axis(frame.index)

    answer = asked.model.predict(frame)

    assert answer["prediction"].tolist() == expected
    assert answer.index.tolist() == [5, 3]
    assert asked.loaded({**columns, name: column.to_numpy()}) == expected
    assert asked.loaded({**columns, name: list(column)}) == expected
    assert asked.loaded(frame.drop(columns="unknown").to_dict("records")) == expected


JSON_ROWS = st.fixed_dictionaries(
    {
        "carrier": st.sampled_from([*CATEGORIES, "", "nan", "unseen"]) | st.none(),
        "distance": st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9) | st.none(),
        "night": st.booleans() | st.none(),
        "at": st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat),
    }
)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(JSON_ROWS, min_size=1, max_size=4), looked_up=st.booleans())
def test_every_form_of_a_request_gets_the_served_answers(
    asked: Asked, rows: list[dict[str, Any]], looked_up: bool
) -> None:
    columns = {name: [row[name] for row in rows] for name in DATATYPES}
    kinds = {**DATATYPES, "at": "BYTES"}
    found: dict[str, Any] = {}
    if looked_up:
        found = {"wind": [2.5] * len(rows), "sky": ["rain"] * len(rows)}
        rows = [{**row, "wind": 2.5, "sky": "rain"} for row in rows]
    expected = asked.served(
        {name: (kinds[name], data) for name, data in columns.items()},
        **{name: np.array(data, dtype=object) for name, data in found.items()},
    )
    columns |= found
    frame = pd.DataFrame(columns)
    split = {"columns": list(columns), "data": [[row[name] for name in columns] for row in rows]}
    arrow_table = BytesIO()
    frame.to_parquet(arrow_table)

    assert asked.loaded(frame) == expected
    assert asked.loaded(columns) == expected
    assert asked.loaded(rows) == expected
    assert asked.posted({"dataframe_split": split}) == expected
    assert asked.posted({"dataframe_records": rows}) == expected
    assert asked.posted({"inputs": columns}) == expected
    assert asked.posted({"inputs": rows}) == expected
    assert asked.posted({"instances": rows}) == expected
    answer = asked.post(arrow_table.getvalue(), "application/vnd.apache.parquet")
    assert [row["prediction"] for row in answer.json()["predictions"]] == expected


def test_a_mapping_of_lists_of_texts_only_is_a_mapping_of_columns(
    tmp_path: Path, register: Callable[..., Any]
) -> None:
    package = tmp_path / "package-texts"
    write_model(package, only=TEXT_ONLY)
    asked = Asked(register(package, {"carrier": "UA", "at": "2026-01-01"}), package)
    columns = {"carrier": ["UA", "서울", "NA"], "at": ["2026-01-01", "2026-02-01", "2026-03-01"]}
    expected = asked.served(
        {"carrier": ("BYTES", columns["carrier"]), "at": ("BYTES", columns["at"])}
    )

    assert asked.loaded(columns) == expected
    assert asked.posted({"inputs": columns}) == expected
    one = {name: data[:1] for name, data in columns.items()}
    assert asked.loaded(one) == asked.posted({"inputs": one}) == expected[:1]
    assert asked.loaded({name: data[0] for name, data in columns.items()}) == expected[:1]
    with pytest.raises(MlflowException, match="the columns have different lengths"):
        asked.model.predict({**columns, "at": ["2026-01-01"]})


def test_an_integer_category_is_exact_or_refused(asked: Asked) -> None:
    columns = {name: [value] * 2 for name, value in ROW.items()}
    sent = {name: (DATATYPES[name], data) for name, data in columns.items()}
    expected = asked.served({**sent, "carrier": ("BYTES", ["9007199254740993", None])})
    exact = pd.Series([2**53 + 1, None], dtype="Int64")

    assert asked.loaded(pd.DataFrame({**columns, "carrier": exact})) == expected
    for rounded in (2**53, 2**53 + 1, -(2**53) - 1, 2**60):
        with pytest.raises(MlflowException, match="column carrier: row 1: "):
            asked.model.predict(pd.DataFrame({**columns, "carrier": [rounded, None]}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"distance": ["12", "x"]}, r"column distance: row 1: '12' is not a number.*give numbers"),
        ({"distance": [1.0, float("inf")]}, r"column distance: row 2: inf is not a finite number"),
        ({"distance": [1.0, None]}, r"column distance: row 2: missing, and distance may not be"),
        ({"distance": [1, 2**53 + 1]}, r"row 2: 9007199254740993 is beyond 2\^53"),
        ({"carrier": ["UA", None]}, r"column carrier: row 2: missing"),
        ({"carrier": ["UA", 1e18]}, r"column carrier: row 2: 1e\+18 is beyond 2\^53"),
        ({"carrier": [["UA"], ["UA"]]}, r"column carrier: row 1: \['UA'\] is not a category"),
        ({"night": [0, 6]}, r"column night: row 2: 6 is neither 0 nor 1"),
        ({"night": ["true", "false"]}, r"column night: row 1: 'true' is not true or false"),
        ({"at": ["2026-01-01", "soon"]}, r"column at: row 2: 'soon' is not an ISO-8601 time"),
        ({"at": [None, "2026-01-01"]}, r"column at: row 1: missing, and at may not be"),
        ({"night": [0, 6], "distance": ["a", "b"]}, r"(?s)distance: row 1.*\ncolumn night: row 2"),
    ],
)
def test_what_does_not_fit_is_refused_with_column_row_and_value(
    strict: Asked, change: dict[str, Any], said: str
) -> None:
    columns = {**{name: [value] * 2 for name, value in ROW.items()}, **change}
    with pytest.raises(MlflowException, match=said) as caught:
        strict.model.predict(pd.DataFrame(columns))
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"
    if float("inf") not in columns["distance"]:
        answer = strict.post(json.dumps({"inputs": columns}).encode())
        assert answer.status_code == 400
        assert "Traceback" not in answer.text


def test_a_required_column_that_is_absent_is_refused(strict: Asked) -> None:
    with pytest.raises(MlflowException, match=r"missing inputs \['carrier'\]"):
        strict.model.predict(pd.DataFrame([ROW]).drop(columns="carrier"))
    with pytest.raises(MlflowException, match="there are no rows; send one at least"):
        strict.model.predict(pd.DataFrame([ROW]).head(0))


def test_features_that_only_the_server_looks_up_are_said_to_be_missing(
    tmp_path: Path, register: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    write_model(tmp_path / "package-said")
    model = register(tmp_path / "package-said", ROW)
    for _ in range(3):
        model.predict(pd.DataFrame([{**ROW, "wind": 1.0}]))
    assert caplog.text.count("only the server looks them up: ['sky']") == 1


def test_the_registered_example_is_answered_and_the_manifest_keeps_the_types(
    strict: Asked,
) -> None:
    example = strict.model.input_example
    assert example.to_dict("records") == [ROW]
    assert strict.loaded(example) == strict.served(
        {name: (DATATYPES[name], [value]) for name, value in ROW.items()}
    )
    (package,) = Path(strict.model._model_impl.context.artifacts["package"]).parent.iterdir()
    assert {item.name: item.datatype for item in read_manifest(package).inputs} == {
        **DATATYPES,
        "flight_id": "BYTES",
    }
    inputs = strict.model.metadata.get_input_schema()
    assert inputs.required_input_names() == list(ROW)
    assert inputs.optional_input_names() == ["flight_id", "wind", "sky"]


def write_vector_model(package: Path) -> None:
    """Write a linear model of a vector of three numbers and a number beside it."""
    scorer = LinearScorer(
        numeric=np.arange(4),
        categorical=np.array([], np.int64),
        weights=np.array([[1.0], [10.0], [100.0], [0.5]]),
        missing=np.zeros((4, 1)),
        table=np.zeros((0, 1)),
        starts=np.array([], np.int64),
        absent=np.array([], np.int64),
        intercept=np.array([0.0]),
    )
    manifest = Manifest(
        model="flights",
        family="tabular-regression",
        algorithm="linear",
        inputs=(Input("image", "FP32", "vector", width=3), Input("size", "FP64", "numeric")),
        outputs=(Output("prediction", "FP64"),),
        features=(Feature("image", "vector", width=3), Feature("size", "numeric")),
        options={"allowMissing": True},
    )
    write_package(package, manifest, scorer.files())


def test_a_vector_is_an_array_in_the_signature_and_reads_as_the_server_reads_it(
    tmp_path: Path, register: Callable[..., Any]
) -> None:
    package = tmp_path / "package-vector"
    write_vector_model(package)
    asked = Asked(register(package, {"image": np.ones(3, np.float32), "size": 2.0}), package)
    (image, _) = asked.model.metadata.signature.inputs
    assert str(image.type) == "Array(double)"
    vectors = [[1.0, 2.0, 3.0], [0.5, 0.0, 0.25]]
    said = [321.0 + 1.0, 25.5 + 1.0]
    for image_column in (vectors, list(np.array(vectors)), list(np.array(vectors, np.float32))):
        assert asked.loaded(pd.DataFrame({"image": image_column, "size": [2.0, 2.0]})) == said
    rows = [{"image": vector, "size": 2.0} for vector in vectors]
    assert asked.posted({"dataframe_records": rows}) == said
    gone = pd.DataFrame({"image": [np.full(3, np.nan)], "size": [2.0]})
    assert asked.loaded(gone) == [1.0]
    for wrong in ([1.0, 2.0], [1.0, np.nan, 3.0]):
        with pytest.raises(MlflowException, match="column image"):
            asked.loaded(pd.DataFrame({"image": [wrong], "size": [2.0]}))
