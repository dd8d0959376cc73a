"""Holding rows against the spec's rules before anything is trained on them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from noria.errors import DataError, Problem, shorten
from noria.spec import Data, ModelSpec
from noria.tasks.package import Feature
from noria.tasks.protocol import Check, ValidationReport
from noria.tasks.sources.typed import read_frame, roles_of
from noria.tasks.tabular.leakage import refuse_answers
from noria.tasks.tabular.schema import MAX_CATEGORIES, counts_of, features_of, numbers, target_of


def validate(spec: ModelSpec, rows: pd.DataFrame, most: int = 0) -> ValidationReport:
    """Check rows, with or without their looked-up features; every broken rule is listed.

    Args:
        spec: The model.
        rows: To check.
        most: Categories of a feature that the fit reads; those of the tables it always does.

    Raises:
        DataError: A rule of ``spec.data.validation`` is broken, or the target can't be learnt.
        LeakageError: A feature gives the target away.
    """
    rows, features, checks = checked(spec, rows)
    checks.extend(category_checks(features, rows, most))
    if spec.data.target is not None:
        checks.extend(_target_checks(spec, features, rows))
    return ValidationReport(len(rows), tuple(checks))


def _target_checks(
    spec: ModelSpec, features: tuple[Feature, ...], rows: pd.DataFrame
) -> Iterator[Check]:
    """Say what the target is like.

    Raises:
        DataError: It can't be learnt.
        LeakageError: A feature gives it away.
    """
    target = target_of(spec, rows)
    if target.classes:
        counts = np.bincount(target.codes, minlength=len(target.classes))
        shares = ", ".join(
            f"{label}: {count}" for label, count in zip(target.classes, counts, strict=True)
        )
        yield Check("target", shares)
    else:
        if float(np.ptp(target.values)) == 0.0:
            raise DataError(
                f"spec.data.target: {spec.data.target} is {target.values[0]:g} in every row",
                fix="give rows from which something can be learnt",
            )
        yield Check("target", f"mean {target.values.mean():g}, finite in every row")
    refuse_answers(features, rows, target)
    yield Check("leakage", "no feature alone determines the target")


def checked(
    spec: ModelSpec, rows: pd.DataFrame
) -> tuple[pd.DataFrame, tuple[Feature, ...], list[Check]]:
    """Hold rows against the rules that need no target.

    Returns them as they are read, the features that they have, and what was checked.

    Raises:
        DataError: A rule of ``spec.data.validation`` is broken; every broken one is listed.
    """
    data = spec.data
    problems: list[Problem] = []
    checks: list[Check] = []
    least = data.validation.min_rows
    if len(rows) < least:
        problems.append(
            Problem(
                "spec.data.validation.minRows",
                f"{len(rows)} labelled rows, and at least {least} are asked for",
                "give more rows, or a lower minRows",
            )
        )
    else:
        checks.append(Check("minRows", f"{len(rows)} rows, at least {least}"))
    present = data.model_copy(
        update={"features": tuple(f for f in data.features if f.name in rows), "time_features": ()}
    )
    try:
        rows = read_frame(rows, {n: r for n, r in roles_of(spec).items() if n in rows})
    except DataError as error:
        # What can't be read can't be measured either.
        raise DataError(
            "\n".join(map(str, [*problems, *error.problems])),
            problems=[*problems, *error.problems],
        ) from error
    missing = missing_problems(present, rows, tuple(f.name for f in present.features))
    problems.extend(missing)
    if not missing:
        checks.append(Check("maxMissing", f"at most {data.validation.max_missing:g} in a feature"))
    for name in data.validation.ranges:
        if name in rows:
            found = _range_problems(data, rows, name)
            problems.extend(found)
            if not found:
                checks.append(Check(f"ranges.{name}", "every row is inside"))
    weight = data.weight
    if weight is not None and not rows[weight].any():
        said = f"{weight} is 0 in every row"
        problems.append(Problem("spec.data.weight", said, "give one a weight over 0 at least"))
    if problems:
        raise DataError("\n".join(map(str, problems)), problems=problems)
    features = features_of(present, rows)
    if weight is not None:
        checks.append(Check("weight", f"{rows[weight].min():g} to {rows[weight].max():g}"))
    checks.extend(_later_checks(data, rows))
    return rows, features, checks


def missing_problems(data: Data, rows: pd.DataFrame, names: tuple[str, ...]) -> list[Problem]:
    """Return a problem for each of the features that is missing more often than allowed."""
    most = data.validation.max_missing
    shares = {name: float(rows[name].isna().mean()) if len(rows) else 0.0 for name in names}
    # One value that admits every column which is honestly missing that often.
    enough = math.ceil(max(shares.values(), default=0.0) * 100) / 100
    return [
        Problem(
            "spec.data.validation.maxMissing",
            f"{name} is missing in {share:.1%} of the rows, and at most {most:.1%} may be",
            f"fill it or remove the feature; where missing means none, set maxMissing: {enough:g}",
        )
        for name, share in shares.items()
        if share > most
    ]


def category_checks(
    features: tuple[Feature, ...], rows: pd.DataFrame, most: int = 0
) -> Iterator[Check]:
    """Say which categories the model does not learn, and which texts are one number twice."""
    most = max(most, MAX_CATEGORIES)
    for feature in features:
        if feature.kind != "categorical":
            continue
        counts = counts_of(rows[feature.name])
        left_out = sum(counts.values()) - sum(counts[name] for name in feature.categories)
        if left_out:
            yield Check(
                f"categories.{feature.name}",
                f"{len(counts)} different values: the {len(feature.categories)} most frequent are "
                f"learnt{_rest(sorted(counts.values(), reverse=True)[most:], left_out, len(rows))}",
            )
        twice = _written_twice(list(counts))
        if twice:
            yield Check(
                f"categories.{feature.name}",
                f"{shorten(twice[0])} and {shorten(twice[1])} are two categories: as texts they "
                "differ",
            )


def _later_checks(data: Data, rows: pd.DataFrame) -> Iterator[Check]:
    """Say which moments lie after their event: it may be that no request could know them."""
    event_time = data.event_time
    if event_time is None:
        return
    for name in data.distances():
        later = (rows[name] > rows[event_time]).to_numpy()
        if later.any():
            first = rows[later].iloc[0]
            yield Check(
                f"leakage.{name}",
                f"{name} is later than {event_time} in {later.mean():.1%} of the rows, first "
                f"{first[name].isoformat()} at {first[event_time].isoformat()}: if it is not "
                "known when a prediction is asked for, remove it from the features",
            )


def _rest(unread: Sequence[int], left_out: int, rows: int) -> str:
    """Say what becomes of values beyond a table: how often the unread ones are there."""
    lost = sum(unread)
    said = ""
    if lost < left_out:
        said = (
            f" and watched one by one; the others ({(left_out - lost) / rows:.1%} of the rows) are "
            "learnt too, by what the target was where each was there"
        )
    if lost:
        said += (
            f", the {'rest' if said else 'others'} ({lost / rows:.1%} of the rows) count as missing"
        )
    return said


def _written_twice(names: Sequence[str]) -> tuple[str, str] | None:
    """Return two texts that are the same number, if there are any."""
    seen: dict[float, str] = {}
    for name in names:
        try:
            value = float(name)
        except ValueError:
            continue
        if value in seen:
            return seen[value], name
        seen[value] = name
    return None


def _range_problems(data: Data, rows: pd.DataFrame, name: str) -> list[Problem]:
    limits = data.validation.ranges[name]
    values = numbers(rows[name])
    low = -np.inf if limits.min is None else limits.min
    high = np.inf if limits.max is None else limits.max
    outside = (values < low) | (values > high)
    if not outside.any():
        return []
    return [
        Problem(
            f"spec.data.validation.ranges.{name}",
            f"{int(outside.sum())} of {len(rows)} rows are outside {low:g} to {high:g}, "
            f"such as {values[outside][0]:g}",
            "drop or correct them in the data module, or widen the range",
        )
    ]
