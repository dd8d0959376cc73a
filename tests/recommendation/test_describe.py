"""What a model.yaml of the family may say, and what is refused before anything runs."""

from __future__ import annotations

from typing import Any

import pytest

from noria.errors import SpecError
from tests.recommendation.conftest import spec_of


@pytest.mark.parametrize(
    ("options", "data", "said"),
    [
        ({}, {"entityKey": []}, "spec.data.entityKey: has 0 columns"),
        ({}, {"entityKey": ["a", "b"]}, "spec.data.entityKey: has 2 columns"),
        ({}, {"target": None}, "spec.data.target: is missing"),
        ({}, {"eventTime": None}, "spec.data.eventTime: is missing"),
        ({}, {"labelTime": "then"}, "spec.data.labelTime: recommendation takes an interaction as"),
        ({}, {"timeFeatures": ["hour"]}, "spec.data.timeFeatures"),
        ({}, {"split": {"kind": "stratified"}}, "would let a recommendation model know the future"),
        ({}, {"target": "history"}, "spec.data.target: history is what requests of recommendation"),
        ({"weight": "at"}, {}, "spec.task.options.weight: at is also spec.data.eventTime"),
        (
            {"weight": "minutes"},
            {"validation": {"ranges": {"pages": {"min": 1}}}},
            "reads no number but the weight, minutes",
        ),
        ({"k": 0}, {}, "spec.task.options.k"),
        ({"k": 101}, {}, "spec.task.options.k"),
        ({"seen": "hide"}, {}, "spec.task.options.seen"),
    ],
)
def test_what_the_family_can_not_read_is_refused(
    options: dict[str, Any], data: dict[str, Any], said: str
) -> None:
    with pytest.raises(SpecError) as refused:
        spec_of(options, **data)
    assert said in str(refused.value)


def test_names_of_items_are_not_watched_as_numbers() -> None:
    spec = spec_of()
    assert [one.watch for one in spec.monitoring.detectors] == ["features"]
    assert spec.monitoring.performance.metrics == ("ndcg", "recall", "hit-rate")


def test_labels_are_waited_for_so_much_longer_than_the_window() -> None:
    usual, longer = spec_of({"window": "1d"}), spec_of({"window": "30d"})
    gained = (
        longer.monitoring.performance.max_label_lag - usual.monitoring.performance.max_label_lag
    )
    assert gained.days == 29
    assert longer.retraining.cooldown.days == 30


def test_that_a_package_holds_histories_of_users_is_said() -> None:
    cautions = spec_of().family.cautions_of(spec_of().task.options)
    assert "names and histories of up to 100,000 users" in " ".join(cautions)
    none = spec_of({"users": 0})
    assert none.family.cautions_of(none.task.options) == ()
