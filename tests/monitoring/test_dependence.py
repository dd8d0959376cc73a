"""Rows that come together tell less than as many independent ones; by how much is measured."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from monitoring.dependence import Dependence
from monitoring.detectors import DetectorConfig, build_detector
from monitoring.table import Column, Table
from monitoring.watch import Watched, judge
from noria.errors import MonitoringError

ROWS = 1000


def rows_in_blocks(seed: int, rows: int, length: int, shift: float = 0.0) -> Table:
    """Rows that are alike within blocks: one number and one category, and one of noise."""
    random = np.random.default_rng(seed)
    blocks = rows // length + 1
    level: NDArray[np.float64] = np.repeat(random.normal(shift, 1, blocks), length)[:rows]
    group = np.repeat(random.choice(3, blocks, p=[0.5, 0.3, 0.2]), length)[:rows]
    schema = (
        Column("level", "numeric"),
        Column("group", "categorical", ("x", "y", "z")),
        Column("noise", "numeric"),
    )
    columns = {
        "level": level,
        "group": group.astype(np.int32),
        "noise": random.normal(0, 1, rows),
    }
    return Table(schema, columns, rows)


def learnt(length: int, windows: int = 10) -> Dependence:
    found = Dependence(rows_in_blocks(0, 10_000, 1), ROWS)
    for seed in range(1, windows + 1):
        found.learn(found.measure(rows_in_blocks(seed, ROWS, length)))
    return found


def watched(kind: str, backend: str = "native", **options: object) -> Watched:
    config = DetectorConfig(
        "d", kind, backend, alpha=0.001, window_rows=ROWS, options=dict(options)
    )
    return Watched("d", "features", build_detector(config, rows_in_blocks(0, 10_000, 1)), 0.0)


@pytest.mark.parametrize("length", [5, 10, 20])
def test_the_design_effect_of_blocks_of_equal_rows_is_their_length(length: int) -> None:
    found = learnt(length, windows=20).effects()
    # With a standard error more: rather too large than too small.
    assert 0.8 * length < found["level"] < 1.6 * length
    assert 0.8 * length < found["group"] < 1.6 * length
    assert found["noise"] < 2.0


def test_independent_rows_are_tested_as_before() -> None:
    dependence = learnt(1)
    assert dependence.effects() == {"level": 1.0, "group": 1.0, "noise": 1.0}
    window = rows_in_blocks(99, ROWS, 1, shift=0.05)
    for kind in ("ks", "chi-square", "tabular"):
        one = watched(kind)
        assert judge(one, window, dependence) == one.detector.score(window)


def test_a_change_of_level_within_a_window_is_no_dependence() -> None:
    dependence = learnt(1, windows=4)
    window = rows_in_blocks(9, ROWS, 1)
    moved = {**window.columns, "level": window.columns["level"] + (np.arange(ROWS) >= ROWS // 2)}
    window = Table(window.schema, moved, ROWS)
    dependence.learn(dependence.measure(window))
    assert dependence.effects()["level"] < 2.0
    assert judge(watched("ks"), window, dependence).drift


@pytest.mark.parametrize("kind", ["ks", "chi-square", "tabular", "mmd"])
def test_blocks_alone_are_no_drift_and_a_shift_of_them_is(kind: str) -> None:
    one = watched(kind, referenceRows=500) if kind == "mmd" else watched(kind)
    length = 30 if kind == "mmd" else 10
    dependence = learnt(length)
    naive = corrected = 0
    for seed in range(100, 120):
        window = rows_in_blocks(seed, ROWS, length)
        dependence.learn(dependence.measure(window))
        naive += one.detector.score(window).drift
        corrected += judge(one, window, dependence).drift
    assert naive >= 10
    assert corrected <= 1
    window = rows_in_blocks(200, ROWS, length, shift=2.0)
    if kind != "chi-square":
        found = judge(one, window, dependence)
        assert found.drift
        assert found.design > 3


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ks", "chi-square", "tabular"])
def test_every_backend_is_corrected_alike(kind: str) -> None:
    dependence = learnt(10)
    window = rows_in_blocks(100, ROWS, 10)
    ours = judge(watched(kind), window, dependence)
    theirs = judge(watched(kind, "alibi"), window, dependence)
    by_name = {f.name: f for f in theirs.features}
    assert {f.name for f in ours.features} == set(by_name)
    assert any(f.design > 3 for f in ours.features)
    for feature in ours.features:
        other = by_name[feature.name]
        assert feature.design == other.design
        # Alibi keeps float32.
        assert feature.p_value == pytest.approx(other.p_value, rel=1e-4, abs=1e-6)


def test_dealing_rows_out_hides_none_of_it() -> None:
    reference = rows_in_blocks(0, 10_000, 1)
    dealt = Dependence(reference, ROWS, streams=3)
    for seed in range(1, 11):
        window = rows_in_blocks(seed, 3 * ROWS, 12)
        for replica in range(3):
            dealt.learn(dealt.measure(window.take(np.arange(replica, 3 * ROWS, 3))))
    assert 0.8 * 12 < dealt.effects()["level"] < 1.6 * 12


def test_what_was_learnt_is_kept_and_read_back() -> None:
    before = learnt(10)
    after = Dependence(rows_in_blocks(0, 10_000, 1), ROWS)
    after.restore(before.state())
    assert after.effects() == before.effects()
    assert after.joint() == before.joint() > 2
    after.restore(None)
    assert after.effects() == {}
    with pytest.raises(MonitoringError, match="dependence"):
        after.restore(b"\xc1")
    other = Dependence(Table.from_matrix(np.zeros((10, 1))), ROWS)
    other.restore(before.state())
    assert other.effects() == {}


@pytest.mark.parametrize(("body", "fits"), [(b"", True), (b"x" * 8, False)])
def test_sums_from_outside_are_checked(body: bytes, fits: bool) -> None:
    dependence = learnt(1)
    assert dependence.fits("level", body) is fits
    sums = dependence.measure(rows_in_blocks(5, 200, 1))["level"]
    assert dependence.fits("level", sums.tobytes())
    assert not dependence.fits("level", (-1.0 - sums).tobytes())
    assert not dependence.fits("level", np.full_like(sums, np.nan).tobytes())
    assert not dependence.fits("nope", sums.tobytes())
