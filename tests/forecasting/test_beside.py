"""Holidays, and covariates: known ahead, past, static."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from noria.errors import DataError, InvalidInput
from noria.spec import ModelSpec
from noria.tasks.forecasting.calendars import calendars_of
from noria.tasks.forecasting.describe import options_of
from noria.tasks.forecasting.family import LEARNER
from noria.tasks.forecasting.panel import series_of
from noria.tasks.forecasting.predictor import Forecaster
from noria.tasks.package import load_predictor
from tests.forecasting.test_panel import spec_of

WEEK = np.array([80.0, 90.0, 100.0, 110.0, 120.0, 60.0, 40.0])
START = pd.Timestamp("2023-01-02", tz="UTC")
HORIZON = 7


def days_of(count: int) -> pd.DatetimeIndex:
    return pd.date_range(START, periods=count, freq="D").astype("datetime64[us, UTC]")


def day_number(day: str) -> int:
    return int(np.datetime64(day, "D").astype(int))


def spec(
    options: Mapping[str, Any], *features: tuple[str, str], algorithm: str = "boosting", **more: Any
) -> ModelSpec:
    listed = [{"name": name, "type": kind} for name, kind in features]
    found = spec_of({"horizon": HORIZON, "origins": 150, **options}, features=listed, **more)
    return found.model_copy(
        update={"train": found.train.model_copy(update={"algorithm": algorithm})}
    )


def package_of(model: ModelSpec, rows: pd.DataFrame, folder: Path) -> Forecaster:
    """Return what the package of a model of all rows answers with."""
    LEARNER.validate(model, rows)
    samples = LEARNER.features(model, Path(), rows)
    prepared = LEARNER.prepare(model, samples)
    fitted = LEARNER.fit(model, prepared, np.arange(len(samples)), {}, None)
    LEARNER.save(model, fitted, folder / "package", model="depots")
    found = load_predictor(folder / "package")
    assert isinstance(found, Forecaster)
    return found


def closed_on(holidays: set[int], count: int = 1400) -> pd.DataFrame:
    """Return four depots that send a fifth on holidays."""
    days = days_of(count)
    numbers = days.tz_localize(None).to_numpy("datetime64[D]").astype(int)
    parts = []
    for depot in range(4):
        chance = np.random.default_rng(depot)
        usual = (depot + 1.0) * WEEK[np.arange(count) % 7] * chance.lognormal(0.0, 0.03, count)
        values = np.where(np.isin(numbers, list(holidays)), usual * 0.2, usual)
        parts.append(pd.DataFrame({"depot": f"D{depot}", "day": days, "parcels": values}))
    return pd.concat(parts, ignore_index=True)


def test_the_lunar_days_of_korea_are_known() -> None:
    (korea,) = calendars_of(("KR",), 2026, 2026)
    # Seollal 2026 is on 17 February and Chuseok on 25 September, each with a day on either side.
    around = korea.around(np.array([day_number(f"2026-02-{day}") for day in range(14, 20)]))
    assert around[:, 0].tolist() == [0, 0, 1, 1, 1, 0]
    assert around[:, 1].tolist() == [0, 1, 1, 1, 0, 0]
    assert around[:, 2].tolist() == [0, 0, 0, 1, 1, 1]
    chuseok = [day_number(f"2026-09-{day}") for day in (23, 24, 25, 26)]
    assert [day in korea.days for day in chuseok] == [False, True, True, True]
    assert day_number("2026-10-09") in korea.days  # Hangul Day


def test_a_part_of_a_country_has_days_of_its_own() -> None:
    germany, bavaria = calendars_of(("DE", "DE-BY"), 2026, 2026)
    assert set(bavaria.days) - set(germany.days) == {
        day_number(day) for day in ("2026-01-06", "2026-06-04", "2026-11-01")
    }


@pytest.mark.parametrize("name", ["XX", "DE-XX"])
def test_a_country_that_nobody_knows_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match=rf"holidays\[0\]: {name} has no calendar"):
        calendars_of((name,), 2026, 2026)


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Forecaster, pd.DataFrame]:
    """Depots that are closed on Korean holidays, and a model of them."""
    (korea,) = calendars_of(("KR",), 2022, 2027)
    rows = closed_on(set(korea.days))
    return package_of(spec({"holidays": ["KR"]}), rows, tmp_path_factory.mktemp("closed")), rows


def test_a_holiday_to_come_is_forecast(closed: tuple[Forecaster, pd.DataFrame]) -> None:
    model, rows = closed
    # Asked five days before the Chuseok of 2026, whose values came after.
    values = rows[(rows["depot"] == "D0") & (rows["day"] <= "2026-09-20")]["parcels"].to_numpy()
    asked = {
        "history": values[None, -70:],
        "day": np.array([pd.Timestamp("2026-09-20", tz="UTC").value // 1_000_000]),
    }
    said = model.predict(asked)["prediction"][0]
    place = len(values) % 7
    usual = WEEK[(place + np.arange(HORIZON)) % 7]
    # 24 to 26 September, Thursday to Saturday, are steps 4 to 6.
    expected = usual * np.array([1, 1, 1, 0.2, 0.2, 0.2, 1])
    # Without the holidays 48 to 96 would be wrong.
    assert np.abs(said - expected).max() < 15.0, (said, expected)
    plain = {**asked, "day": asked["day"] - 21 * 86_400_000}
    assert np.abs(model.predict(plain)["prediction"][0] / usual - 1.0).max() < 0.15


@pytest.mark.slow
def test_auto_takes_boosting_for_its_holidays(tmp_path: Path) -> None:
    (korea,) = calendars_of(("KR",), 2022, 2027)
    rows = closed_on(set(korea.days), 1000)
    model = spec({"holidays": ["KR"]}, algorithm="auto")
    assert package_of(model, rows, tmp_path).settings.method == "boosting"


def test_a_forecast_of_holidays_needs_to_know_when(
    closed: tuple[Forecaster, pd.DataFrame],
) -> None:
    model, _ = closed
    with pytest.raises(InvalidInput, match=r"day\[0\]: is missing, and holidays depend on it"):
        model.predict({"history": np.ones((1, 70))})
    # Ten years after the newest value nobody has told the version what is a holiday.
    for day, known in (("2036-12-20", True), ("2036-12-31", False)):
        asked = {
            "history": np.ones((1, 70)),
            "day": np.array([pd.Timestamp(day, tz="UTC").value // 1_000_000]),
        }
        if known:
            assert np.isfinite(model.predict(asked)["prediction"]).all()
        else:
            with pytest.raises(InvalidInput, match="knows the holidays of KR from 2022-01-01 to"):
                model.predict(asked)


def promoted(count: int = 300) -> pd.DataFrame:
    """Depots whose parcels rise by 50 on promoted days and fall with the price; a week ahead too.

    `visitors` of a day say by how much the day after it differs, and `kind` says the size.
    """
    parts = []
    days = days_of(count + HORIZON)
    for depot in range(6):
        chance = np.random.default_rng(depot)
        promotion = chance.random(len(days)) < 0.2
        price = np.round(chance.uniform(4.0, 6.0, len(days)), 2)
        level = 200.0 if depot % 2 else 100.0
        values = level + 50.0 * promotion - 10.0 * (price - 5.0)
        visitors = chance.normal(0.0, 20.0, len(days))
        values[1:] += visitors[:-1]
        part = pd.DataFrame(
            {
                "depot": f"D{depot}",
                "day": days,
                "parcels": np.where(np.arange(len(days)) < count, values, np.nan),
                "promotion": pd.array(promotion, "boolean"),
                "price": price,
                "visitors": visitors,
                "kind": "large" if depot % 2 else "small",
            }
        )
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


FEATURES = (
    ("promotion", "boolean"),
    ("price", "numeric"),
    ("visitors", "numeric"),
    ("kind", "categorical"),
)
ROLES: dict[str, Any] = {"knownAhead": ["promotion", "price"], "past": ["visitors"]}


@pytest.fixture(scope="module")
def sold(tmp_path_factory: pytest.TempPathFactory) -> tuple[Forecaster, pd.DataFrame]:
    rows = promoted()
    return package_of(spec(ROLES, *FEATURES), rows, tmp_path_factory.mktemp("sold")), rows


def asked_of(rows: pd.DataFrame, depot: str) -> dict[str, np.ndarray]:
    """Return a request at the end of a depot's values, with everything that it may send."""
    own = rows[rows["depot"] == depot].sort_values("day")
    values = own["parcels"].dropna().to_numpy()
    end = len(values)
    return {
        "depot": np.array([depot], object),
        "history": values[None, -70:],
        "promotion": own["promotion"].to_numpy(np.float64)[None, end - 70 : end + HORIZON],
        "price": own["price"].to_numpy()[None, end - 70 : end + HORIZON],
        "visitors": own["visitors"].to_numpy()[None, end - 70 : end],
        "kind": np.array([own["kind"].iloc[0]], object),
    }


