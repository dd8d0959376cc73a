"""Train on eight tables with default settings; a table, and ``bench-tables.json``.

``python -m tests.bench.tables FOLDER [--only NAME] [--beside FOLDER] [--effort good]``; the files
come from ``prepare.py``. Beside LightGBM by its own defaults, in the same run, predictions of other
learners are measured that ``--beside`` has, as ``NAME.LEARNER.npy``: see ``plain.py`` and
``rivals.py``. Noria is level with one whose interval of the change holds 0.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from noria.spec import load_model
from noria.tasks.tabular.evaluation import open_package
from noria.tasks.tabular.schema import columns_of

Array = NDArray[np.float64]

CHOSEN_ON: Final = ("credit", "churn", "hpc", "diamonds")
"""Whose rows were looked at to choose the defaults. The others only report."""

_DRAWS: Final = 2000
_ONE_BY_ONE: Final = 300
_TINY: Final = 1e-15


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What happened in the test rows: class codes, or values with no ``classes``."""

    values: Array
    classes: int

    def losses(self, said: Array) -> Array:
        """Return the log loss or the squared error of each row."""
        if not self.classes:
            return np.asarray((self.values - said) ** 2)
        both = said if said.ndim == 2 and said.shape[1] > 1 else said.reshape(-1, 1)
        if both.shape[1] == 1:
            both = np.hstack([1.0 - both, both])
        own = both[np.arange(len(both)), self.values.astype(np.int64)]
        return -np.log(np.clip(own, _TINY, 1.0))

    def score(self, losses: Array) -> float:
        """Return the log loss, or the root mean squared error."""
        mean = float(losses.mean())
        return mean if self.classes else mean**0.5

    def change(self, ours: Array, theirs: Array) -> tuple[float, float, float]:
        """Return our score minus theirs as a share of theirs, with a 95 % paired bootstrap."""
        rng = np.random.default_rng(0)
        draws = rng.integers(0, ours.size, (_DRAWS, ours.size), dtype=np.int32)
        changes = np.array(
            [self.score(ours[drawn]) / self.score(theirs[drawn]) - 1.0 for drawn in draws]
        )
        low, high = np.quantile(changes, (0.025, 0.975))
        return self.score(ours) / self.score(theirs) - 1.0, float(low), float(high)


