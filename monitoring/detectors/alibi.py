"""Adapters to Alibi Detect 0.13 (its licence, BSL 1.1, restricts production use).

Importing Alibi Detect imports torch (where it is installed), transformers, pandas
and numba: seconds and hundreds of MB. So nothing here imports it before a detector
of this backend is built. Only the kinds in ``_OF_TORCH`` need torch. Alibi draws
from the global random streams of numpy and torch; every call here sets them from the
detector's seed and puts them back.

What a p-value of Alibi's permutation tests lacks is corrected: it reports
reached / drawn, which can be 0; reached + 1 / drawn + 1 is valid (Phipson and
Smyth, "Permutation p-values should never be zero", 2010).
"""

from __future__ import annotations

import importlib.util
import logging
import random
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from monitoring.detectors.matrix import MatrixEncoder
from monitoring.detectors.mmd import sample
from monitoring.detectors.protocol import DetectorConfig, DetectorResult, FeatureResult
from monitoring.detectors.storage import save_table
from monitoring.detectors.univariate import count, suits
from monitoring.table import FloatArray, Table
from noria.errors import InvalidInput, MonitoringError, NotInstalled

_PER_COLUMN: Final = ("ks", "chi-square", "tabular")
_PERMUTED: Final = ("mmd", "lsdd", "learned-kernel")
_OWN_FORMAT: Final = (*_PER_COLUMN, "mmd", "lsdd", "online-mmd", "online-cvm")
"""Kinds that Alibi saves without pickling anything; the others are fitted again on load."""
_OF_TORCH: Final = ("mmd", "lsdd", "learned-kernel", "online-mmd")
"""Kinds that Alibi computes with torch, which only the extra ``alibi`` brings."""
_FOLDER: Final = "alibi"


def alibi(kind: str) -> Any:
    """Import Alibi Detect's drift detectors, for a detector of ``kind``.

    Raises:
        NotInstalled: the package is not there, or torch is not and ``kind`` needs it.
    """
    if kind in _OF_TORCH and importlib.util.find_spec("torch") is None:
        raise NotInstalled(
            f"kind: {kind} with backend: alibi needs torch, which is not installed",
            fix="install noria[alibi] (mind its licence, BSL 1.1), or use backend: native",
        )
    # Where torch is missing, transformers says that its models are too; nothing here wants one.
    logging.getLogger("transformers").addFilter(_says_more)
    try:
        with warnings.catch_warnings():
            # torch.jit.script is deprecated; a dependency of Alibi's decorates with it on import.
            warnings.filterwarnings("ignore", message=".*torch.jit.script", module="torch.*")
            import alibi_detect.cd as found
    except ImportError as error:
        raise NotInstalled(
            f"backend: alibi needs alibi-detect, which can't be imported: {error}",
            fix="install noria[alibi] (mind its licence, BSL 1.1), or use backend: native",
        ) from error
    return found


def _says_more(record: logging.LogRecord) -> bool:
    return "Models won't be available" not in record.getMessage()


@contextmanager
def _reproducible(seed: int) -> Iterator[None]:
    """Seed the global streams that Alibi uses, on one torch thread, and restore them after.

    One thread: its LSDD solves with many reference rows fail in oneMKL on two.
    """
    python, numpy = random.getstate(), np.random.get_state()
    with _torch(seed), warnings.catch_warnings():
        np.random.seed(seed)
        random.seed(seed)
        # Alibi's own code under numpy 2 and torch 2.13; nothing of it concerns the result.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=FutureWarning)
        try:
            yield
        finally:
            np.random.set_state(numpy)
            random.setstate(python)


@contextmanager
def _torch(seed: int) -> Iterator[None]:
    if importlib.util.find_spec("torch") is None:
        yield
        return
    import torch

    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


_HIDDEN: Final = 32
_LEARNT: Final = 8
"""Widths of the layers that a learned kernel sees rows through."""
_MOST: Final = 1e15
"""Of a coordinate as float32: its square is still a number."""


