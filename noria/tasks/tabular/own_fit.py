"""The steps of a table family whose fit is its own: what other families of rows begin with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from noria.spec import ModelSpec
from noria.tasks.protocol import Check, TuneResult, ValidationReport
from noria.tasks.tabular.family import FittedMatrix, PreparedTabular, Tabular

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from noria.tasks.tabular.folds import Fold
    from noria.tasks.tabular.schema import Target


class OwnFit(Tabular, ABC):
    """A ``TaskFamily`` of rows of columns: all of it but ``fit``."""

    most_levels = 0  # beyond those of the manifest's tables, which a fit of its own reads

    @abstractmethod
    def fit(
        self,
        spec: ModelSpec,
        prepared: PreparedTabular,
        places: NDArray[np.int64],
        params: Mapping[str, Any],
        weight: NDArray[np.float64] | None,
    ) -> FittedMatrix:
        """See ``TaskFamily.fit``.

        ``prepared.design.matrix`` (n, d) has all rows, encoded as ``noria.tasks.encoding``
        says, ``prepared.target`` their values or codes; ``manifest_of`` describes the model.
        """
        ...

    def tune(self, spec: ModelSpec, train: pd.DataFrame, workdir: Path) -> TuneResult:
        """See ``TaskFamily.tune``; a trial is a ``fit`` for each fold."""
        if spec.train.search.kind == "none":
            return TuneResult(dict(spec.train.hyperparameters))
        from noria.tasks.tabular.evaluation import read_by
        from noria.tasks.tabular.tuning import tuned

        prepared, metric = self.prepare(spec, train), spec.metric(spec.train.search.metric)

        def ask(params: Mapping[str, Any], fold: Fold) -> NDArray[np.float64]:
            fitted = self.fit(spec, prepared, fold.train, params, None)
            return cast(
                "NDArray[np.float64]",
                read_by(metric, self.predict(spec, fitted, prepared, fold.test)),
            )

        return tuned(spec, prepared.design, prepared.facts, ask, workdir, self.code(train))

    def chooses(self, spec: ModelSpec) -> bool:  # noqa: ARG002 - what there is to find it knows
        """See ``Choosing``: nothing."""
        return False

    def code(self, train: pd.DataFrame) -> str:  # noqa: ARG002 - most have none
        """Return what a search depends on beside rows and spec, such as the project's own code."""
        return ""

    def with_rounds(
        self,
        spec: ModelSpec,  # noqa: ARG002 - whatever it says
        params: Mapping[str, Any],  # noqa: ARG002
        times: float,  # noqa: ARG002
    ) -> dict[str, Any] | None:
        """See ``TaskFamily.with_rounds``: what a round is, only the fit knows."""
        return None


class Unlabelled(OwnFit):
    """An ``OwnFit`` that learns without labels; where a column has some, they judge."""

    @abstractmethod
    def labels(self, spec: ModelSpec, rows: pd.DataFrame) -> NDArray[np.float64]:
        """Return the label of n rows, (n,), NaN where nobody said.

        Raises:
            DataError: One can't be read; the message names column, row and value.
        """
        ...

    @abstractmethod
    def about(self, labels: NDArray[np.float64]) -> str:
        """Return what the labels of n rows are, in a few words."""
        ...

    def validate(self, spec: ModelSpec, rows: pd.DataFrame) -> ValidationReport:
        """See ``TaskFamily.validate``."""
        import numpy as np

        from noria.tasks.tabular.validation import category_checks, checked

        rows, features, checks = checked(spec, rows)
        labels = self.labels(spec, rows)
        if spec.data.target is not None:
            known = int((~np.isnan(labels)).sum())
            said = f"{known} of {len(rows)} rows are labelled, {self.about(labels)}"
            checks.append(Check("target", said))
        checks.extend(category_checks(features, rows))
        return ValidationReport(len(rows), tuple(checks))

    def target(self, spec: ModelSpec, frame: pd.DataFrame) -> Target:
        """See ``Tabular.target``: rows are split by their labels, nothing is learnt from them."""
        import numpy as np

        from noria.tasks.tabular.schema import Target

        known = np.nan_to_num(self.labels(spec, frame))
        return Target(known, np.zeros(0, np.int64), ())