def test_what_is_known_ahead_is_forecast_with(sold: tuple[Forecaster, pd.DataFrame]) -> None:
    model, rows = sold
    asked = asked_of(rows, "D1")
    asked["promotion"][0, -HORIZON:] = [0, 0, 1, 1, 0, 0, 1]
    asked["price"][0, -HORIZON:] = 5.0
    said = model.predict(asked)["prediction"][0]
    assert np.abs(said - [200, 200, 250, 250, 200, 200, 250])[1:].max() < 25, said
    dear = {**asked, "price": asked["price"].copy()}
    dear["price"][0, -1] = 6.0
    # A price of 6 takes 10 parcels away at the step that has it, and none at others.
    difference = model.predict(dear)["prediction"][0] - said
    assert difference[:-1].tolist() == [0.0] * (HORIZON - 1)
    assert difference[-1] < -2.0


def test_the_newest_value_of_a_past_covariate_counts(
    sold: tuple[Forecaster, pd.DataFrame],
) -> None:
    model, rows = sold
    asked = asked_of(rows, "D1")
    asked["price"][0, -HORIZON:], asked["promotion"][0, -HORIZON:] = 5.0, 0.0
    more = {**asked, "visitors": asked["visitors"].copy()}
    asked["visitors"][0, -1], more["visitors"][0, -1] = -30.0, 30.0
    low, high = (model.predict(one)["prediction"][0] for one in (asked, more))
    # It says 60 of the next day, and nothing of the days after it.
    assert high[0] - low[0] > 30.0
    assert np.abs(high[1:] - low[1:]).max() < 10.0


