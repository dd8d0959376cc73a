"""Weighs words by ridge regression. The frames have the column ``text`` and one for each target."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from noria.errors import DataError
from noria.measures.measuring import measure, value_of
from noria.spec import ChampionGate, ModelSpec
from noria.tasks.gates import judge
from noria.tasks.judging import CONFIDENCE
from noria.tasks.measure import Truth, compare
from noria.tasks.package import (
    Input,
    Manifest,
    Output,
    load_predictor,
    read_manifest,
    write_package,
)
from noria.tasks.protocol import Comparison, Evaluation, Split, TuneResult, ValidationReport
from noria.tasks.reference import write_reference
from noria.tasks.search import search
from toy_text.predictor import FILE, Votes

TARGETS = ("pleasant", "lively")


@dataclass(frozen=True)
class Fitted:
    """A model between ``fit`` and ``save``."""

    votes: Votes
    rows: int


class ToyText:
    """See ``noria.tasks.protocol.TaskFamily``."""

    def distributes(self, spec: ModelSpec) -> bool:
        return False

    def request_columns(self, spec: ModelSpec) -> list[str]:
        return ["text"]

    def ingest(self, spec: ModelSpec, base: Path, as_of: datetime | None) -> pd.DataFrame:
        path = base / spec.data.source.given.file
        try:
            lines = path.read_text("utf-8").splitlines()
        except OSError as error:
            raise DataError(f"{path}: can't be read: {error.strerror}") from error
        parts = [line.split("\t", len(TARGETS)) for line in lines]
        columns = {name: [float(part[i]) for part in parts] for i, name in enumerate(TARGETS)}
        return pd.DataFrame({"text": [part[-1] for part in parts], **columns})

    def validate(self, spec: ModelSpec, rows: pd.DataFrame) -> ValidationReport:
        if len(rows) < spec.data.validation.min_rows:
            raise DataError(f"{len(rows)} texts, under spec.data.validation.minRows")
        return ValidationReport(len(rows), ())

    def features(self, spec: ModelSpec, base: Path, rows: pd.DataFrame) -> pd.DataFrame:
        return rows

    def split(self, spec: ModelSpec, frame: pd.DataFrame, champion: Path | None) -> Split:
        held = round(len(frame) * spec.data.split.test_fraction)
        return Split(frame.iloc[:-held], frame.iloc[-held:])

    def tune(self, spec: ModelSpec, train: pd.DataFrame, workdir: Path) -> TuneResult:
        settings, given = spec.train.search, dict(spec.train.hyperparameters)
        if settings.kind == "none":
            return TuneResult(given)
        rows = self.prepare(spec, train.reset_index(drop=True))
        metric, half = spec.metric(settings.metric), len(rows) // 2
        known, judged = np.arange(half), np.arange(half, len(rows))

        def score(params: Mapping[str, Any], fold: int) -> float:
            said = self.predict(spec, self.fit(spec, rows, known, params, None), rows, judged)
            return value_of(metric, truth_of(rows, judged), said_of(said))

        study = sha256(rows.to_csv().encode()).hexdigest()
        seed = spec.train.seed
        return search(settings, given, score, 1, seed, workdir, study, metric=metric)

    def prepare(self, spec: ModelSpec, frame: pd.DataFrame) -> pd.DataFrame:
        return frame

    def fit(
        self,
        spec: ModelSpec,
        prepared: pd.DataFrame,
        places: np.ndarray,
        params: Mapping[str, Any],
        weight: np.ndarray | None,
    ) -> Fitted:
        smoothing = float(params.get("smoothing", 1.0))
        lower = spec.task.options.lower_case
        texts = [
            (text.lower() if lower else text).split() for text in prepared["text"].iloc[places]
        ]
        words = {word: place for place, word in enumerate(sorted({w for t in texts for w in t}))}
        counts = np.zeros((len(texts), len(words)))
        for row, text in enumerate(texts):
            for word in text:
                counts[row, words[word]] += 1.0
        truth = truth_of(prepared, places)
        start, middle = truth.mean(axis=0), counts.mean(axis=0)
        centred = counts - middle
        ridge = centred.T @ centred + smoothing * np.eye(len(words))
        votes = np.linalg.solve(ridge, centred.T @ (truth - start))
        manifest = Manifest(
            model="",
            family=spec.task.family,
            algorithm=spec.train.algorithm,
            inputs=(Input("text", "BYTES", "text"),),
            outputs=(Output("prediction", "FP64", (len(TARGETS),)),),
            targets=TARGETS,
            features=(),
            options=spec.task.options.model_dump(mode="json", by_alias=True),
            rows=len(places),
            parameters=dict(params),
        )
        said = {word: votes[place].tolist() for word, place in words.items()}
        return Fitted(Votes(manifest, (start - middle @ votes).tolist(), said), len(places))

    def with_rounds(
        self, spec: ModelSpec, params: Mapping[str, Any], times: float
    ) -> dict[str, Any] | None:
        return None

    def fit_baseline(
        self, spec: ModelSpec, prepared: pd.DataFrame, places: np.ndarray
    ) -> Fitted | None:
        return None

    def predict(
        self, spec: ModelSpec, model: Fitted | Path, prepared: pd.DataFrame, places: np.ndarray
    ) -> pd.DataFrame:
        votes = load_predictor(model) if isinstance(model, Path) else model.votes
        said = votes.predict({"text": prepared["text"].iloc[places]})["prediction"]
        return pd.DataFrame(dict(zip(TARGETS, said.T, strict=True)))

    def compare(
        self,
        spec: ModelSpec,
        prepared: pd.DataFrame,
        places: np.ndarray,
        ours: pd.DataFrame,
        theirs: pd.DataFrame,
        block: np.ndarray | None = None,
    ) -> Comparison:
        gate = ChampionGate(metric=spec.family.default_metric, confidence=CONFIDENCE)
        truth = Truth(truth_of(prepared, places), 0, spec.train.seed, block)
        (found,) = compare([gate], truth, said_of(ours), said_of(theirs), spec.metrics)
        return found

    def evaluate(
        self,
        spec: ModelSpec,
        candidate: Path,
        test: pd.DataFrame,
        held_out: Any,
        champion: Path | None,
        plots_dir: Path | None,
    ) -> Evaluation:
        places = np.arange(len(test))
        truth, said = truth_of(test, places), said_of(held_out.model)
        found = {metric.name: measure(metric, truth, said) for metric in spec.metrics}
        compared: tuple[Comparison, ...] = ()
        if champion is not None:
            theirs = said_of(self.predict(spec, champion, test, places))
            known = Truth(truth, 0, spec.train.seed)
            compared = compare(spec.gates.champion, known, said, theirs, spec.metrics)
        gates = judge(spec.gates, found, compared, choice=held_out.choice)
        return Evaluation(len(test), found, {}, compared, gates, choice=held_out.choice)

    def save(
        self, spec: ModelSpec, fitted: Fitted, package: Path, *, model: str = "", recipe: str = ""
    ) -> Manifest:
        manifest = msgspec.structs.replace(fitted.votes.manifest, model=model, recipe=recipe)
        said = {"start": fitted.votes.start, "votes": fitted.votes.votes}
        return write_package(package, manifest, {FILE: json.dumps(said).encode()})

    def reference(
        self,
        spec: ModelSpec,
        package: Path,
        frame: pd.DataFrame,
        test: pd.DataFrame,
        held_out: Any,
        out_dir: Path,
    ) -> None:
        said = said_of(held_out.model)
        truth = truth_of(test, np.arange(len(test)))
        found = {metric.name: measure(metric, truth, said) for metric in spec.metrics}
        texts = {"text": frame["text"].to_numpy(object)}
        write_reference(out_dir, read_manifest(package), texts, said, found, 1000)


def truth_of(rows: pd.DataFrame, places: np.ndarray) -> np.ndarray:
    """Return how pleasant and how lively the texts at places are, (n, 2)."""
    return rows[list(TARGETS)].to_numpy(np.float64)[places]


def said_of(predicted: pd.DataFrame) -> np.ndarray:
    """Return what ``predict`` returned, (n, 2)."""
    return predicted[list(TARGETS)].to_numpy(np.float64)


LEARNER = ToyText()
