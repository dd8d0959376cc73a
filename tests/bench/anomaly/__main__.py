"""Find known anomalies with default settings, and count false alarms; ``bench-anomaly.json``.

``python -m tests.bench.anomaly FOLDER [--repeats N]``; the files come from ``prepare.py``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import KFold, StratifiedShuffleSplit

from tests.bench.anomaly.family import Forest, Neighbours, asked, fitted

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
Score = Callable[[Array], Array]

RATES: Final = (0.005, 0.01, 0.05)
OURS: Final = ("auto", "isolation-forest", "knn", "lof", "ecod", "mahalanobis")
BY_ALIBI: Final = ("alibi/mahalanobis", "alibi/pca", "alibi/knn", "alibi/lof")
_LEARNT: Final = 0.6
_LEAST: Final = 1000
"""Usual rows that false alarms at 0.5 % are measured with."""


def main(arguments: Sequence[str]) -> int:
    """Run the bench."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.anomaly", description=__doc__)
    parser.add_argument("folder", type=Path, help="where prepare.py has put the data")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="splits of each set")
    given = parser.parse_args(arguments)
    data: dict[str, dict[str, Any]] = {}
    for file in sorted(given.folder.glob("*.npz")):
        with np.load(file, allow_pickle=False) as found:
            data[file.stem] = {name: found[name] for name in found.files}
    rows = {
        "sneakers": list(sneakers(data["sneakers"])),
        "found": list(found_anomalies(data, given.repeats)),
        "false alarms": list(false_alarms(data, given.repeats)),
        "time": list(times(data["sneakers"])),
    }
    Path("bench-anomaly.json").write_text(json.dumps(rows, indent=1) + "\n")
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    for title, part in rows.items():
        console.print(table(title, part))
    return 0


def models(learnt: Array) -> Iterator[tuple[str, Score]]:
    """Yield each detector of rows by its name, Noria's and the others."""
    for name in (*OURS, *BY_ALIBI):
        predictor = fitted(learnt, name)
        yield name, lambda rows, predictor=predictor: asked(predictor, rows)  # type: ignore[misc]
    yield "sklearn IsolationForest", Forest(learnt).score
    yield "sklearn kNN", Neighbours(learnt).score


