"""What is asked of a family's learner and predictor, on the rows of its own template."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, cast

from noria.errors import NoriaError
from noria.measures.catalog import OwnMetric
from noria.spec import Family, ModelSpec
from noria.tasks.conformance.subject import NAME, OLDER, Subject, Unmet, expect
from noria.tasks.families import family as learner_of
from noria.tasks.package import (
    Describing,
    DescribingAnswers,
    load_predictor,
    package_digest,
    read_manifest,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from numpy.typing import NDArray

    from noria.tasks.encoding import Columns
    from noria.tasks.package import Predictor
    from noria.tasks.protocol import Evaluation

REFERENCE: Final = ("reference.json", "rows.npz")
"""What a reference folder holds."""
_ASKED: Final = 5
_TRIALS: Final = 2
_SAME: Final = 1e-9
_ALONE: Final = 20
"""Samples that a metric is asked about one by one."""


def trains(subject: Subject) -> None:
    """The learner trains on the rows of its template, and saves a package of its family."""
    manifest = read_manifest(subject.trained.package)
    expect(manifest.family == subject.family.name, f"the manifest says {manifest.family}")
    expect(manifest.algorithm, "the manifest names no algorithm")
    expect(manifest.inputs, "the manifest names no input")
    expect(manifest.outputs, "the manifest names no output")


def loads(subject: Subject) -> None:
    """The package, moved to another folder, loads and predicts what the model predicted."""
    trained, spec = subject.trained, subject.model.spec
    moved = subject.folder / "moved"
    shutil.copytree(trained.package, moved)
    manifest = load_predictor(moved, digest=package_digest(trained.package)).manifest
    expect(manifest == read_manifest(moved), "the predictor has another manifest")
    again = trained.learner.predict(spec, moved, trained.prepared, trained.places)
    expected = trained.held_out.model
    expect(list(again) == list(expected), f"columns {list(again)}, not {list(expected)}")
    for column in expected:
        same = again[column].reset_index(drop=True).equals(expected[column].reset_index(drop=True))
        expect(same, f"{column} differs")


def repeats(subject: Subject) -> None:
    """The same rows, parameters and seed give a package of the same digest."""
    trained = subject.trained
    again = subject.folder / "again"
    trained.learner.save(subject.model.spec, trained.fit(), again, model=NAME)
    first, second = package_digest(trained.package), package_digest(again)
    expect(first == second, f"{first[:12]} and {second[:12]}")


def judges(subject: Subject) -> None:
    """Evaluating the package measures the default metric on the rows held out."""
    trained, metric = subject.trained, subject.family.default_metric
    found = trained.learner.evaluate(
        subject.model.spec, trained.package, trained.test, trained.held_out, None, None
    )
    expect(metric in found.metrics, f"it measures {', '.join(found.metrics)}")
    measured = found.metrics[metric]
    expect(measured.value is not None, f"{metric}: {measured.problem}")
    expect(found.rows == len(trained.test), f"{found.rows} rows of {len(trained.test)}")


def measures(subject: Subject) -> None:
    """Its own metrics are finite, repeat, take each sample alone, and rate the truth no worse."""
    import numpy as np

    from noria.measures.measuring import value_of

    found, asked = _asked_of_metrics(subject)
    family = subject.model.spec.family
    for metric in (one for one in family.own_metrics if one.name in family.metrics):
        name, measured = metric.name, found.metrics.get(metric.name)
        if measured is None or name not in asked:
            raise Unmet(f"evaluate does not measure {name}")
        expect(measured.value is not None, f"{name} {measured.problem}")
        truth, said = asked[name]
        again = value_of(metric, truth, said)
        expect(again == measured.value, f"{name} is {measured.value}, and once more {again}")
        if metric.per_sample is not None:
            # The monitor measures windows: what a sample gives may not depend on the others.
            rows = np.asarray(metric.per_sample(truth, said), np.float64)[:_ALONE]
            for i, of_all in enumerate(rows.tolist()):
                alone = value_of(metric, truth[i : i + 1], said[i : i + 1])
                expect(
                    abs(alone - of_all) <= _SAME * max(1.0, abs(of_all)),
                    f"{name} of a sample is {of_all:g} among the others, and {alone:g} alone: it "
                    "may not depend on the others",
                )
        right = _perfect(truth, said, classes=family.target == "class")
        wrong = right[np.random.default_rng(0).permutation(len(right))]
        best, worst = value_of(metric, truth, right), value_of(metric, truth, wrong)
        better = best - worst if metric.greater_is_better else worst - best
        expect(
            better >= -_SAME * max(1.0, abs(best)),
            f"{name} is {best:g} of perfect predictions, and {worst:g}, which is better, of the "
            "same in another order: mend it, or greater_is_better",
        )


def _asked_of_metrics(
    subject: Subject,
) -> tuple[Evaluation, dict[str, tuple[NDArray[Any], NDArray[Any]]]]:
    """Return an evaluation, and the truth and prediction that each of its own metrics was given."""
    asked: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {}

    def watched(metric: OwnMetric) -> OwnMetric:
        function = metric.per_sample or metric.whole

        def seen(truth: NDArray[Any], said: NDArray[Any]) -> Any:
            asked[metric.name] = (truth, said)
            return None if function is None else function(truth, said)

        if metric.per_sample is None:
            return replace(metric, whole=seen)
        return replace(metric, per_sample=seen)

    class Watched(ModelSpec):
        @property
        def family(self) -> Family:
            of = super().family
            return replace(of, own_metrics=tuple(map(watched, of.own_metrics)))

    trained, spec = subject.trained, subject.model.spec
    watching = Watched.model_construct(spec.model_fields_set, **dict(spec))
    found = trained.learner.evaluate(
        watching, trained.package, trained.test, trained.held_out, None, None
    )
    return found, asked


def _perfect(truth: NDArray[Any], said: NDArray[Any], *, classes: bool) -> NDArray[Any]:
    """Return a prediction of the shape of ``said`` that is the truth; ``said`` if none is known."""
    import numpy as np

    if classes and said.ndim == 1:
        return np.asarray(truth == 1, np.float64)
    if classes:
        return np.asarray(np.eye(said.shape[1])[truth.astype(np.int64)])
    return truth if truth.shape == said.shape else said


def _described(
    expected: Mapping[str, str], predictor: Predictor, columns: Columns, rows: int
) -> None:
    """Expect the descriptors of the family's description from the predictor and its manifest."""
    import numpy as np

    listed = [one.name for one in predictor.manifest.features if one.origin == "descriptor"]
    expect(
        sorted(listed) == sorted(expected),
        f"the manifest's descriptors are {listed}, and the family's {list(expected)}",
    )
    if not listed:
        return
    expect(isinstance(predictor, Describing), "the predictor has descriptors, and no describe")
    found = cast("Describing", predictor).describe(columns)
    expect(sorted(found) == sorted(listed), f"describe gives {list(found)}, not {listed}")
    if isinstance(predictor, DescribingAnswers):
        again = predictor.describe_answers(columns, predictor.predict(columns))
        alike = sorted(again) == sorted(found) and all(
            np.array_equal(values, again[name], equal_nan=expected[name] != "categorical")
            for name, values in found.items()
        )
        expect(alike, "describe_answers gives other than describe")
    for name, values in found.items():
        of_texts = expected[name] == "categorical"
        shape = np.asarray(values, object if of_texts else np.float64).shape
        expect(shape == (rows,), f"{name} has the shape {shape} for {rows} rows")
        if of_texts:
            texts = all(value is None or isinstance(value, str) for value in values)
            expect(texts, f"{name} holds other than texts and None")