class _Encoded:
    """The float matrix that Alibi gets: raw numbers and category codes, or points in a space."""

    def __init__(self, config: DetectorConfig, reference: Table) -> None:
        self._kind = config.kind
        self._points = MatrixEncoder(
            reference,
            standardize=config.kind in (*_PERMUTED, "classifier", "online-mmd")
            and bool(config.options.get("standardize", True)),
        )

    def encode(self, table: Table) -> Any:
        if self._kind in ("lsdd", "learned-kernel", "online-mmd"):
            # Their buffers are float32, and torch does not mix.
            points = np.clip(self._points.encode(table), -_MOST, _MOST)
            return points.astype(np.float32)
        if self._kind == "model-uncertainty":
            positive = self._points.encode(table)
            return np.concatenate([1.0 - positive, positive], axis=1)
        if self._kind in ("chi-square", "tabular"):
            # Codes as floats: an array of objects can't be loaded without pickle. Missing, unseen
            # and rare are all -1, as the native detectors count them.
            columns = [
                np.where(values >= column.unseen, -1.0, values)
                if column.kind == "categorical"
                else values
                for column in table.schema
                for values in [table.columns[column.name]]
            ]
            return np.stack(columns, axis=1).astype(np.float64)
        return self._points.encode(table)


class _Fitted:
    """Alibi's detector of one kind, fitted on a reference: what offline and online ones share."""

    def __init__(self, config: DetectorConfig, reference: Table, fitted: Any | None = None) -> None:
        """Fit Alibi's detector on the reference, unless ``fitted`` already is.

        For an online one that is to simulate its thresholds: seconds to a minute.

        Raises:
            InvalidInput: the columns or the options don't suit this kind, or the run time that
                the budget asks for is out of reach.
            NotInstalled: Alibi Detect is not there, or torch, which the kind needs.
        """
        self._config = config
        self._reference = prepare(config, reference)
        self._encoder = _Encoded(config, self._reference)
        self._seed = int(config.options.get("seed", 0))
        if fitted is None:
            cd = alibi(config.kind)
            with _reproducible(self._seed):
                fitted = _BUILDERS[config.kind](
                    cd, config, self._reference, self._encoder.encode(self._reference)
                )
        self._detector = fitted

    @property
    def config(self) -> DetectorConfig:
        """How it was built."""
        return self._config

    def save(self, folder: Path) -> None:
        """Write our configuration and reference and, where nothing is pickled, Alibi's detector.

        Of an online one with its state.
        """
        save_table(folder, self._config, self._reference)
        _save_fitted(self._config, self._detector, folder)


class AlibiDetector(_Fitted):
    """One of Alibi's offline detectors.

    Options: ``seed`` (0); ``referenceRows`` (2000, MMD, LSDD and learned kernel; all rows for the
    others); ``permutations`` (the same: as many as alpha needs); ``folds`` (5, classifier);
    ``epochs`` (3, learned kernel);
    ``standardize`` (True, joint tests). Model uncertainty watches one column of probabilities.

    The effect of a result is Alibi's distance: D for KS, the root of MMD^2 or of the
    squared density difference, the distance between out-of-fold scores for the classifier.
    """

    def score(self, window: Table) -> DetectorResult:
        """Run Alibi's test on one window."""
        chosen = window.select([column.name for column in self._reference.schema]).whole()
        with _reproducible(self._seed):
            data = self._detector.predict(self._encoder.encode(chosen))["data"]
        p_values = np.atleast_1d(np.asarray(data["p_val"], np.float64))
        distances = np.atleast_1d(np.asarray(data["distance"], np.float64))
        features: tuple[FeatureResult, ...] = ()
        effect = float(distances[0])
        if self._config.kind in _PER_COLUMN:
            features = self._features(chosen, p_values, distances)
            statistic, effect = features[0].statistic, features[0].effect
            p_value = min(1.0, features[0].p_value * len(features))
        else:
            statistic, p_value = float(distances[0]), float(p_values[0])
        if self._config.kind in _PERMUTED:
            drawn = _permutations(self._config)
            p_value = (round(p_value * drawn) + 1) / (drawn + 1)
            effect = float(np.sqrt(max(statistic, 0.0)))
        alpha = self._config.alpha
        return DetectorResult(
            statistic, p_value, alpha, p_value <= alpha, effect, features, window.rows
        )

    def _features(
        self, window: Table, p_values: FloatArray, distances: FloatArray
    ) -> tuple[FeatureResult, ...]:
        found = []
        rows = self._reference.rows
        for column, p, d in zip(self._reference.schema, p_values, distances, strict=True):
            counted = column.kind == "categorical" and self._config.kind != "ks"
            effect = float(np.sqrt(d / rows)) if counted else float(d)
            test = "chi-square" if counted else "ks"
            freedom = 0
            if counted:
                here, there = window.columns[column.name], self._reference.columns[column.name]
                both = count(np.concatenate([here, there]), len(column.categories))
                freedom = int(np.count_nonzero(both)) - 1
            sizes = (rows, window.rows)
            found.append(
                FeatureResult(column.name, test, float(d), float(p), effect, sizes, freedom)
            )
        return tuple(sorted(found, key=lambda result: (result.p_value, -result.effect)))


