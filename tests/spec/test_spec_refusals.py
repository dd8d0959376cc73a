"""Every mistake is refused with its path, its value and its fix; the messages are exact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from noria.errors import SpecError
from noria.spec import parse_model

CASES = yaml.safe_load((Path(__file__).parent / "refusals.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("changes", "said"), [pytest.param(c["set"], c["said"], id=c["name"]) for c in CASES]
)
def test_a_mistake_is_refused_with_path_value_and_fix(
    whole: dict[str, Any],
    edit: Callable[..., dict[str, Any]],
    changes: dict[str, Any],
    said: list[str],
) -> None:
    with pytest.raises(SpecError) as refused:
        parse_model(edit(whole, changes, gone="<gone>"))
    assert [str(problem) for problem in refused.value.problems] == said


def test_all_problems_are_told_at_once(
    whole: dict[str, Any], edit: Callable[..., dict[str, Any]]
) -> None:
    bad = edit(
        whole,
        {
            "serving.canary.steps": [10, 50, 20],
            "train.algorithm": "svm",
            "retraining.cooldown": 7,
            "data.labelTime": "scheduled",
        },
    )
    with pytest.raises(SpecError) as refused:
        parse_model(bad)
    assert [problem.path for problem in refused.value.problems] == [
        "spec.train.algorithm",
        "spec.retraining.cooldown",
        "spec.data.labelTime",
        "spec.serving.canary.steps[2]",
    ]


def test_a_rule_that_needs_an_unreadable_section_says_nothing_false(
    smallest: dict[str, Any], edit: Callable[..., dict[str, Any]]
) -> None:
    with pytest.raises(SpecError) as refused:
        parse_model(edit(smallest, {"train.seed": "x"}))
    assert [problem.path for problem in refused.value.problems] == ["spec.train.seed"]


def test_a_refusal_does_not_repeat_a_huge_value(
    whole: dict[str, Any], edit: Callable[..., dict[str, Any]]
) -> None:
    with pytest.raises(SpecError) as refused:
        parse_model(edit(whole, {"serving.replicas": "9" * 100_000}))
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("value", ["{braces}", "%s", "{0}", "\\n"])
def test_a_value_with_format_signs_is_told_as_it_is(
    whole: dict[str, Any], edit: Callable[..., dict[str, Any]], value: str
) -> None:
    with pytest.raises(SpecError, match="is not a duration"):
        parse_model(edit(whole, {"retraining.cooldown": value}))
