"""Counts words. The frames that the steps hand on have the columns ``text`` and ``good``."""

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from noria.errors import DataError
from noria.measures.measuring import measure
from noria.spec import ModelSpec
from noria.tasks.package import Input, Manifest, Output, load_predictor, write_package
from noria.tasks.protocol import Evaluation, Split, TuneResult, ValidationReport
from toy_text.predictor import FILE, Votes


@dataclass(frozen=True)
class Fitted:
    """A model between ``fit`` and ``save``."""

    votes: Votes
    rows: int


class ToyText:
    """The part of ``noria.tasks.protocol.TaskFamily`` that needs no champion and no reference."""

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
        pairs = [line.split("\t", 1) for line in lines]
        return pd.DataFrame(
            {"text": [text for _, text in pairs], "good": [label == "good" for label, _ in pairs]}
        )

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
        return TuneResult(dict(spec.train.hyperparameters))

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
        counts: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
        for text, good in prepared.iloc[places][["text", "good"]].itertuples(index=False):
            counts[bool(good)].update((text.lower() if lower else text).split())
        votes = {
            word: math.log(counts[True][word] + smoothing)
            - math.log(counts[False][word] + smoothing)
            for word in sorted(counts[True] | counts[False])
        }
        manifest = Manifest(
            model="",
            family=spec.task.family,
            algorithm=spec.train.algorithm,
            inputs=(Input("text", "BYTES", "text"),),
            outputs=(Output("probability", "FP64"),),
            features=(),
            options=spec.task.options.model_dump(mode="json", by_alias=True),
            rows=len(places),
            parameters=dict(params),
        )
        return Fitted(Votes(manifest, votes), len(places))

    def predict(
        self, spec: ModelSpec, model: Fitted | Path, prepared: pd.DataFrame, places: np.ndarray
    ) -> pd.DataFrame:
        votes = load_predictor(model) if isinstance(model, Path) else model.votes
        return pd.DataFrame(votes.predict({"text": prepared["text"].iloc[places]}))

    def evaluate(
        self,
        spec: ModelSpec,
        candidate: Path,
        test: pd.DataFrame,
        held_out: Any,
        champion: Path | None,
        plots_dir: Path | None,
    ) -> Evaluation:
        truth = test["good"].to_numpy(np.float64)
        said = held_out.model["probability"].to_numpy()
        found = {metric.name: measure(metric.name, truth, said) for metric in spec.metrics}
        return Evaluation(len(test), found, {})

    def save(
        self, spec: ModelSpec, fitted: Fitted, package: Path, *, model: str = "", recipe: str = ""
    ) -> Manifest:
        manifest = msgspec.structs.replace(fitted.votes.manifest, model=model, recipe=recipe)
        return write_package(package, manifest, {FILE: json.dumps(fitted.votes.votes).encode()})


LEARNER = ToyText()