def answers(subject: Subject) -> None:
    """The predictor gives the outputs of its manifest for a request, whatever may be missing."""
    import numpy as np

    trained, spec = subject.trained, subject.model.spec
    predictor = load_predictor(trained.package)
    manifest = predictor.manifest
    inputs, asked = [one.name for one in manifest.inputs], trained.learner.request_columns(spec)
    expect(inputs == asked, f"its inputs are {inputs}, and request_columns are {asked}")
    looked_up = [feature.name for feature in manifest.features if feature.origin == "lookup"]
    kinds: dict[str, str] = {feature.name: feature.kind for feature in manifest.features}
    kinds.update({one.name: one.kind for one in manifest.inputs})
    rows = trained.test.iloc[:_ASKED]
    columns = {name: column_of(rows[name], kinds[name]) for name in (*inputs, *looked_up)}
    found = predictor.predict(columns)
    outputs = [one.name for one in manifest.outputs]
    expect(sorted(found) == sorted(outputs), f"it gives {list(found)}, not {outputs}")
    days = dict.fromkeys(spec.data.distances().values(), "numeric")
    _described({**subject.family.described, **days}, predictor, columns, len(rows))
    watched = {"prediction", "probability"} & set(outputs)
    expect(watched, f"none of {outputs} is prediction or probability, which the monitor watches")
    for name, values in found.items():
        expect(len(values) == len(rows), f"{name} has {len(values)} values for {len(rows)} rows")
    named = manifest.target_names
    for output in watched if named else ():
        width = int(np.prod(np.shape(found[output])[1:]))
        expect(width == len(named), f"{output} has {width} numbers a row, and targets are {named}")
    for name in filter(manifest.may_be_missing, columns):
        said = predictor.predict({**columns, name: missing_like(columns[name], kinds[name])})
        for output in watched:
            finite = np.isfinite(np.asarray(said[output], np.float64)).all()
            expect(finite, f"{output} is no number where {name}, which may be missing, is")