class AlibiOnlineDetector(_Fitted):
    """Alibi's online MMD or CVM detector, fed the rows of a window one after the other.

    A window drifts when any of its rows makes the statistic exceed the
    threshold; the detector then starts afresh. The expected run time without
    drift is ``window_rows / alpha`` rows, so that a window alarms with
    probability alpha. Alibi finds thresholds by simulation and needs more
    simulations than that run time; where it is out of reach, ``options.ert``
    sets the run time (in rows) by hand, outside of the false-alarm budget.

    Options: ``ert``; ``bootstraps`` (1000 MMD, 5000 CVM); ``testWindow`` (20 rows);
    ``referenceRows`` (500); ``seed`` (0).

    The effect of a result is the largest statistic over its threshold; p_value is None.
    """

    def score(self, window: Table) -> DetectorResult:
        """Feed the rows of one window, in order."""
        chosen = window.select([column.name for column in self._reference.schema]).whole()
        best = (0.0, 0.0, 1.0)
        per_column = np.zeros(len(self._reference.schema))
        with _reproducible(self._seed):
            for row in self._encoder.encode(chosen):
                best = max(best, self._feed(row, per_column))
            drift = best[0] > 1.0
            if drift:
                self._detector.reset_state()
        ratio, statistic, threshold = best
        features: tuple[FeatureResult, ...] = ()
        if self._config.kind == "online-cvm":
            names = [column.name for column in self._reference.schema]
            ranked = sorted(zip(per_column, names, strict=True), reverse=True)
            features = tuple(
                FeatureResult(name, "cvm", float(value), float("nan"), float(value))
                for value, name in ranked
            )
        return DetectorResult(statistic, None, threshold, drift, ratio, features, window.rows)

    def state(self) -> bytes:
        """Return Alibi's saved state: file name to content."""
        with tempfile.TemporaryDirectory() as folder:
            self._detector.save_state(folder)
            files = {p.name: p.read_bytes() for p in sorted(Path(folder).iterdir())}
        return msgspec.msgpack.encode(files)

    def restore(self, state: bytes) -> None:
        """Go back to a state that ``state()`` returned.

        Raises:
            MonitoringError: the state is damaged or of another detector.
        """
        try:
            files = msgspec.msgpack.decode(state, type=dict[str, bytes])
            with tempfile.TemporaryDirectory() as folder:
                for name, content in files.items():
                    (Path(folder) / Path(name).name).write_bytes(content)
                self._detector.load_state(folder)
        except (msgspec.MsgspecError, OSError, ValueError, KeyError) as error:
            raise MonitoringError(
                f"detector {self._config.name!r}: its state can't be read: {error}",
                fix="put the model's reference again; the detector starts afresh",
            ) from error

    def _feed(self, row: FloatArray, per_column: FloatArray) -> tuple[float, float, float]:
        if self._config.kind == "online-mmd":
            statistic = float(self._detector.score(row))
            # Not predict(): it keeps every statistic it ever gave, and copies them each time.
            inner = getattr(self._detector, "_detector")  # noqa: B009 - the façade lacks thresholds
            threshold = float(inner.get_threshold(inner.t))
            return statistic / threshold if threshold > 0 else 0.0, statistic, threshold
        # (test windows, columns); NaN until a test window is full.
        statistics = np.asarray(self._detector.score(row), np.float64)
        thresholds = np.asarray(self._detector.get_threshold(self._detector.t - 1), np.float64)
        thresholds = np.broadcast_to(thresholds.reshape(thresholds.shape[0], -1), statistics.shape)
        usable = np.isfinite(statistics) & np.isfinite(thresholds) & (thresholds > 0)
        ratios = np.where(usable, statistics / np.where(usable, thresholds, 1.0), 0.0)
        np.maximum(per_column, ratios.max(axis=0), out=per_column)
        at = np.unravel_index(int(ratios.argmax()), ratios.shape)
        return float(ratios[at]), float(np.nan_to_num(statistics[at])), float(thresholds[at])


