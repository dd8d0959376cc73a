"""The family ``custom``, step by step: rows as the tabular families have them, the model its own.

Ingesting, checking, splitting, comparing and the monitor's reference are the tabular families'.
Fitting is the project's class, as often as the judge asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from noria.errors import OwnCodeError
from noria.spec import ModelSpec
from noria.tasks.custom.describe import CustomOptions, entry_of
from noria.tasks.custom.project import (
    files_elsewhere,
    files_in,
    read_files,
    trained_elsewhere,
    with_files,
)
from noria.tasks.package import Manifest
from noria.tasks.tabular.family import PreparedTabular, manifest_of
from noria.tasks.tabular.own_fit import OwnFit

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from noria.tasks.custom.dataset import Dataset
    from noria.tasks.custom.own_class import OwnClass
    from noria.tasks.custom.predictor import Answering, CustomPredictor
    from noria.tasks.tabular.evaluation import Measure

_TRIED: Final = 20
"""Rows that a saved model must answer as the fitted one did."""

_SAME: Final = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class FittedCustom:
    """A model of the project's own between ``fit`` and ``save``.

    ``code`` is what the package needs of the project's files, ``saved`` gives the model's own,
    ``tried`` (m, d) are a few of the encoded rows that it was fitted on.
    """

    manifest: Manifest
    model: Answering
    code: Mapping[str, str]
    tried: NDArray[np.float64]
    saved: Callable[[], Mapping[str, bytes]]

    @property
    def rows(self) -> int:
        """How many rows it was fitted on."""
        return self.manifest.rows

    @property
    def predictor(self) -> CustomPredictor:
        """The model as it is in memory."""
        from noria.tasks.custom.predictor import CustomPredictor

        return CustomPredictor(self.manifest, self.model)

    def files(self) -> dict[str, bytes]:
        """Return the files of the package, after they were loaded again.

        Raises:
            IntegrityError: One is a pickle, and ``allowPickle`` is false.
            OwnCodeError: ``save`` or ``load`` fails, or the model that is loaded says otherwise.
        """
        from noria.tasks.custom.predictor import CODE, MODEL, load
        from noria.tasks.pickles import refuse_pickles

        saved = self.saved()
        if self.manifest.options.get("allowPickle") is not True:
            refuse_pickles(saved, by=self.model.name)
        files = {CODE + name: text.encode("utf-8") for name, text in self.code.items()}
        files.update({MODEL + name: content for name, content in saved.items()})
        _refuse_another(self.predictor, load(self.manifest, files), self.tried)
        return files


class Custom(OwnFit):
    """A class or a command of the project's own; ``docs/custom.md`` says what it is given."""

    def ingest(self, spec: ModelSpec, base: Path, as_of: datetime | None) -> pd.DataFrame:
        """See ``TaskFamily.ingest``. A class that can't be used is refused before rows are read."""
        code, options = read_files(spec, base), _options(spec)
        if entry_of(options)[0]:
            _own_class(options, code)
        _measure(spec, code)
        trained_elsewhere(spec, base)
        return super().ingest(spec, base, as_of)

    def features(self, spec: ModelSpec, base: Path, rows: pd.DataFrame) -> pd.DataFrame:
        """See ``TaskFamily.features``; the project's code goes with the rows."""
        found = super().features(spec, base, rows)
        return with_files(found, read_files(spec, base), trained_elsewhere(spec, base))

    def measure_itself(self, spec: ModelSpec, frame: pd.DataFrame) -> Measure:
        """See ``Tabular.measure_itself``: by the functions of ``ownMetrics``."""
        return _measure(spec, files_in(frame))

    def code(self, train: pd.DataFrame) -> str:
        """See ``OwnFit.code``."""
        return "\0".join(f"{name}\0{text}" for name, text in sorted(files_in(train).items()))

    def fit(
        self,
        spec: ModelSpec,
        prepared: PreparedTabular,
        places: NDArray[np.int64],
        params: Mapping[str, Any],
        weight: NDArray[np.float64] | None,
    ) -> FittedCustom:
        """See ``TaskFamily.fit``.

        Raises:
            OwnCodeError: The class or the command fails.
        """
        import numpy as np

        from noria.tasks.custom.dataset import Dataset, frame_of
        from noria.tasks.custom.own_command import OwnCommand
        from noria.tasks.tabular.learn import slice_of

        code = files_in(prepared.frame)
        design = slice_of(spec, prepared.design, places, weight)
        classes = prepared.target.classes
        codes = design.target.astype(np.int64) if classes else np.zeros(0, np.int64)
        rows = Dataset(
            features=frame_of(prepared.features, design.matrix),
            target=np.array(classes)[codes] if classes else design.target,
            classes=classes,
            codes=codes,
            weights=design.weight,
            parameters=dict(params),
            seed=design.seed,
            threads=design.threads,
        )
        manifest = manifest_of(spec, prepared, places, spec.train.algorithm, params)
        options, tried = _options(spec), design.matrix[:_TRIED]
        if options.trained is not None:
            saved = files_elsewhere(prepared.frame)
            return _of_files(options, manifest, saved, options.trained, tried)
        if options.command:
            command = OwnCommand(options.command, code, manifest.target)
            return _of_files(options, manifest, command.fit(rows), command.name, tried)
        return _by_class(options, manifest, code, rows, tried)