def test_what_is_not_sent_is_looked_up(sold: tuple[Forecaster, pd.DataFrame]) -> None:
    model, rows = sold
    whole = asked_of(rows, "D2")
    sent = model.predict(whole)["prediction"]
    assert model.predict({"depot": whole["depot"]})["prediction"].tolist() == sent.tolist()
    # A week ago, the steps to come are those whose rows came since.
    day = np.array([(START + pd.Timedelta(days=292)).value // 1_000_000])
    earlier = model.predict({"depot": whole["depot"], "day": day})["prediction"]
    values = rows[rows["depot"] == "D2"]["parcels"].to_numpy()
    own = {
        **whole,
        "history": np.r_[np.full(7, np.nan), values[230:293]][None],
        **{
            name: np.r_[
                np.full(7, np.nan), rows[rows["depot"] == "D2"][name].to_numpy(np.float64)[230:stop]
            ][None]
            for name, stop in (("promotion", 300), ("price", 300), ("visitors", 293))
        },
    }
    assert earlier.tolist() == model.predict(own)["prediction"].tolist()
    # A client that has the values alone says when, and of which series.
    values_alone = {name: own[name] for name in ("depot", "history")} | {"day": day}
    assert earlier.tolist() == model.predict(values_alone)["prediction"].tolist()


@pytest.mark.parametrize(
    ("lacking", "message"),
    [
        ("promotion", r"promotion\[0\]: is missing at step t\+1, and it is known ahead"),
        ("visitors", r"visitors\[0\]: is missing"),
        ("kind", r"kind\[0\]: is missing"),
    ],
)
def test_a_covariate_that_nobody_knows_is_refused(
    sold: tuple[Forecaster, pd.DataFrame], lacking: str, message: str
) -> None:
    model, rows = sold
    asked = {**asked_of(rows, "D2"), "depot": np.array(["new"], object)}
    del asked[lacking]
    with pytest.raises(InvalidInput, match=message):
        model.predict(asked)


def test_a_step_of_what_is_known_ahead_may_not_be_missing(
    sold: tuple[Forecaster, pd.DataFrame],
) -> None:
    model, rows = sold
    asked = asked_of(rows, "D2")
    asked["price"][0, -2] = np.nan
    with pytest.raises(InvalidInput, match=r"price\[0\]: is missing at step t\+6"):
        model.predict(asked)


def test_what_is_watched_are_numbers_of_the_forecast(
    sold: tuple[Forecaster, pd.DataFrame],
) -> None:
    model, rows = sold
    asked = asked_of(rows, "D3")
    found = model.describe(asked)
    assert found["price"][0] == pytest.approx(asked["price"][0, -HORIZON:].mean())
    assert found["promotion"][0] == float(asked["promotion"][0, -HORIZON:].any())
    assert found["visitors"][0] == asked["visitors"][0, -1]
    assert found["kind"].tolist() == ["large"]
    watched = [one.name for one in model.manifest.features]
    assert sorted(found) == sorted(watched)


@pytest.mark.parametrize("column", ["visitors", "parcels"])
def test_what_comes_after_an_origin_changes_no_forecast_from_it(column: str) -> None:
    rows, model = promoted(), spec(ROLES, *FEATURES)
    cut = START + pd.Timedelta(days=200)
    other = rows.copy()
    other.loc[other["day"] > cut, column] *= 5.0
    before, after = (LEARNER.features(model, Path(), one) for one in (rows, other))
    older = np.flatnonzero(before["day"] <= cut)
    assert older.size > 100
    prepared = LEARNER.prepare(model, before)
    # Futures up to the cut: learnt from; what is asked later is the same too.
    learnt = np.flatnonzero(before["day"] <= cut - pd.Timedelta(days=HORIZON))
    fitted = LEARNER.fit(model, prepared, learnt, {}, None)
    ours = LEARNER.predict(model, fitted, prepared, older)
    theirs = LEARNER.predict(model, fitted, LEARNER.prepare(model, after), older)
    pd.testing.assert_frame_equal(ours, theirs)
    again = LEARNER.fit(model, LEARNER.prepare(model, after), learnt, {}, None)
    assert fitted.forecaster.shared is not None
    assert again.forecaster.shared is not None
    assert fitted.forecaster.shared.files() == again.forecaster.shared.files()
    changed = rows.copy()
    changed.loc[changed["day"] > cut, "price"] += 1.0
    known = LEARNER.prepare(model, LEARNER.features(model, Path(), changed))
    assert not ours.equals(LEARNER.predict(model, fitted, known, older))


def test_rows_to_come_are_read_and_their_values_are_not(tmp_path: Path) -> None:
    rows, model = promoted(60), spec(ROLES, *FEATURES)
    (tmp_path / "rows.csv").write_text(rows.to_csv(index=False))
    whole = LEARNER.ingest(model, tmp_path, None)
    assert len(whole) == len(rows)
    assert whole["parcels"].notna().sum() == 6 * 60
    moment = datetime(2023, 1, 31, tzinfo=UTC)
    then = LEARNER.ingest(model, tmp_path, moment)
    late = then["day"] > moment
    assert late.sum() == 6 * (60 + HORIZON - 30)
    assert then.loc[late, "parcels"].isna().all()
    assert then.loc[late, "price"].notna().all()
    assert LEARNER.validate(model, then).rows == 6 * 30
    (first, *_) = series_of(model, options_of(model), then)
    assert first.values.size == 30
    # Without a feature that is known ahead there is nothing to read of the days to come.
    past = spec({"past": ["visitors"]}, ("visitors", "numeric"))
    assert (LEARNER.ingest(past, tmp_path, moment)["day"] <= moment).all()


def test_a_fact_of_a_series_may_not_change() -> None:
    rows, model = promoted(60), spec({}, ("kind", "categorical"))
    rows = rows[rows["parcels"].notna()]
    rows.loc[rows.index[40], "kind"] = "huge"
    with pytest.raises(
        DataError, match="kind of series 'D0' is small and, at 2023-02-11 00:00, huge"
    ):
        LEARNER.features(model, Path(), rows)


@pytest.mark.parametrize(
    ("options", "train", "message"),
    [
        ({"knownAhead": ["rain"]}, {}, r"knownAhead\[0\]: rain is no feature"),
        ({"past": ["kind"]}, {}, r"features\[3\].type: kind is categorical"),
        (
            {"knownAhead": ["price"], "past": ["price"]},
            {},
            r"past\[0\]: price is there twice",
        ),
        ({"holidays": ["Korea"]}, {}, r"holidays\[0\]: Korea is no code of a country"),
        ({"holidays": ["KR"], "step": "week"}, {}, "a step of week holds several days"),
        ({"holidays": ["KR"]}, {"algorithm": "theta"}, "theta looks at a series' own values alone"),
    ],
)
def test_what_no_forecast_can_read_is_refused(
    options: dict[str, Any], train: dict[str, Any], message: str
) -> None:
    listed = [{"name": name, "type": kind} for name, kind in FEATURES]
    with pytest.raises(InvalidInput, match=message):
        spec_of(options, train, features=listed)
