"""The rules of ``noria.spec.rules`` that the API server can check itself, in CEL.

Each says what ``noria validate`` says, without the path, which the API server adds. What is
not here needs more than CEL is given: a value without a type (limits of the canary's analysis,
hyperparameters), a search for what was meant, or a loop over features in a loop over detectors.

Kubernetes, "Validation rules"; optional fields (``.?``) are there since 1.29. Rules also see
what a section's default leaves out, so each holds without its keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from noria.spec.schema.cel import data, loop, train, whole
from noria.spec.schema.cel.loop import limits_of_checks
from noria.spec.schema.cel.rule import Rule

__all__ = ["limits_of_checks", "rules_at"]

_RULES: Final[Mapping[str, tuple[Rule, ...]]] = {
    "spec": tuple(whole.spec()),
    "spec.data": tuple(data.data()),
    "spec.data.source": tuple(data.sources()),
    "spec.data.split": tuple(data.split()),
    "spec.data.validation.ranges{}": tuple(data.limits_of_range()),
    "spec.train": tuple(train.train()),
    "spec.train.search": tuple(train.search()),
    "spec.train.search.space{}": tuple(train.space()),
    "spec.train.ensemble": tuple(train.ensemble()),
    "spec.train.compute.gpu": tuple(train.gpu()),
    "spec.gates": tuple(train.gates()),
    "spec.gates.bounds[]": tuple(train.bound()),
    "spec.gates.champion[]": tuple(train.champion()),
    "spec.serving": tuple(loop.serving()),
    "spec.serving.canary.steps": tuple(loop.steps()),
    "spec.serving.canary.analysis": tuple(loop.analysis()),
    "spec.monitoring": tuple(loop.monitoring()),
    "spec.monitoring.detectors": tuple(loop.detectors()),
    "spec.monitoring.detectors[]": tuple(loop.detector()),
    "spec.monitoring.performance": tuple(loop.performance()),
    "spec.retraining": tuple(loop.retraining()),
    "spec.retraining.trainOn": tuple(loop.train_on()),
}


def rules_at(path: str) -> list[dict[str, Any]]:
    """Return the rules of the object or list at a path such as ``spec.gates.bounds[]``."""
    return [rule.written() for rule in _RULES.get(path, ())]
