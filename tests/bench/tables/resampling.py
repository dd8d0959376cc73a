"""What to do about a rare class: nothing, a threshold, weights, or SMOTE.

``python -m tests.bench.tables.resampling FOLDER [--only NAME]``; the tables come from
``prepare.py``. Each is fitted by default settings on all of its training rows, and on training rows
of which so few of the rarer class are left that it is 2 %; the test rows are thinned alike.
``threshold``: the model as it is, its label by the probability of the greatest F1 on folds of the
training rows; the others' labels are those of 0.5, and of their own such threshold beside it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from noria.measures.measuring import value_of
from noria.spec import load_model
from noria.tasks.families import family
from noria.tasks.tabular.learn import cross_validation
from noria.tasks.tabular.schema import columns_of

WAYS: Final[dict[str, dict[str, Any]]] = {
    "none": {},
    "balanced": {"class_weights": "balanced"},
    "smote": {"resample": "smote"},
}
_RARE: Final = 0.02


def main(arguments: Sequence[str]) -> int:
    """Run the bench."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.tables.resampling")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*", default=("churn", "credit", "flights"))
    given = parser.parse_args(arguments)
    made = Table(title="Test rows; F1 by 0.5, and by the threshold that is best on training folds")
    for name in ("data", "rarer", "way", "log loss", "average precision", "F1 at 0.5", "F1 tuned"):
        made.add_column(name)
    for name in given.only:
        folder = given.folder / name
        for rare in (None, _RARE):
            rows, test = (pd.read_parquet(folder / f"{part}.parquet") for part in ("train", "test"))
            for way, options in WAYS.items():
                made.add_row(*_measured(folder / "model.yaml", rows, test, rare, way, options))
            made.add_section()
    Console(width=None if sys.stdout.isatty() else 140, highlight=False).print(made)
    return 0


def _measured(
    file: Path,
    rows: pd.DataFrame,
    test: pd.DataFrame,
    rare: float | None,
    way: str,
    options: dict[str, Any],
) -> list[str]:
    spec = load_model(file).spec
    target = str(spec.data.target)
    rarer = rows[target].value_counts().idxmin()
    task = spec.task.model_copy(
        update={
            "options": spec.task.options.model_copy(update={"positive_class": rarer, **options})
        }
    )
    spec = spec.model_copy(update={"task": task})
    if rare is not None:
        rows, test = (_thinned(part, target, rarer, rare) for part in (rows, test))
    tasks: Any = family(spec.task.family)
    with tempfile.TemporaryDirectory() as folder:
        params = tasks.tune(spec, rows, Path(folder)).params
    prepared = tasks.prepare(spec, rows)

    def asked(places: Any, frame: pd.DataFrame) -> Any:
        model = tasks.fit(spec, prepared, places, params, None).predictor
        return model.predict(columns_of(model.manifest.features, None, frame))["probability"]

    folds = cross_validation(spec, prepared.facts)
    beside = np.concatenate([asked(fold.train, rows.iloc[fold.test]) for fold in folds])
    known = np.concatenate([prepared.target.values[fold.test] for fold in folds])
    cuts = np.unique(np.quantile(beside, np.linspace(0.01, 0.999, 200)))
    best = max(cuts, key=lambda cut: _f1(known, beside, cut))
    said = asked(np.arange(len(rows)), test)
    truth = (test[target] == rarer).to_numpy(np.float64)
    share = f"{(rows[target] == rarer).mean():.1%} of {len(rows):,}"
    numbers = [value_of(name, truth, said) for name in ("log-loss", "average-precision")]
    numbers += [_f1(truth, said, 0.5), _f1(truth, said, best)]
    return [file.parent.name, share, way, *(f"{number:.4f}" for number in numbers)]


def _thinned(rows: pd.DataFrame, target: str, rarer: Any, share: float) -> pd.DataFrame:
    own = np.nonzero((rows[target] == rarer).to_numpy())[0]
    others = np.nonzero((rows[target] != rarer).to_numpy())[0]
    count = round(others.size * share / (1.0 - share))
    kept = np.random.default_rng(7).choice(own, count, replace=False)
    return rows.iloc[np.sort(np.concatenate([others, kept]))].reset_index(drop=True)


def _f1(truth: Any, said: Any, cut: float) -> float:
    called = said >= cut
    hits = float(truth[called].sum())
    return 2.0 * hits / max(1.0, float(called.sum()) + float(truth.sum()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
