"""The family ``clustering``, step by step; rows are read as the tabular families read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from noria.errors import DataError
from noria.spec import ModelSpec
from noria.tasks.clustering import CLUSTER, DISTANCE, name_of
from noria.tasks.clustering.describe import CLUSTERS, options_of
from noria.tasks.fitted import FittedPredictor
from noria.tasks.package import Feature, Manifest, Output
from noria.tasks.protocol import Comparison, Evaluation, Trial, TuneResult
from noria.tasks.tabular.family import FittedMatrix, PreparedTabular, manifest_of
from noria.tasks.tabular.own_fit import Unlabelled

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from noria.tasks.clustering.assign import Clustering as Grouping
    from noria.tasks.clustering.judged import Held
    from noria.tasks.clustering.predictor import Clusters
    from noria.tasks.clustering.space import Space
    from noria.tasks.held_out import HeldOut

MOST_KEPT: Final = 2_000
"""Rows that the clusters of two versions are matched by."""


@dataclass(frozen=True, slots=True, eq=False)
class Fitted(FittedPredictor["Clusters"]):
    """Clusters between ``fit`` and ``save``, with some of the rows (m, d) they were found among."""

    sample: pd.DataFrame


class Clustering(Unlabelled):
    """See ``noria.tasks.protocol.TaskFamily`` and ``Continuing``."""

    def labels(self, spec: ModelSpec, rows: pd.DataFrame) -> NDArray[np.float64]:
        """See ``Unlabelled.labels``."""
        from noria.tasks.clustering.labels import labels_of

        return labels_of(spec, rows)

    def about(self, labels: NDArray[np.float64]) -> str:
        """See ``Unlabelled.about``."""
        import numpy as np

        return f"of {np.unique(labels[~np.isnan(labels)]).size} groups"

    def tune(self, spec: ModelSpec, train: pd.DataFrame, workdir: Path) -> TuneResult:
        """See ``TaskFamily.tune``: how many clusters there are, or a search by silhouette."""
        if spec.train.search.kind != "none":
            return self._searched(spec, train, workdir)
        given, options = dict(spec.train.hyperparameters), options_of(spec)
        if options.clusters is not None or CLUSTERS in given:
            return TuneResult(given)
        from noria.tasks.clustering.choice import choose
        from noria.tasks.tabular.threads import limited_to

        prepared = self.prepare(spec, train.reset_index(drop=True))
        matrix, seed = prepared.design.matrix, spec.train.seed
        space = self._space(spec, prepared, matrix)
        with limited_to(1):
            found = choose(spec.train.algorithm, space, matrix, options.at_most, given, seed)
        trials = tuple(
            Trial(
                number, {**given, **one.params, CLUSTERS: one.clusters}, one.silhouette, "complete"
            )
            for number, one in enumerate(found.tried)
        )
        chosen = {**given, **found.params, CLUSTERS: found.clusters}
        best = next((trial.value for trial in trials if trial.params == chosen), None)
        return TuneResult(chosen, trials, best, spec.family.default_metric)

    def _searched(self, spec: ModelSpec, train: pd.DataFrame, workdir: Path) -> TuneResult:
        """Search by the silhouettes of the newest third, or of every third row."""
        import numpy as np

        from noria.tasks.search import searched

        train = train.reset_index(drop=True)
        prepared = self.prepare(spec, train)
        order = np.arange(len(train))
        held = order % 3 == 2 if prepared.facts.event is None else order >= len(train) * 2 // 3
        older, newer = np.flatnonzero(~held), np.flatnonzero(held)
        metric = spec.train.search.metric

        def score(params: Mapping[str, Any], fold: int) -> float:  # noqa: ARG001 - there is one
            fitted = self.fit(spec, prepared, older, params, None)
            said = self.predict(spec, fitted, prepared, newer)
            rows = self._held(fitted.predictor, prepared, newer, None, spec).of_rows(said)
            return float(rows[metric].mean())

        return searched(spec, score, 1, workdir, prepared.design.matrix.tobytes())

    def fit(
        self,
        spec: ModelSpec,
        prepared: PreparedTabular,
        places: NDArray[np.int64],
        params: Mapping[str, Any],
        weight: NDArray[np.float64] | None,
    ) -> Fitted:
        """See ``TaskFamily.fit``. A row of less weight is left out the likelier."""
        import numpy as np

        from noria.tasks.clustering.choice import MOST_CHOSEN_BY, choose
        from noria.tasks.clustering.finding import drawn, find
        from noria.tasks.clustering.predictor import Clusters, Settings
        from noria.tasks.clustering.profile import profiles_of
        from noria.tasks.clustering.stability import stabilities
        from noria.tasks.tabular.threads import limited_to

        seed, algorithm, options = spec.train.seed, spec.train.algorithm, options_of(spec)
        kept = places
        if weight is not None:
            chance = np.random.default_rng(seed).random(places.size)
            kept = places[chance < weight / weight.max()]
        matrix = prepared.design.matrix[kept]
        _refuse_empty(prepared.features, matrix)
        space = self._space(spec, prepared, matrix)
        points = space.points(matrix)
        known = {name: value for name, value in params.items() if name != CLUSTERS}
        clusters, why = _asked(spec, params)
        with limited_to(1):
            if not clusters:
                found = choose(algorithm, space, matrix, options.at_most, known, seed)
                clusters, why, known = found.clusters, found.why, {**known, **found.params}
            clustering = find(algorithm, points, clusters, known, seed)
            some = drawn(points, MOST_CHOSEN_BY, seed)
            stable = np.full(clustering.clusters, np.nan)
            if clustering.clusters > 1:
                own = clustering.assign(some).cluster
                again = partial(_again, algorithm, clusters, known)
                stable[: own.max() + 1] = stabilities(some, own, again, seed)
        manifest = _manifest(spec, prepared, places, params, clustering.clusters)
        profiles = profiles_of(prepared.features, matrix, clustering.assign(points), stable)
        settings = Settings(profiles, used=len(profiles), why=why)
        sample = prepared.frame.iloc[_spread(kept, MOST_KEPT)]
        return Fitted(Clusters(manifest, space, clustering, settings), sample)

    def continued(self, spec: ModelSpec, fitted: Fitted, package: Path) -> Fitted:
        """See ``Continuing``: a cluster keeps the number of the one before that it overlaps."""
        del spec
        from noria.tasks.clustering.judged import open_clusters
        from noria.tasks.clustering.numbering import matched, unmatched
        from noria.tasks.tabular.evaluation import encode

        model = fitted.predictor
        try:
            before = open_clusters(package)
            theirs = before.within_reach(before.assigned(encode(before, fitted.sample)))
        except DataError as error:
            settings = unmatched(model.settings, str(error))
        else:
            ours = model.assigned(encode(model, fitted.sample)).cluster
            settings = matched(model.settings, before.settings, ours, theirs)
        numbers = [profile.number for profile in settings.profiles]
        manifest = _watching(model.manifest, numbers)
        return replace(fitted, predictor=replace(model, manifest=manifest, settings=settings))

    def fit_baseline(
        self,
        spec: ModelSpec,  # noqa: ARG002 - whatever it says
        prepared: PreparedTabular,  # noqa: ARG002
        places: NDArray[np.int64],  # noqa: ARG002
    ) -> None:
        """See ``TaskFamily.fit_baseline``: there is none, as one cluster has no silhouette."""
        return

    def predict(
        self,
        spec: ModelSpec,  # noqa: ARG002 - everything is in the package
        model: FittedMatrix | Path,
        prepared: PreparedTabular,
        places: NDArray[np.int64],
    ) -> pd.DataFrame:
        """See ``TaskFamily.predict``."""
        from noria.tasks.clustering.judged import open_clusters, to_frame
        from noria.tasks.tabular.evaluation import encode

        if isinstance(model, Path):
            clusters = open_clusters(model)
            matrix = encode(clusters, prepared.frame.iloc[places])
        else:
            clusters = cast("Clusters", model.predictor)
            matrix = prepared.design.matrix[places]
        return to_frame(clusters, clusters.assigned(matrix))

    def compare(
        self,
        spec: ModelSpec,
        prepared: PreparedTabular,
        places: NDArray[np.int64],
        ours: pd.DataFrame,
        theirs: pd.DataFrame,
        block: NDArray[np.int64] | None = None,
    ) -> Comparison:
        """See ``TaskFamily.compare``."""
        from noria.tasks.champion import recipe_gate

        held = self._held(None, prepared, places, block, spec)
        (found,) = held.compared(spec, (recipe_gate(spec),), ours, theirs)
        return found

    def evaluate(
        self,
        spec: ModelSpec,
        candidate: Path,
        test: pd.DataFrame,
        held_out: HeldOut,
        champion: Path | None,
        plots_dir: Path | None,
    ) -> Evaluation:
        """See ``TaskFamily.evaluate``."""
        from noria.tasks.clustering.judged import evaluate

        return evaluate(spec, candidate, test, held_out, champion, plots_dir)

    def reference(
        self,
        spec: ModelSpec,
        package: Path,
        frame: pd.DataFrame,
        test: pd.DataFrame,
        held_out: HeldOut,
        out_dir: Path,
    ) -> None:
        """See ``TaskFamily.reference``: the clusters and distances are those of the package."""
        import numpy as np

        from noria.tasks.clustering.judged import Held, open_clusters
        from noria.tasks.clustering.labels import labels_of
        from noria.tasks.held_out import BLOCK
        from noria.tasks.reference import write_reference
        from noria.tasks.tabular.evaluation import encode
        from noria.tasks.tabular.schema import columns_of
        from noria.tasks.tabular.seen import fitted_on

        model = open_clusters(package)
        frame = fitted_on(spec, model.manifest, frame)
        found = model.answers(model.assigned(encode(model, frame), among=True))
        columns = columns_of(model.manifest.features, spec.data.event_time, frame)
        matrix = encode(model, test)
        block = held_out.rows[BLOCK].to_numpy(np.int64)
        labels = labels_of(spec, test)
        held = Held(model.space.points(matrix), block, spec.train.seed, labels)
        write_reference(
            out_dir,
            model.manifest,
            {**columns, CLUSTER: found[CLUSTER], DISTANCE: found["distance"]},
            model.answers(model.assigned(matrix, among=True))["prediction"].astype(np.float64),
            held.measured(spec, held_out.model),
            spec.monitoring.reference_rows,
        )

    def _space(
        self, spec: ModelSpec, prepared: PreparedTabular, matrix: NDArray[np.float64]
    ) -> Space:
        from noria.tasks.clustering.space import Space

        options = options_of(spec)
        explained = options.explained if options.reduce == "pca" else None
        return Space.of(prepared.features, matrix, explained)

    def _held(
        self,
        model: Clusters | None,
        prepared: PreparedTabular,
        places: NDArray[np.int64],
        block: NDArray[np.int64] | None,
        spec: ModelSpec,
    ) -> Held:
        """Return prepared rows in the space of a model; None: in that of all prepared rows."""
        import numpy as np

        from noria.tasks.clustering.judged import Held
        from noria.tasks.clustering.labels import labels_of

        matrix = prepared.design.matrix
        space = self._space(spec, prepared, matrix) if model is None else model.space
        alone = np.zeros(places.size, np.int64)
        points = space.points(matrix[places])
        labels = labels_of(spec, prepared.frame.iloc[places])
        return Held(points, alone if block is None else block, spec.train.seed, labels)


def _asked(spec: ModelSpec, params: Mapping[str, Any]) -> tuple[int, str]:
    """Return how many clusters are asked for, and why; 0: nobody has said."""
    options = options_of(spec)
    if options.clusters is not None or CLUSTERS in spec.train.hyperparameters:
        return int(params.get(CLUSTERS, options.clusters or 0)), "so many were asked for"
    if spec.train.search.kind != "none":
        return int(params.get(CLUSTERS, 0)), "so many have the best silhouette"
    return int(params.get(CLUSTERS, 0)), "chosen by silhouette and stability"


def _again(
    algorithm: str,
    clusters: int,
    params: Mapping[str, Any],
    points: NDArray[np.float64],
    seed: int,
) -> Grouping:
    from noria.tasks.clustering.finding import find

    return find(algorithm, points, clusters, params, seed)


def _manifest(
    spec: ModelSpec,
    prepared: PreparedTabular,
    places: NDArray[np.int64],
    params: Mapping[str, Any],
    clusters: int,
) -> Manifest:
    algorithm = spec.train.algorithm
    made = manifest_of(spec, prepared, places, algorithm, params)
    outputs = (
        Output("prediction", "INT64"),
        Output(CLUSTER, "BYTES"),
        Output("distance", "FP64"),
        *(
            (Output("membership", "FP64"),)
            if algorithm == "gaussian-mixture" and clusters > 1
            else ()
        ),
    )
    made = msgspec.structs.replace(made, outputs=outputs)
    return _watching(made, range(1, clusters + 1))


def _watching(manifest: Manifest, numbers: Any) -> Manifest:
    """Return a manifest whose descriptors have clusters of these numbers."""
    names = sorted(map(name_of, (*numbers, 0)))
    kept = manifest.features_read
    described = (
        Feature(CLUSTER, "categorical", "descriptor", tuple(names)),
        Feature(DISTANCE, "numeric", "descriptor"),
    )
    return msgspec.structs.replace(manifest, features=(*kept, *described))


def _refuse_empty(features: tuple[Feature, ...], matrix: NDArray[np.float64]) -> None:
    """Refuse rows of which nothing can be said.

    Raises:
        DataError: No column has two different values.
    """
    import numpy as np

    known = [column[~np.isnan(column)] for column in matrix.T]
    if not any(column.size and np.ptp(column) > 0.0 for column in known):
        names = ", ".join(feature.name for feature in features)
        raise DataError(
            f"spec.data.features: {names}: each is the same in all {len(matrix)} rows",
            fix="give columns in which rows differ",
        )


def _spread(places: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Return at most so many of places, evenly."""
    import numpy as np

    if places.size <= most:
        return places
    return places[np.linspace(0, places.size - 1, most).astype(np.int64)]


LEARNER: Final = Clustering()
