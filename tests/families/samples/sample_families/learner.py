"""Counts words: with the items that were wanted, or with the tags that they had.

The frames have the columns ``text`` and ``said``: the wanted items, or the tags, as words.
"""

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping
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
from noria.measures.spans import spans
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
from sample_families.predictor import FILE, ITEMS, TAGS, TOKENS, Names, Search


@dataclass(frozen=True)
class Fitted:
    """A model between ``fit`` and ``save``."""

    model: Search | Names
    rows: int


class Votes(ABC):
    """See ``noria.tasks.protocol.TaskFamily``: all but what a sample is."""

    width: int
    kind: Callable[[Manifest, Mapping[str, list[float]]], Search | Names]

    @abstractmethod
    def truth(self, rows: pd.DataFrame) -> np.ndarray:
        """Return what is so of n texts, as ``noria.measures`` reads it."""

    @abstractmethod
    def said(self, predicted: pd.DataFrame, rows: pd.DataFrame) -> np.ndarray:
        """Return what ``predict`` returned of the same texts, as ``noria.measures`` reads it."""

    @abstractmethod
    def counted(self, rows: pd.DataFrame) -> dict[str, np.ndarray]:
        """Return what each word speaks for."""

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
        return pd.DataFrame([line.split("\t", 1) for line in lines], columns=["said", "text"])

    def validate(self, spec: ModelSpec, rows: pd.DataFrame) -> ValidationReport:
        if len(rows) < spec.data.validation.min_rows:
            raise DataError(f"{len(rows)} texts, under spec.data.validation.minRows")
        return ValidationReport(len(rows), ())

    def features(self, spec: ModelSpec, base: Path, rows: pd.DataFrame) -> pd.DataFrame:
        return rows

    def split(self, spec: ModelSpec, frame: pd.DataFrame, champion: Path | None) -> Split:
        first = len(frame) - round(len(frame) * spec.data.split.test_fraction)
        if champion is not None:  # the file grows at its end: the champion has seen what is before
            first = max(first, read_manifest(champion).rows)
        return Split(frame.iloc[:first], frame.iloc[first:])

    def tune(self, spec: ModelSpec, train: pd.DataFrame, workdir: Path) -> TuneResult:
        settings, given = spec.train.search, dict(spec.train.hyperparameters)
        if settings.kind == "none":
            return TuneResult(given)
        rows = train.reset_index(drop=True)
        metric, half = spec.metric(settings.metric), len(rows) // 2
        known, judged = np.arange(half), np.arange(half, len(rows))

        def score(params: Mapping[str, Any], fold: int) -> float:
            found = self.predict(spec, self.fit(spec, rows, known, params, None), rows, judged)
            return value_of(metric, self.truth(rows[half:]), self.said(found, rows[half:]))

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
        manifest = Manifest(
            model="",
            family=spec.task.family,
            algorithm=spec.train.algorithm,
            inputs=(Input("text", "BYTES", "text"),),
            outputs=(Output("prediction", "FP64", (self.width,)),),
            features=(),
            rows=len(places),
            parameters=dict(params),
        )
        counted = self.counted(prepared.iloc[places])
        least = int(params.get("least", 1))
        times = Counter(word for text in prepared["text"].iloc[places] for word in text.split())
        votes = {word: counted[word].tolist() for word in sorted(counted) if times[word] >= least}
        return Fitted(self.kind(manifest, votes), len(places))

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
        predictor = load_predictor(model) if isinstance(model, Path) else model.model
        found = predictor.predict({"text": prepared["text"].iloc[places]})["prediction"]
        return pd.DataFrame(found, columns=[f"p{place}" for place in range(self.width)])

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
        rows = prepared.iloc[places]
        truth = Truth(self.truth(rows), 0, spec.train.seed, block)
        (found,) = compare([gate], truth, self.said(ours, rows), self.said(theirs, rows))
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
        truth, said = self.truth(test), self.said(held_out.model, test)
        found = {metric.name: measure(metric, truth, said) for metric in spec.metrics}
        compared: tuple[Comparison, ...] = ()
        if champion is not None:
            theirs = self.said(self.predict(spec, champion, test, np.arange(len(test))), test)
            known = Truth(truth, 0, spec.train.seed)
            compared = compare(spec.gates.champion, known, said, theirs)
        gates = judge(spec.gates, found, compared, choice=held_out.choice)
        return Evaluation(len(test), found, {}, compared, gates, choice=held_out.choice)

    def save(
        self, spec: ModelSpec, fitted: Fitted, package: Path, *, model: str = "", recipe: str = ""
    ) -> Manifest:
        manifest = msgspec.structs.replace(fitted.model.manifest, model=model, recipe=recipe)
        return write_package(package, manifest, {FILE: json.dumps(fitted.model.votes).encode()})

    def reference(
        self,
        spec: ModelSpec,
        package: Path,
        frame: pd.DataFrame,
        test: pd.DataFrame,
        held_out: Any,
        out_dir: Path,
    ) -> None:
        truth, said = self.truth(test), self.said(held_out.model, test)
        found = {metric.name: measure(metric, truth, said) for metric in spec.metrics}
        numbers = held_out.model.to_numpy(np.float64)
        write_reference(out_dir, read_manifest(package), {}, numbers, found, 1000)


class SearchVotes(Votes):
    """A sample is a query: twenty items, those that are wanted relevant."""

    width = ITEMS
    kind = Search

    def truth(self, rows: pd.DataFrame) -> np.ndarray:
        found = np.zeros((len(rows), ITEMS))
        for row, wanted in enumerate(rows["said"]):
            found[row, [int(item) for item in wanted.split()]] = 1.0
        return found

    def said(self, predicted: pd.DataFrame, rows: pd.DataFrame) -> np.ndarray:
        return predicted.to_numpy(np.float64)

    def counted(self, rows: pd.DataFrame) -> dict[str, np.ndarray]:
        votes: dict[str, np.ndarray] = {}
        for wanted, text in zip(self.truth(rows), rows["text"], strict=True):
            for word in text.split():
                votes[word] = votes.get(word, np.zeros(ITEMS)) + wanted - wanted.mean()
        return {word: found / (1.0 + np.abs(found).sum()) for word, found in votes.items()}


class NameVotes(Votes):
    """A sample is a text, with the tag of each word."""

    width = TOKENS
    kind = Names

    def truth(self, rows: pd.DataFrame) -> np.ndarray:
        return spans(said.split() for said in rows["said"])

    def said(self, predicted: pd.DataFrame, rows: pd.DataFrame) -> np.ndarray:
        places = predicted.to_numpy(np.int64)
        words = [len(text.split()) for text in rows["text"]]
        return spans(
            [TAGS[place] for place in of[:count]] for of, count in zip(places, words, strict=True)
        )

    def counted(self, rows: pd.DataFrame) -> dict[str, np.ndarray]:
        votes: dict[str, np.ndarray] = {}
        for said, text in zip(rows["said"], rows["text"], strict=True):
            for tag, word in zip(said.split(), text.split(), strict=True):
                votes.setdefault(word, np.zeros(len(TAGS)))[TAGS.index(tag)] += 1.0
        return votes


SEARCH = SearchVotes()
NAMES = NameVotes()
