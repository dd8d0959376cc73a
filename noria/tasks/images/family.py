"""The family ``image-classification``, step by step; see ``noria.tasks.protocol.TaskFamily``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from noria.errors import DataError
from noria.spec import ModelSpec
from noria.tasks.images import DESCRIPTORS, ENTROPY, IMAGE
from noria.tasks.images.describe import options_of
from noria.tasks.package import Feature, Input, Manifest, read_manifest
from noria.tasks.protocol import Check, Evaluation, ValidationReport
from noria.tasks.tabular.family import PreparedTabular, manifest_of
from noria.tasks.tabular.own_fit import OwnFit

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from noria.tasks.held_out import HeldOut
    from noria.tasks.tabular.family import FittedMatrix

_WEIGHTS: Final = "noria.weights"
"""The attribute of a frame that says where the backbone's weights lie."""


class Images(OwnFit):
    """Pictures with one class each; splits, judging and metrics are those of tables."""

    def request_columns(self, spec: ModelSpec) -> list[str]:
        """See ``TaskFamily.request_columns``."""
        return [IMAGE, *spec.data.request_columns()]

    def ingest(self, spec: ModelSpec, base: Path, as_of: datetime | None) -> pd.DataFrame:
        """See ``TaskFamily.ingest``; the column ``image`` has the bytes of each file."""
        from noria.tasks.images.reading import labelled_pictures

        return labelled_pictures(spec, base, as_of)

    def validate(self, spec: ModelSpec, rows: pd.DataFrame) -> ValidationReport:
        """See ``TaskFamily.validate``: which pictures can't be read, and which are there twice."""
        import numpy as np

        from noria.tasks.images.checking import checks_of

        least = spec.data.validation.min_rows
        if len(rows) < least:
            raise DataError(
                f"spec.data.validation.minRows: {len(rows)} labelled pictures, and at least "
                f"{least} are asked for",
                fix="give more, or a lower minRows",
            )
        target = self.target(spec, rows)
        counts = np.bincount(target.codes, minlength=len(target.classes))
        shares = ", ".join(
            f"{label}: {count}" for label, count in zip(target.classes, counts, strict=True)
        )
        found = checks_of(spec, rows, self.split)
        return ValidationReport(len(rows), (Check("target", shares), *found))

    def features(self, spec: ModelSpec, base: Path, rows: pd.DataFrame) -> pd.DataFrame:
        """See ``TaskFamily.features``: rows whose picture can't be read are left out."""
        from noria.tasks.images.checking import readable

        found = rows[readable(spec, rows)].reset_index(drop=True)
        weights = options_of(spec).weights
        if weights not in (None, "hub"):
            found.attrs[_WEIGHTS] = str((base / weights).resolve())
        return found

    def prepare(self, spec: ModelSpec, frame: pd.DataFrame) -> PreparedTabular:
        """See ``TaskFamily.prepare``: the pictures are decoded once."""
        from noria.tasks.images.pixels import pictures_of, shape_of
        from noria.tasks.images.reading import named
        from noria.tasks.tabular.fit import Design
        from noria.tasks.tabular.learn import facts_of

        target = self.target(spec, frame)
        found = pictures_of(frame[IMAGE].to_numpy(object), shape_of(spec))
        for row, error in found.faults.items():
            raise DataError(f"{named(frame, row)}: the picture {error.message}", fix=error.fix)
        design = Design(
            matrix=cast("NDArray[np.float64]", found.matrix),
            target=target.values,
            classes=len(target.classes),
            categories=(),
            weight=None,
            seed=spec.train.seed,
            threads=1,
        )
        features = (
            Feature(IMAGE, "image"),
            *(Feature(name, "numeric", "descriptor") for name in DESCRIPTORS),
        )
        return PreparedTabular(frame, target, features, design, facts_of(spec, frame, target))

    def fit(
        self,
        spec: ModelSpec,
        prepared: PreparedTabular,
        places: NDArray[np.int64],
        params: Mapping[str, Any],
        weight: NDArray[np.float64] | None,
    ) -> FittedMatrix:
        """See ``TaskFamily.fit``."""
        from noria.tasks.images.fitting import fit_linear, fit_network

        manifest = _manifest(spec, prepared, places, spec.train.algorithm, params)
        matrix: Any = prepared.design.matrix[places]
        codes, weights = prepared.target.codes[places], _weights(prepared.frame)
        if spec.train.algorithm == "logistic":
            linear: Any = fit_linear(spec, manifest, matrix, codes, params, weight, weights)
            return cast("FittedMatrix", linear)
        facts = prepared.facts.take(places)
        found: Any = fit_network(spec, manifest, matrix, codes, facts, params, weight, weights)
        return cast("FittedMatrix", found)

    def fit_baseline(
        self, spec: ModelSpec, prepared: PreparedTabular, places: NDArray[np.int64]
    ) -> FittedMatrix:
        """See ``TaskFamily.fit_baseline``: logistic regression, of some of the rows."""
        import numpy as np

        from noria.tasks.images.fitting import BASELINE_ROWS, fit_linear

        if places.size > BASELINE_ROWS:
            drawn = np.random.default_rng(spec.train.seed).permutation(places.size)
            places = places[np.sort(drawn[:BASELINE_ROWS])]
        manifest = _manifest(spec, prepared, places, "logistic", {})
        matrix: Any = prepared.design.matrix[places]
        codes = prepared.target.codes[places]
        found: Any = fit_linear(spec, manifest, matrix, codes, {}, None, _weights(prepared.frame))
        return cast("FittedMatrix", found)

    def evaluate(
        self,
        spec: ModelSpec,
        candidate: Path,
        test: pd.DataFrame,
        held_out: HeldOut,
        champion: Path | None,
        plots_dir: Path | None,
    ) -> Evaluation:
        """See ``TaskFamily.evaluate``; with how the epochs went, and what it got most wrong."""
        from noria.tasks.images.plots import draw, notes_of

        found = super().evaluate(spec, candidate, test, held_out, champion, plots_dir)
        plots = found.plots
        if plots_dir is not None:
            plots = (*plots, *draw(plots_dir, spec, candidate, test, held_out))
        return msgspec.structs.replace(found, plots=plots, notes=notes_of(spec, candidate))

    def reference(
        self,
        spec: ModelSpec,
        package: Path,
        frame: pd.DataFrame,
        test: pd.DataFrame,
        held_out: HeldOut,
        out_dir: Path,
    ) -> None:
        """See ``TaskFamily.reference``: the pictures are those held out, and not all.

        Of pictures that it was fitted on the model is surer than of others.
        """
        from noria.tasks.images.pixels import described, entropy, pictures_of, shape_of
        from noria.tasks.reference import write_reference
        from noria.tasks.tabular.evaluation import measured, said_of, truth_of

        del frame
        manifest = read_manifest(package)
        shape, said = shape_of(spec), said_of(held_out.model)
        found = pictures_of(test[IMAGE].to_numpy(object), shape)
        columns = {**described(found.matrix, found.sizes, shape), ENTROPY: entropy(said)}
        performance = measured(spec, truth_of(spec, manifest.classes, test), held_out.model)
        most = spec.monitoring.reference_rows
        write_reference(out_dir, manifest, columns, said, performance, most)


def _manifest(
    spec: ModelSpec,
    prepared: PreparedTabular,
    places: NDArray[np.int64],
    algorithm: str,
    params: Mapping[str, Any],
) -> Manifest:
    made = manifest_of(spec, prepared, places, algorithm, params)
    return msgspec.structs.replace(
        made,
        inputs=(Input(IMAGE, "BYTES", "image"), *made.inputs),
        # A request without a picture can't be answered.
        options={**made.options, "allowMissing": False},
    )


def _weights(frame: pd.DataFrame) -> Any:
    """Return the tensors that the backbone starts from; None: it starts from nothing."""
    path = frame.attrs.get(_WEIGHTS)
    if path is None:
        return None
    from noria.tasks.images.fitting import read_weights

    return read_weights(Path(path))


LEARNER: Final = Images()
