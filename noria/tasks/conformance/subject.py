"""The family that is checked, and what the checks made with it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, Final

import yaml

from noria.errors import NoriaError
from noria.spec import Model, parse_model
from noria.spec.family import Family
from noria.tasks.families import family as learner_of
from noria.tasks.families import load

if TYPE_CHECKING:
    import pandas as pd

    from noria.tasks.candidate import Made

NAME: Final = "checked"
OLDER: Final = 0.8
"""Share of the rows, the oldest, that the champion of the checks knows."""


class Unmet(NoriaError):
    """What a check expects is not so."""


def expect(holds: object, said: str) -> None:
    """Raise ``Unmet`` with what was found unless a check's condition holds."""
    if not holds:
        raise Unmet(said)


class Subject:
    """The family that is checked, and what the checks made with it so far."""

    def __init__(self, path: str, family: Family, folder: Path) -> None:
        self.path = path
        self.family = family
        self.folder = folder

    @cached_property
    def resource(self) -> dict[str, Any]:
        """The ``model.yaml`` of the template, as plain values."""
        text = Template(load(self.family, self.family.template)["model.yaml"])
        found: dict[str, Any] = yaml.safe_load(text.safe_substitute(name=NAME))
        return found

    @property
    def searched(self) -> Mapping[str, Any]:
        """What the template searches: of hyperparameters that only the project knows."""
        if "model.yaml" not in load(self.family, self.family.template):
            return {}
        return self.model.spec.train.search.space

    @cached_property
    def model(self) -> Model:
        """The resource of the template."""
        return parse_model(self.resource)

    @cached_property
    def project(self) -> Path:
        """A folder with the template's files and the rows that its ``data.py`` makes."""
        folder = self.folder / "project"
        folder.mkdir()
        for name, text in load(self.family, self.family.template).items():
            (folder / name).write_text(Template(text).safe_substitute(name=NAME), "utf-8")
        if (folder / "data.py").is_file():
            command = [sys.executable, "data.py"]
            ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            expect(ran.returncode == 0, f"data.py failed: {ran.stderr.strip()[-300:]}")
        return folder

    @cached_property
    def trained(self) -> Trained:
        """One fit, and what it said of the rows held out."""
        return train(self)

    @cached_property
    def champion(self) -> Made:
        """What a run makes of the oldest rows, when there is no version yet."""
        frame = self.trained.frame
        return self._made("champion", frame.iloc[: round(len(frame) * OLDER)], None)

    @cached_property
    def candidate(self) -> Made:
        """What a run makes of all rows, against the champion."""
        return self._made("candidate", self.trained.frame, self.champion.package)

    def _made(self, name: str, frame: pd.DataFrame, champion: Path | None) -> Made:
        from noria.tasks.candidate import make_candidate

        spec = self.model.spec
        # One recipe: which of several is taken is the judge's affair and none of the family's.
        every = spec.retraining.train_on.model_copy(update={"kind": "all"})
        retraining = spec.retraining.model_copy(update={"train_on": every})
        return make_candidate(
            self.trained.learner,
            spec.model_copy(update={"retraining": retraining}),
            frame,
            champion,
            self.folder / name,
            model=NAME,
            params=self.trained.params,
        )


@dataclass(frozen=True, slots=True)
class Trained:
    """A fit of the template's rows, and all that it came from."""

    learner: Any
    params: Mapping[str, Any]
    prepared: Any
    frame: Any
    test: Any
    places: Any
    held_out: Any
    fit: Callable[[], Any]
    package: Path


def train(subject: Subject) -> Trained:
    """Fit on the rows of the template, step by step."""
    from noria.tasks.candidate import places_of
    from noria.tasks.held_out import BLOCK, HeldOut
    from noria.tasks.protocol import Choice

    spec, base = subject.model.spec, subject.project
    learner = learner_of(subject.family.name)
    rows = learner.ingest(spec, base, None)
    learner.validate(spec, rows)
    frame = learner.features(spec, base, rows).reset_index(drop=True)
    parts = learner.split(spec, frame, None)
    params = learner.tune(spec, parts.train, subject.folder / "search").params
    prepared, places = learner.prepare(spec, frame), places_of(parts.test)

    def fit() -> Any:
        return learner.fit(spec, prepared, places_of(parts.train), params, None)

    fitted, package = fit(), subject.folder / "package"
    learner.save(spec, fitted, package, model=NAME)
    said = learner.predict(spec, fitted, prepared, places)
    held_out = HeldOut(said.assign(**{BLOCK: 0}), Choice())
    return Trained(learner, params, prepared, frame, parts.test, places, held_out, fit, package)