def load_fitted(config: DetectorConfig, folder: Path) -> Any | None:
    """Return Alibi's own saved detector in ``folder``; None where it has to be fitted again.

    Raises:
        MonitoringError: Alibi can't read what it wrote.
        NotInstalled: Alibi Detect is not there, or torch, which the kind needs.
    """
    if not (folder / _FOLDER).is_dir():
        return None
    alibi(config.kind)
    from alibi_detect.saving import load_detector

    try:
        with _reproducible(int(config.options.get("seed", 0))):
            return load_detector(folder / _FOLDER)
    except Exception as error:
        raise MonitoringError(
            f"detector {config.name!r}: Alibi can't load it from {folder}: {error}",
            fix="build it again",
        ) from error


def _save_fitted(config: DetectorConfig, fitted: Any, folder: Path) -> None:
    if config.kind not in _OWN_FORMAT:
        return
    from alibi_detect.saving import save_detector

    with _reproducible(0):
        save_detector(fitted, folder / _FOLDER)


def prepare(config: DetectorConfig, reference: Table) -> Table:
    """Return the columns and the (seeded sample of) rows that the detector keeps.

    Raises:
        InvalidInput: no column suits the kind, or a named one does not.
    """
    test = {"online-cvm": "ks", "model-uncertainty": "ks"}.get(config.kind, config.kind)
    names = config.columns or tuple(
        column.name
        for column in reference.schema
        if suits(test, column, reference.columns[column.name])
    )
    chosen = reference.select(names).whole()
    refused = [c for c in chosen.schema if not suits(test, c, chosen.columns[c.name])]
    if refused or not chosen.schema:
        which = f"the {refused[0].kind} column {refused[0].name!r}" if refused else "no column"
        raise InvalidInput(
            f"detector {config.name!r}: a {config.kind} detector of backend alibi watches {which}",
            fix="name other columns, or use kind: tabular",
        )
    if config.kind == "model-uncertainty":
        values = chosen.columns[names[0]]
        if len(names) != 1 or not bool(((values >= 0) & (values <= 1)).all()):
            raise InvalidInput(
                f"detector {config.name!r}: model-uncertainty watches one column of probabilities",
                fix="set watch: prediction, for a classification model",
            )
    defaults = {**dict.fromkeys(_PERMUTED, 2000), "online-mmd": 500, "online-cvm": 500}
    rows = int(config.options.get("referenceRows", defaults.get(config.kind, chosen.rows)))
    return sample(chosen, rows, int(config.options.get("seed", 0)))


def _permutations(config: DetectorConfig) -> int:
    needed = ceil(1.0 / config.alpha)
    asked = int(config.options.get("permutations", needed))
    if asked + 1 < 1.0 / config.alpha:
        raise InvalidInput(
            f"detector {config.name!r}: options.permutations: {asked} permutations can't show a "
            f"p-value as small as {config.alpha:.2g}",
            fix=f"leave it out, or use at least {needed}",
        )
    return asked


def _run_time(config: DetectorConfig, bootstraps: int) -> float:
    if "ert" in config.options:
        return float(config.options["ert"])
    wanted = config.window_rows / config.alpha
    if wanted > bootstraps:
        raise InvalidInput(
            f"detector {config.name!r}: its share of the false-alarm budget is one alarm in "
            f"{wanted:.0f} rows, and Alibi can simulate {bootstraps}",
            fix="set options.ert (rows between false alarms, outside of the budget), "
            f"or options.bootstraps above {wanted:.0f}",
        )
    return wanted