def _options(spec: ModelSpec) -> CustomOptions:
    return cast("CustomOptions", spec.task.options)


def _measure(spec: ModelSpec, code: Mapping[str, str]) -> Measure:
    """Return what measures models by the project's own metrics.

    Raises:
        InvalidInput: A module fails, or has no such function.
    """
    from noria.tasks.custom.own_metrics import measure_by

    return measure_by(spec, _options(spec), code)


def _own_class(options: CustomOptions, code: Mapping[str, str]) -> OwnClass:
    """Return the project's class.

    Raises:
        InvalidInput: The module fails, or has no such class, or the class lacks a method.
    """
    from noria.tasks.custom.own_class import import_class

    file, name = entry_of(options)
    return import_class(file, code[file], name)


def _by_class(
    options: CustomOptions,
    manifest: Manifest,
    code: Mapping[str, str],
    rows: Dataset,
    tried: NDArray[np.float64],
) -> FittedCustom:
    # The class alone is served: what measures it stays where it was measured.
    code = {name: text for name, text in code.items() if name == entry_of(options)[0]}
    model = _own_class(options, code).fit(rows)
    entry = {**manifest.options, "model": ":".join(entry_of(options))}
    manifest = msgspec.structs.replace(manifest, options=entry)
    return FittedCustom(manifest, model, code, tried, model.files)


def _of_files(
    options: CustomOptions,
    manifest: Manifest,
    saved: Mapping[str, bytes],
    by: str,
    tried: NDArray[np.float64],
) -> FittedCustom:
    """Return the model that a command wrote, or that came from elsewhere.

    Its package has no code of the project: what was saved is all that is loaded.
    """
    from noria.tasks.custom.flavors import open_model
    from noria.tasks.pickles import refuse_pickles

    if not options.allow_pickle:
        refuse_pickles(saved, by=by)
    return FittedCustom(manifest, open_model(saved, manifest), {}, tried, lambda: saved)


def _refuse_another(
    fitted: CustomPredictor, loaded: CustomPredictor, rows: NDArray[np.float64]
) -> None:
    """Refuse a model that answers otherwise once it was saved and loaded.

    Raises:
        OwnCodeError: It does, by more than a change of precision.
    """
    import numpy as np

    from noria.tasks.tabular.evaluation import scores

    before, after = scores(fitted, rows), scores(loaded, rows)
    scale = 1.0 if fitted.manifest.classes else float(np.abs(before).max(initial=0.0))
    close = np.isclose(before, after, rtol=_SAME, atol=_SAME * scale)
    if not close.all():
        place = tuple(np.argwhere(~close)[0])
        raise OwnCodeError(
            f"{fitted.model.name} says {before[place]:g} of a row, and {after[place]:g} once the "
            "model was saved and loaded",
            fix="let save write all that predict reads, and load read it",
        )


LEARNER: Final = Custom()