def main(arguments: Sequence[str]) -> int:
    """Run the bench."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.tables", description=__doc__)
    parser.add_argument("folder", type=Path, help="where prepare.py has put the tables")
    parser.add_argument("--only", nargs="*", default=(), metavar="NAME", help="only these")
    parser.add_argument("--beside", type=Path, help="predictions of other learners")
    parser.add_argument("--keep", type=Path, help="where Noria's predictions are kept")
    parser.add_argument("--effort", default="", help="spec.train.effort")
    parser.add_argument("--budget", default="", help="spec.train.budget")
    parser.add_argument("--options", type=json.loads, default={}, help="spec.task.options")
    parser.add_argument("--out", type=Path, default=Path("bench-tables.json"))
    given = parser.parse_args(arguments)
    train = {name: getattr(given, name) for name in ("effort", "budget") if getattr(given, name)}
    rows: list[dict[str, Any]] = []
    for file in sorted(given.folder.glob("*/model.yaml")):
        if not given.only or file.parent.name in given.only:
            print(f"{file.parent.name} ...", file=sys.stderr, flush=True)
            rows.extend(_measure(file.parent, train, given.options, given.beside, given.keep))
            given.out.write_text(json.dumps(rows, indent=1) + "\n")
    Console(width=None if sys.stdout.isatty() else 140, highlight=False).print(table(rows))
    return 0


def _measure(
    folder: Path,
    train: dict[str, str],
    options: dict[str, Any],
    beside: Path | None,
    keep: Path | None,
) -> Iterator[dict[str, Any]]:
    spec = load_model(folder / "model.yaml").spec
    test = pd.read_parquet(folder / "test.parquet")
    target = test[str(spec.data.target)]
    with tempfile.TemporaryDirectory() as made:
        out = Path(made) / "plain.npy"
        plain = [sys.executable, "-m", "tests.bench.tables.plain"]
        cost, _ = _run([*plain, str(folder), str(spec.data.target), str(out)])
        said = {"LightGBM": (np.load(out), cost)}
        file = _project(folder, Path(made), train, options)
        noria = str(Path(sys.executable).with_name("noria"))
        home = Path(made) / "home"
        own, memory = _run([noria, "train", "-f", str(file), "--home", str(home)])
        (manifest,) = home.glob("artifacts/**/noria.json")
        package = manifest.parent
        model: Any = open_package(package)
        columns = columns_of(model.manifest.features, model.manifest.event_time, test)
        answers = model.predict(columns)
        ours = answers["probability" if spec.is_classification else "prediction"]
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            np.save(keep / f"{folder.name}.Noria.npy", ours)
        alone = [
            _seconds(model, {n: c[row : row + 1] for n, c in columns.items()})
            for row in range(min(_ONE_BY_ONE, len(test)))
        ]
    plan = model.manifest.parameters.get("derived", {})
    classes = model.manifest.classes
    codes = target.map({label: code for code, label in enumerate(classes)}) if classes else target
    truth = Truth(codes.to_numpy(np.float64), len(classes))
    losses = truth.losses(ours)
    for other in sorted(beside.glob(f"{folder.name}.*.npy")) if beside else ():
        cost = json.loads(other.with_suffix(".json").read_text())["CPU s"]
        said[other.name.split(".")[1]] = (np.load(other), cost)
    yield {
        "data": folder.name,
        "learner": "Noria",
        "score": truth.score(losses),
        "algorithm": model.manifest.algorithm,
        "computed": [one["name"] for one in plan.get("made", ())],
        "without": list(plan.get("without", ())),
        "CPU s": own,
        "MiB": memory,
        "p50 us": float(np.median(alone) * 1e6),
    }
    for name, (theirs, spent) in said.items():
        each = truth.losses(theirs)
        change, low, high = truth.change(losses, each)
        yield {
            "data": folder.name,
            "learner": name,
            "score": truth.score(each),
            "Noria is": change,
            "low": low,
            "high": high,
            "CPU s": spent,
        }


def _project(folder: Path, base: Path, train: dict[str, str], options: dict[str, Any]) -> Path:
    """Write the model file, with what is asked of the training, beside a link to the rows."""
    (base / "train.parquet").symlink_to((folder / "train.parquet").resolve())
    said = yaml.safe_load((folder / "model.yaml").read_text())
    if train:
        said["spec"]["train"] = train
    if options:
        said["spec"]["task"]["options"] = options
    file = base / "model.yaml"
    file.write_text(yaml.safe_dump(said))
    return file


def _run(command: list[str]) -> tuple[float, float]:
    """Return the CPU seconds of a command and its processes, and the memory of the largest, MiB."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def _seconds(model: Any, columns: dict[str, Any]) -> float:
    began = time.perf_counter()
    model.predict(columns)
    return time.perf_counter() - began


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """Return the figures; a section for each data set."""
    made = Table(title="Log loss of classes, RMSE of values, of test rows; less is better")
    for name in ("data", "learner", "score", "Noria is", "95 %", "CPU s", "MiB", "p50 us"):
        made.add_column(name, justify="left" if name in ("data", "learner") else "right")
    for row in rows:
        first = row["learner"] == "Noria"
        if first and made.row_count:
            made.add_section()
        mark = "*" if row["data"] in CHOSEN_ON else ""
        made.add_row(
            row["data"] + mark if first else "",
            f"Noria ({row['algorithm']})" if first else row["learner"],
            f"{row['score']:.5g}",
            "" if first else f"{row['Noria is']:+.1%}",
            "" if first else f"{row['low']:+.1%} to {row['high']:+.1%}",
            f"{row['CPU s']:.1f}",
            f"{row['MiB']:.0f}" if first else "",
            f"{row['p50 us']:.0f}" if first else "",
        )
    made.caption = f"* was looked at while the defaults were chosen\n{counts(rows)}"
    return made


def counts(rows: Sequence[dict[str, Any]]) -> str:
    """Say against each learner on how many data sets Noria is ahead, level and behind."""
    said = []
    for name in sorted({row["learner"] for row in rows} - {"Noria"}):
        mine = [row for row in rows if row["learner"] == name]
        ahead, behind = (
            sum(row["high"] < 0.0 for row in mine),
            sum(row["low"] > 0.0 for row in mine),
        )
        level = len(mine) - ahead - behind
        said.append(f"{name}: ahead on {ahead}, level on {level}, behind on {behind}")
    return "; ".join(said)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