def _ks(cd: Any, config: DetectorConfig, _: Table, x: FloatArray) -> Any:
    return cd.KSDrift(x, p_val=config.alpha)


def _chi_square(cd: Any, config: DetectorConfig, reference: Table, x: FloatArray) -> Any:
    return cd.ChiSquareDrift(x, p_val=config.alpha, n_features=len(reference.schema))


def _tabular(cd: Any, config: DetectorConfig, reference: Table, x: FloatArray) -> Any:
    counted = {i: None for i, c in enumerate(reference.schema) if c.kind == "categorical"}
    return cd.TabularDrift(x, p_val=config.alpha, categories_per_feature=counted)


def _mmd(cd: Any, config: DetectorConfig, _: Table, x: FloatArray) -> Any:
    return cd.MMDDrift(
        x, backend="pytorch", p_val=config.alpha, n_permutations=_permutations(config)
    )


def _lsdd(cd: Any, config: DetectorConfig, _: Table, x: FloatArray) -> Any:
    return cd.LSDDDrift(
        x,
        backend="pytorch",
        p_val=config.alpha,
        n_permutations=_permutations(config),
    )


def _learned_kernel(cd: Any, config: DetectorConfig, _: Table, x: FloatArray) -> Any:
    import torch
    from alibi_detect.utils.pytorch.kernels import DeepKernel

    learned = torch.nn.Sequential(
        torch.nn.Linear(x.shape[1], _HIDDEN), torch.nn.ReLU(), torch.nn.Linear(_HIDDEN, _LEARNT)
    )
    return cd.LearnedKernelDrift(
        x,
        DeepKernel(learned),
        backend="pytorch",
        p_val=config.alpha,
        n_permutations=_permutations(config),
        epochs=int(config.options.get("epochs", 3)),
        device="cpu",
    )


def _classifier(cd: Any, config: DetectorConfig, _: Table, x: FloatArray) -> Any:
    from sklearn.linear_model import LogisticRegression

    return cd.ClassifierDrift(
        x,
        LogisticRegression(max_iter=1000),
        backend="sklearn",
        p_val=config.alpha,
        n_folds=int(config.options.get("folds", 5)),
        seed=int(config.options.get("seed", 0)),
    )


def _model_uncertainty(cd: Any, config: DetectorConfig, _: Table, x: FloatArray) -> Any:
    # The rows already are the model's probabilities.
    return cd.ClassifierUncertaintyDrift(
        x, model=np.asarray, backend=None, p_val=config.alpha, preds_type="probs"
    )


def _online_mmd(cd: Any, config: DetectorConfig, _: Table, x: FloatArray) -> Any:
    bootstraps = int(config.options.get("bootstraps", 1000))
    return cd.MMDDriftOnline(
        x,
        ert=_run_time(config, bootstraps),
        window_size=int(config.options.get("testWindow", 20)),
        backend="pytorch",
        n_bootstraps=bootstraps,
        verbose=False,
    )


def _online_cvm(cd: Any, config: DetectorConfig, _: Table, x: FloatArray) -> Any:
    bootstraps = int(config.options.get("bootstraps", 5000))
    return cd.CVMDriftOnline(
        x,
        ert=_run_time(config, bootstraps),
        window_sizes=[int(config.options.get("testWindow", 20))],
        n_bootstraps=bootstraps,
        verbose=False,
    )


_BUILDERS: Final[Mapping[str, Callable[[Any, DetectorConfig, Table, FloatArray], Any]]] = {
    "ks": _ks,
    "chi-square": _chi_square,
    "tabular": _tabular,
    "mmd": _mmd,
    "lsdd": _lsdd,
    "learned-kernel": _learned_kernel,
    "classifier": _classifier,
    "model-uncertainty": _model_uncertainty,
    "online-mmd": _online_mmd,
    "online-cvm": _online_cvm,
}
KINDS: Final = tuple(_BUILDERS)
