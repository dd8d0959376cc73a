"""``noria init --data``: a model.yaml of a file of rows, which validates and trains at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from noria.spec import load_model
from noria.tasks.candidate import make_candidate
from noria.tasks.families import family

if TYPE_CHECKING:
    from conftest import Noria

NOTES = ("arrived broken and late", "works as it should do", "the colour is not what it was")


def sales(count: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    sold = pd.date_range("2024-01-01", periods=count, freq="h", tz="UTC")
    price = rng.gamma(3.0, 10.0, count).round(2)
    late = rng.random(count) < 0.3
    return pd.DataFrame(
        {
            "sale id": [f"S{place:05}" for place in range(count)],
            "sold": sold,
            "joined": sold - pd.to_timedelta(rng.integers(1, 900, count), unit="D"),
            "closed": sold + pd.Timedelta(days=3),
            "zip": [f"0{rng.integers(100, 120)}" for _ in range(count)],
            "price": np.where(rng.random(count) < 0.3, np.nan, price),
            "member": rng.random(count) < 0.5,
            "note": [f"{rng.choice(NOTES)}, order {place}" for place in range(count)],
            "country": "KR",
            "late": np.where(late, "yes", "no"),
            "refund": np.where(late, "paid", "none"),
            "days": 2.0 + 3.0 * late + rng.random(count),
        }
    )


EXPECTED = {
    "joined": "timestamp",
    "zip": "categorical",
    "price": "numeric",
    "member": "boolean",
    "note": "text",
}


def write(frame: pd.DataFrame, path: Path, **given: Any) -> None:
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_csv(
        path, index=False, **given
    )


def trains(folder: Path) -> Any:
    """Train from what was written, and return the spec."""
    spec = load_model(folder / "model.yaml").spec
    tasks = family(spec.task.family)
    rows = tasks.ingest(spec, folder, None)
    tasks.validate(spec, rows)
    frame = tasks.features(spec, folder, rows)
    params = {"n_estimators": 3}
    made = make_candidate(tasks, spec, frame, None, folder / "out", model="m", params=params)
    assert made.evaluation.rows > 50
    return spec


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_the_columns_of_a_file_become_a_model_that_trains(
    kind: str, noria: Noria, tmp_path: Path
) -> None:
    frame = sales().drop(columns="days")
    write(frame, tmp_path / f"rows.{kind}")
    ran = noria("init", "sales", "--data", f"rows.{kind}", "--target", "late")
    assert ran.exit_code == 0, ran.stderr
    text = (tmp_path / "sales" / "model.yaml").read_text()
    assert "# closed is left out: it is later than sold in 100% of the rows" in text
    assert "# country is left out: it is 'KR' always" in text
    assert "# refund is left out: it alone predicts late: is it known only afterwards?" in text
    data = trains(tmp_path / "sales").data
    assert {one.name: one.type for one in data.features} == EXPECTED
    assert (data.event_time, data.entity_key, data.target) == ("sold", ("sale id",), "late")
    assert data.validation.min_rows == 320
    measured = frame["price"].isna().mean()
    assert measured < data.validation.max_missing < measured + 0.08
    assert noria("validate", "-f", "sales/model.yaml").exit_code == 0


def test_what_is_worth_a_question_is_said(noria: Noria, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    late = rng.random(1500) < 0.04
    frame = pd.DataFrame(
        {
            "customer_id": rng.integers(1000, 1100, 1500),
            "price": rng.gamma(3.0, 10.0, 1500),
            "calls": rng.normal(size=1500) + 3.0 * late,
            "late": np.where(late, "yes", "no"),
        }
    )
    write(frame, tmp_path / "rows.csv")
    assert noria("init", "m", "--data", "rows.csv", "--target", "late").exit_code == 0
    text = (tmp_path / "m" / "model.yaml").read_text()
    share = late.mean()
    assert f'target: late  # "yes" is {share:.1%} of the rows: average-precision' in text
    assert "{name: calls, type: numeric}  # AUC 0.9" in text
    assert "alone: is it known before late?" in text
    assert "{name: price, type: numeric}\n" in text
    assert "# No column has a time in each row" in text
    spec = trains(tmp_path / "m")
    assert (spec.data.split.kind, spec.data.split.group_key) == ("group", "customer_id")
    assert "customer_id" not in {one.name for one in spec.data.features}


def test_a_target_of_numbers_is_a_regression(noria: Noria, tmp_path: Path) -> None:
    write(sales().drop(columns=["late", "refund"]), tmp_path / "rows.csv")
    assert noria("init", "days", "--data", "rows.csv", "--target", "days").exit_code == 0
    spec = trains(tmp_path / "days")
    assert spec.task.family == "tabular-regression"


def test_how_a_file_writes_its_values_is_found(noria: Noria, tmp_path: Path) -> None:
    frame = sales()[["sold", "price", "member", "late"]]
    write(frame, tmp_path / "rows.csv", sep=";", decimal=",", na_rep="NA")
    assert noria("init", "m", "--data", "rows.csv", "--target", "late").exit_code == 0
    source = trains(tmp_path / "m").data.source.csv
    assert (source.separator, source.decimal, source.missing_values) == (";", ",", ("", "NA"))


def test_few_whole_numbers_are_classes_and_a_name_in_need_of_quotes_has_them(
    noria: Noria, tmp_path: Path
) -> None:
    frame = sales()[["sold", "price"]].assign(**{"stars: 1-5": np.arange(400) % 5, "on": 1.5})
    frame.loc[::2, "on"] = 2.5
    write(frame, tmp_path / "rows.csv")
    assert noria("init", "m", "--data", "rows.csv", "--target", "stars: 1-5").exit_code == 0
    spec = trains(tmp_path / "m")
    assert spec.task.family == "tabular-classification"
    assert [one.name for one in spec.data.features] == ["price", "on"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--target: what is to be predicted is not said; name one of the columns: sale id,"),
        (["--target", "lat"], "has no column lat"),
        (["--target", "country"], "country can't be learnt: it is 'KR' always"),
        (
            ["--target", "late", "--family", "tabular-regression"],
            "late is categorical, and tabular-regression predicts a number",
        ),
        (["--target", "late", "--family", "forecasting"], "can't tell a model from rows"),
    ],
)
def test_what_can_not_be_told_is_refused_and_nothing_is_written(
    arguments: list[str], said: str, noria: Noria, tmp_path: Path
) -> None:
    write(sales(), tmp_path / "rows.csv")
    ran = noria("init", "m", "--data", "rows.csv", *arguments)
    assert ran.exit_code == 2
    assert said in ran.stderr
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("rows.txt", b"a,b\n1,2\n", "is neither CSV nor Parquet"),
        ("rows.csv", b"a,b\n", "has a header and no rows"),
        ("rows.parquet", b"a,b\n1,2\n", "can't be read as Parquet"),
        ("rows.csv", b"a,b\n1,2\n3\n", "rows.csv"),
        ("none.csv", None, "can't be read"),
    ],
)
def test_a_file_that_can_not_be_read_is_refused(
    name: str, content: bytes | None, said: str, noria: Noria, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    ran = noria("init", "m", "--data", name, "--target", "b")
    assert ran.exit_code == 2
    assert said in ran.stderr


def test_a_folder_with_a_model_is_left_alone(noria: Noria, tmp_path: Path) -> None:
    write(sales(), tmp_path / "rows.csv")
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.yaml").write_text("mine\n")
    ran = noria("init", "m", "--data", "rows.csv", "--target", "late")
    assert ran.exit_code == 2
    assert (tmp_path / "m" / "model.yaml").read_text() == "mine\n"