def sneakers(data: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Score each image by models of the other four fifths of the images, anomalies among them."""
    rows, truth = data["rows"], data["anomaly"]
    scores: dict[str, Array] = {}
    parts: dict[str, list[tuple[float, float]]] = {}
    for learnt, held in KFold(5, shuffle=True, random_state=0).split(rows):
        for name, score in models(rows[learnt]):
            said = score(rows[held])
            scores.setdefault(name, np.empty(len(rows)))[held] = said
            parts.setdefault(name, []).append(_rated(truth[held], said))
        print(f"sneakers: {len(held)} rows ...", file=sys.stderr, flush=True)
    for name, said in scores.items():
        auc, precision = _rated(truth, said)
        apart = np.mean(parts[name], axis=0)
        yield {"detector": name, "AUC": auc, "AP": precision, "AUC, mean of folds": apart[0],
               "AP, mean of folds": apart[1]}  # fmt: skip
    for name in (one for one in data if one.startswith("pyod")):
        auc, precision = _rated(truth, data[name])
        yield {"detector": f"{name}, of its own rows", "AUC": auc, "AP": precision}


def found_anomalies(
    data: Mapping[str, Mapping[str, Any]], repeats: int
) -> Iterator[dict[str, Any]]:
    """Score held-out rows of each set, anomalies among the fitted ones too; then the means."""
    total: dict[str, list[tuple[float, float]]] = {}
    for number, (name, one) in enumerate(data.items()):
        if name == "sneakers":
            continue
        rows, truth = one["rows"], one["anomaly"]
        own: dict[str, list[tuple[float, float]]] = {}
        splits = StratifiedShuffleSplit(repeats, train_size=_LEARNT, random_state=number)
        for learnt, held in splits.split(rows, truth):
            for detector, score in models(rows[learnt]):
                own.setdefault(detector, []).append(_rated(truth[held], score(rows[held])))
        print(f"{name} ...", file=sys.stderr, flush=True)
        for detector, found in own.items():
            auc, precision = np.mean(found, axis=0)
            total.setdefault(detector, []).append((auc, precision))
            yield {"data": name, "detector": detector, "AUC": auc, "AP": precision}
    for detector, found in total.items():
        auc, precision = np.mean(found, axis=0)
        yield {"data": f"all {len(found)}", "detector": detector, "AUC": auc, "AP": precision}


def false_alarms(data: Mapping[str, Mapping[str, Any]], repeats: int) -> Iterator[dict[str, Any]]:
    """Count alarms among held-out usual rows, of models of usual rows, and of mixed ones."""
    usual = {
        name: one["rows"][~one["anomaly"]]
        for name, one in data.items()
        if name != "sneakers" and (~one["anomaly"]).sum() >= _LEAST
    }
    shoes, strange = data["sneakers"]["fresh"], data["sneakers"]["strange"]
    usual["sneakers"] = shoes
    for name, rows in usual.items():
        found: dict[tuple[str, float], list[float]] = {}
        for seed in range(repeats * (4 if name == "sneakers" else 1)):
            order = np.random.default_rng(seed).permutation(len(rows))
            learnt, held = rows[order[: len(rows) // 2]], rows[order[len(rows) // 2 :]]
            _count(found, learnt, held)
        print(f"false alarms of {name} ...", file=sys.stderr, flush=True)
        yield from _rates(name, found)
    for share in (0.01, 0.05):
        found = {}
        for seed in range(repeats):
            rng = np.random.default_rng(seed)
            order = rng.permutation(len(shoes))
            few = strange[rng.choice(len(strange), int(share * 3000), replace=False)]
            mixed = np.concatenate([shoes[order[:3000]], few])
            _count(found, mixed, shoes[order[3000:]])
        yield from _rates(f"sneakers with {share:.0%} unlabelled others", found)


def _count(found: dict[tuple[str, float], list[float]], learnt: Array, held: Array) -> None:
    predictor = fitted(learnt, "auto")
    p_values = predictor.calibration.p_values(asked(predictor, held))
    others = {"sklearn IsolationForest": Forest(learnt), "sklearn kNN": Neighbours(learnt)}
    for rate in RATES:
        found.setdefault(("auto", rate), []).append(float((p_values <= rate).mean()))
        for name, model in others.items():
            alarms = model.alarms(held, rate)
            found.setdefault((name, rate), []).append(float(alarms.mean()))


def _rates(name: str, found: Mapping[tuple[str, float], list[float]]) -> Iterator[dict[str, Any]]:
    for (detector, rate), rates in found.items():
        yield {
            "data": name,
            "detector": detector,
            "asked": rate,
            "measured": float(np.mean(rates)),
            "of asked": float(np.mean(rates)) / rate,
            "least": min(rates),
            "most": max(rates),
            "splits": len(rates),
        }


def times(data: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Time a fit, an answer alone, and an alarm with its reasons."""
    rng = np.random.default_rng(0)
    eight = rng.normal(size=(20_000, 8))
    for name, rows, far in (
        ("3,000 images of 784", data["fresh"][:3000], data["strange"]),
        ("20,000 rows of 8", eight, eight + 9.0),
    ):
        for algorithm in OURS:
            began = time.process_time()
            predictor = fitted(rows, algorithm)
            spent = time.process_time() - began
            alarms = far[predictor.calibration.alarms(predictor.score(far))][:50]
            if not len(alarms):
                alarms = far[:50]
            yield {
                "data": name,
                "detector": algorithm,
                "fit, CPU s": spent,
                "one row, p50 ms": _alone(predictor.predict_matrix, rows[-50:]),
                "one alarm, p50 ms": _alone(predictor.predict_matrix, alarms),
                "package kB": sum(map(len, predictor.files().values())) / 1000.0,
            }


def _alone(ask: Callable[[Array], object], rows: Array) -> float:
    spent = []
    for place in range(len(rows)):
        began = time.perf_counter()
        ask(rows[place : place + 1])
        spent.append(time.perf_counter() - began)
    return float(np.median(spent)) * 1000.0


def _rated(truth: Flags, scores: Array) -> tuple[float, float]:
    return float(roc_auc_score(truth, scores)), float(average_precision_score(truth, scores))


def table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return figures as a table."""
    made = Table(title=title)
    for name in rows[0] if rows else ():
        made.add_column(name, justify="left" if name in ("data", "detector") else "right")
    for row in rows:
        made.add_row(
            *(f"{value:.4f}" if isinstance(value, float) else str(value) for value in row.values())
        )
    return made


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