def searches(subject: Subject) -> None:
    """A search tries hyperparameters of its space, and names those to train with."""
    spec = subject.model.spec
    algorithm = spec.family.algorithm(spec.train.algorithm)
    space = spec.train.search.space or (algorithm.space if algorithm is not None else {})
    wanted = {"kind": "random", "trials": _TRIALS, "space": dict(space)}
    # An average is none of its trials: the search alone is looked at.
    alone = spec.train.ensemble.model_copy(update={"kind": "none", "members": ()})
    search = spec.train.search.model_copy(update=wanted)
    train = spec.train.model_copy(update={"search": search, "ensemble": alone})
    trained = subject.trained
    rows = trained.frame.loc[trained.frame.index.difference(trained.test.index)]
    found = trained.learner.tune(
        spec.model_copy(update={"train": train}), rows, subject.folder / "searched"
    )
    count = len(found.trials)
    expect(count == _TRIALS, f"spec.train.search asks for {_TRIALS} trials, and tune made {count}")
    tried = {name for trial in found.trials for name in trial.params}
    unknown = sorted(tried - set(space) - set(spec.train.hyperparameters))
    expect(not unknown, f"it tries {unknown}, which are not in the space")
    expect(tried & set(space), "it tries no hyperparameter of the space")
    # Beside a trial's own there may be what was found with it, such as rounds.
    known = any(trial.params.items() <= found.params.items() for trial in found.trials)
    expect(known, f"it would train with {found.params}, which it did not try")


def gates(subject: Subject) -> None:
    """Every gate of the template is judged, those against a champion too."""
    asked = subject.model.spec.gates
    expect(asked.bounds, "the template has no spec.gates.bounds")
    expect(asked.champion, "the template has no spec.gates.champion")
    for made, needed in (
        (subject.champion, len(asked.bounds)),
        (subject.candidate, len(asked.bounds) + len(asked.champion)),
    ):
        judged = made.evaluation.gates
        expect(len(judged) >= needed, f"only {len(judged)} of {needed} gates were judged")
        broken = [f"{gate.name}: {gate.detail}" for gate in judged if gate.verdict == "error"]
        expect(not broken, "; ".join(broken))
    compared = subject.candidate.evaluation.comparisons
    expect(len(compared) == len(asked.champion), f"{len(compared)} comparisons")
    for one in compared:
        expect(one.samples, f"{one.metric} against the champion: {one.problem}")


def fresh(subject: Subject) -> None:
    """The manifest counts the rows and says how new they are; newer ones judge the next version."""
    spec, trained = subject.model.spec, subject.trained
    for made, learnt in (
        (subject.champion, round(len(trained.frame) * OLDER)),
        (subject.candidate, len(trained.frame)),
    ):
        rows = made.manifest.rows
        expect(rows == learnt, f"the manifest says {rows} rows, and it was fitted on {learnt}")
    if spec.data.event_time is None or spec.data.split.kind != "temporal":
        return
    from noria.tasks.sources.rows import moments

    event, until = moments(trained.frame, spec.data.event_time), subject.candidate.manifest
    expect(
        until.trained_until == int(event.max()),
        f"trained_until is {until.trained_until}, and the newest row is of {event.max()}",
    )
    judged = moments(subject.candidate.test, spec.data.event_time)
    seen = int((judged <= (subject.champion.manifest.trained_until or 0)).sum())
    expect(not seen, f"{seen} of {judged.size} rows that judge were known to the champion")


def reference(subject: Subject) -> None:
    """The reference that the monitor compares with is written."""
    folder = subject.champion.reference
    missing = [name for name in REFERENCE if not (folder / name).is_file()]
    expect(not missing, f"reference wrote no {', '.join(missing)}")
    said = json.loads((folder / REFERENCE[0]).read_text("utf-8"))
    metric = subject.family.of(subject.model.spec.task.options).default_metric
    performance = said.get("performance", {})
    expect(metric in performance, f"its performance has {sorted(performance)}, and no {metric}")


def refuses(subject: Subject) -> None:
    """A project without data is refused with one of Noria's errors."""
    empty = subject.folder / "empty"
    empty.mkdir()
    try:
        learner_of(subject.family.name).ingest(subject.model.spec, empty, None)
    except NoriaError:
        return
    raise Unmet("it reads rows from an empty folder")


def column_of(column: pd.Series, kind: str) -> NDArray[Any]:
    """Return a column of training rows as the model server hands it to a predictor."""
    import numpy as np

    if kind == "timestamp":
        return column.to_numpy(dtype="datetime64[ms]").astype(np.int64)
    if kind in ("numeric", "boolean"):
        return column.to_numpy(np.float64, na_value=np.nan)
    values = np.array(column, dtype=object)
    values[column.isna().to_numpy()] = None
    return values


def missing_like(column: NDArray[Any], kind: str) -> NDArray[Any]:
    """Return a column of as many missing values, as the model server hands them on."""
    import numpy as np

    if kind == "timestamp":
        return np.full(len(column), np.iinfo(np.int64).min)
    if kind in ("numeric", "boolean"):
        return np.full(len(column), np.nan)
    return np.full(len(column), None, dtype=object)
