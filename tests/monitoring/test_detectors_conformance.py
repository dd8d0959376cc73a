"""What every detector must show, whatever its backend; and that the backends agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitoring.detectors import DetectorConfig, build_detector, load_detector
from monitoring.table import Column, Table
from noria.errors import InvalidInput, MonitoringError

ALIBI = pytest.param("alibi", marks=pytest.mark.slow)
KINDS = ("ks", "chi-square", "tabular", "mmd")
# 99 permutations reach a p-value of 0.01.
OPTIONS: dict[str, dict[str, Any]] = {"mmd": {"referenceRows": 300, "permutations": 99}}


def rows_of(seed: int, rows: int, shift: float = 0.0) -> Table:
    random = np.random.default_rng(seed)
    weights = np.array([0.5, 0.3, 0.2]) if not shift else np.array([0.2, 0.3, 0.5])
    schema = (
        Column("a", "numeric"),
        Column("b", "numeric"),
        Column("c", "categorical", ("x", "y", "z")),
        Column("d", "categorical", ("no", "yes")),
    )
    columns = {
        "a": random.normal(shift, 1, rows),
        # Ties, as whole numbers have them.
        "b": np.round(random.normal(5 + shift, 2, rows)),
        "c": random.choice(3, rows, p=weights).astype(np.int32),
        "d": (random.random(rows) < 0.3 + 0.2 * shift).astype(np.int32),
    }
    return Table(schema, columns, rows)


def config(kind: str, backend: str, alpha: float = 0.01, **options: Any) -> DetectorConfig:
    return DetectorConfig(
        "d", kind, backend, alpha=alpha, options={**OPTIONS.get(kind, {}), **options}
    )


@pytest.mark.parametrize("backend", ["native", ALIBI])
@pytest.mark.parametrize("kind", KINDS)
class TestDetector:
    def test_a_quiet_window_is_no_drift(self, kind: str, backend: str) -> None:
        result = build_detector(config(kind, backend), rows_of(0, 1000)).score(rows_of(1, 300))
        assert not result.drift
        assert result.p_value is not None
        assert 0.01 < result.p_value <= 1
        assert result.samples == 300

    def test_a_shifted_window_is_drift(self, kind: str, backend: str) -> None:
        detector = build_detector(config(kind, backend), rows_of(0, 1000))
        quiet, moved = detector.score(rows_of(1, 300)), detector.score(rows_of(2, 300, 0.8))
        assert moved.drift
        assert moved.p_value is not None
        assert moved.p_value <= moved.threshold
        assert moved.effect > quiet.effect

    def test_the_same_window_gets_the_same_answer(self, kind: str, backend: str) -> None:
        detector = build_detector(config(kind, backend), rows_of(0, 1000))
        assert detector.score(rows_of(1, 300)) == detector.score(rows_of(1, 300))

    def test_a_loaded_detector_answers_like_the_saved_one(
        self, kind: str, backend: str, tmp_path: Path
    ) -> None:
        detector = build_detector(config(kind, backend), rows_of(0, 1000))
        detector.save(tmp_path / "kept")
        loaded = load_detector(tmp_path / "kept")
        assert loaded.config == detector.config
        for window in (rows_of(1, 300), rows_of(2, 300, 0.8)):
            assert loaded.score(window) == detector.score(window)

    def test_only_the_named_columns_are_watched(self, kind: str, backend: str) -> None:
        names = ("c", "d") if kind == "chi-square" else ("a", "b")
        chosen = DetectorConfig(
            "d", kind, backend, names, alpha=0.01, options=OPTIONS.get(kind, {})
        )
        result = build_detector(chosen, rows_of(0, 1000)).score(rows_of(1, 300))
        assert {f.name for f in result.features} <= set(names)

    def test_an_unknown_column_is_refused(self, kind: str, backend: str) -> None:
        with pytest.raises(InvalidInput, match="nope"):
            build_detector(DetectorConfig("d", kind, backend, ("nope",)), rows_of(0, 1000))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ks", "chi-square", "tabular"])
@pytest.mark.parametrize("shift", [0.0, 0.1, 0.5])
def test_the_backends_agree_on_statistics_and_p_values(kind: str, shift: float) -> None:
    reference, window = rows_of(0, 2000), rows_of(5, 500, shift)
    ours = build_detector(config(kind, "native"), reference).score(window)
    theirs = build_detector(config(kind, "alibi"), reference).score(window)
    by_name = {f.name: f for f in theirs.features}
    assert {f.name for f in ours.features} == set(by_name)
    for feature in ours.features:
        other = by_name[feature.name]
        # Alibi keeps float32.
        assert feature.statistic == pytest.approx(other.statistic, rel=1e-6, abs=1e-6)
        assert feature.p_value == pytest.approx(other.p_value, abs=1e-6)
    assert ours.drift == theirs.drift


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0.0, 0.2, 1.0])
def test_the_backends_agree_on_the_mmd_statistic(shift: float) -> None:
    reference, window = rows_of(0, 300), rows_of(5, 200, shift)
    ours = build_detector(config("mmd", "native"), reference).score(window)
    theirs = build_detector(config("mmd", "alibi"), reference).score(window)
    assert ours.statistic == pytest.approx(theirs.statistic, abs=1e-6)
    assert ours.p_value is not None
    # Other permutations of the same null distribution.
    assert ours.p_value == pytest.approx(theirs.p_value, abs=0.15)


def test_fisher_finds_a_changed_proportion_and_takes_only_binary_columns() -> None:
    detector = build_detector(config("fisher", "native"), rows_of(0, 2000))
    quiet, moved = detector.score(rows_of(1, 400)), detector.score(rows_of(2, 400, 1.0))
    assert [f.name for f in quiet.features] == ["d"]
    assert not quiet.drift
    assert moved.drift
    assert moved.effect == pytest.approx(0.2, abs=0.06)
    with pytest.raises(InvalidInput, match="fisher test can't watch the categorical column 'c'"):
        build_detector(DetectorConfig("d", "fisher", "native", ("c",)), rows_of(0, 1000))


def test_unseen_categories_are_drift_and_missing_numbers_are_not() -> None:
    detector = build_detector(config("tabular", "native"), rows_of(0, 2000))
    window = rows_of(1, 400)
    unseen = dict(window.columns) | {"c": np.where(np.arange(400) < 40, 3, window.columns["c"])}
    result = detector.score(Table(window.schema, unseen, 400))
    assert result.drift
    assert result.features[0].name == "c"

    holes = dict(window.columns)
    holes["a"] = np.where(np.arange(400) % 2 == 0, np.nan, window.columns["a"])
    assert not detector.score(Table(window.schema, holes, 400)).drift

    nothing = dict(window.columns) | {"a": np.full(400, np.nan)}
    found = detector.score(Table(window.schema, nothing, 400))
    assert {f.name: f.p_value for f in found.features}["a"] == 1.0


def test_a_category_too_rare_for_the_model_is_no_drift() -> None:
    # The reference has it as missing, traffic as a value that is not among the categories.
    reference, window = rows_of(0, 2000), rows_of(1, 400)
    rare = dict(reference.columns)
    rare["c"] = np.where(np.arange(2000) % 10 == 0, -1, reference.columns["c"])
    same = dict(window.columns) | {"c": np.where(np.arange(400) % 10 == 0, 3, window.columns["c"])}
    detector = build_detector(config("tabular", "native"), Table(reference.schema, rare, 2000))
    assert not detector.score(Table(window.schema, same, 400)).drift


def test_mmd_sees_a_change_of_correlation_that_no_single_column_shows() -> None:
    random = np.random.default_rng(0)
    reference = Table.from_matrix(random.normal(size=(1000, 2)))
    mixed = random.multivariate_normal([0, 0], [[1, 0.7], [0.7, 1]], 400)
    window = Table.from_matrix(mixed)
    assert not build_detector(config("ks", "native"), reference).score(window).drift
    # Sequential: as many permutations as a level of 1/1000 needs.
    small = DetectorConfig("d", "mmd", "native", alpha=0.001)
    result = build_detector(small, reference).score(window)
    assert result.drift
    assert result.p_value is not None
    assert 0 < result.p_value <= 0.001


def test_too_few_permutations_for_the_level_are_refused() -> None:
    with pytest.raises(InvalidInput, match="permutations"):
        build_detector(config("mmd", "native", alpha=0.001), rows_of(0, 400))


def test_a_kind_that_the_backend_lacks_is_refused() -> None:
    with pytest.raises(InvalidInput, match="backend: alibi"):
        build_detector(DetectorConfig("d", "lsdd", "native"), rows_of(0, 400))


def test_a_damaged_detector_is_told_with_its_folder(tmp_path: Path) -> None:
    build_detector(config("ks", "native"), rows_of(0, 400)).save(tmp_path)
    (tmp_path / "detector.json").write_text("{")
    with pytest.raises(MonitoringError, match="build it again"):
        load_detector(tmp_path)
