"""The steps of a family whose samples are made of a long table, and judged by what came later.

A row of its frames is a sample: a moment, what was known then, and what came of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from noria.errors import DataError, LeakageError
from noria.spec import ModelSpec
from noria.tasks.fitted import Packable, save
from noria.tasks.package import Manifest, read_manifest
from noria.tasks.protocol import Comparison, Evaluation, Split, TuneResult

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from noria.measures.catalog import Metric
    from noria.measures.measurement import Measurement
    from noria.spec import ChampionGate
    from noria.tasks.held_out import HeldOut

S = TypeVar("S")
F = TypeVar("F", bound=Packable)


@dataclass(frozen=True, slots=True)
class Words:
    """What a family calls its own: ``values`` of a table, a ``sample``, its ``moments``.

    A model ``says`` so many ``parts`` of each sample.
    """

    values: str
    sample: str
    moments: str
    says: str
    parts: str


class Sampled(ABC, Generic[S, F]):
    """A ``TaskFamily`` of samples ``S`` and fitted models ``F``: what does not depend on them."""

    words: ClassVar[Words]

    @abstractmethod
    def prepare(self, spec: ModelSpec, frame: pd.DataFrame) -> S:
        """See ``TaskFamily.prepare``."""
        ...

    @abstractmethod
    def predict(
        self, spec: ModelSpec, model: F | Path, prepared: S, places: NDArray[np.int64]
    ) -> pd.DataFrame:
        """See ``TaskFamily.predict``."""
        ...

    @abstractmethod
    def truth(self, samples: S) -> NDArray[np.float64]:
        """Return what came of n samples, (n, k)."""
        ...

    @abstractmethod
    def content(self, samples: S) -> Sequence[NDArray[Any]]:
        """Return the numbers that tell samples from others, for the name of a search."""
        ...

    @abstractmethod
    def known_until(self, spec: ModelSpec, manifest: Manifest) -> int | None:
        """Return how late the values are that a model knows, milliseconds; None: it knows none."""
        ...

    def new_to(self, until: int, event: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Say of n moments whether what came of them is new to a model, (n,)."""
        return event >= until

    @abstractmethod
    def measured(
        self, spec: ModelSpec, samples: S, places: NDArray[np.int64], said: pd.DataFrame
    ) -> dict[str, Measurement]:
        """Return every metric of the family, with 95 % intervals."""
        ...

    @abstractmethod
    def compared(
        self,
        spec: ModelSpec,
        gates: Sequence[ChampionGate],
        samples: S,
        places: NDArray[np.int64],
        ours: pd.DataFrame,
        theirs: pd.DataFrame,
        block: NDArray[np.int64] | None,
    ) -> tuple[Comparison, ...]:
        """Return a paired comparison per gate of what two models say of the same samples."""
        ...

    @abstractmethod
    def searches(self, spec: ModelSpec) -> bool:
        """Say whether the algorithm has something to search."""
        ...

    @abstractmethod
    def searched_on(
        self, spec: ModelSpec, samples: S, places: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the samples that a trial learns from, and those that it is measured on."""
        ...

    @abstractmethod
    def tried(
        self,
        spec: ModelSpec,
        samples: S,
        older: NDArray[np.int64],
        newer: NDArray[np.int64],
        params: Mapping[str, Any],
        metric: Metric,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return truth and what a fit on the older samples says of the newer, as a metric reads."""
        ...

    def distributes(self, spec: ModelSpec) -> bool:  # noqa: ARG002 - none of its methods does
        """Whether the algorithm trains on several nodes: none does."""
        return False

    def with_rounds(
        self,
        spec: ModelSpec,  # noqa: ARG002 - whatever it says
        params: Mapping[str, Any],  # noqa: ARG002
        times: float,  # noqa: ARG002
    ) -> dict[str, Any] | None:
        """See ``TaskFamily.with_rounds``: no method's rounds are a recipe's."""
        return None

    def split(self, spec: ModelSpec, frame: pd.DataFrame, champion: Path | None) -> Split:
        """See ``TaskFamily.split``: the newest samples, and of the others those known before."""
        import numpy as np

        from noria.tasks.judging import judged_rows
        from noria.tasks.origins import LABEL_KNOWN
        from noria.tasks.sources.rows import moments
        from noria.tasks.tabular.folds import RowFacts, hold_out, newest

        settings = spec.data.split
        frame = frame.reset_index(drop=True)
        event = moments(frame, str(spec.data.event_time))
        facts = RowFacts(np.zeros(len(frame), np.int64), event, moments(frame, LABEL_KNOWN))
        gap_ms = int(settings.gap.total_seconds() * 1000)
        until = None if champion is None else self.known_until(spec, read_manifest(champion))
        fresh = 0 if until is None else int(self.new_to(until, event).sum())
        if fresh:
            fold = newest(facts, judged_rows(fresh, len(frame)), gap_ms)
        else:
            fold = hold_out("temporal", facts, settings.test_fraction, gap_ms, spec.train.seed)
        return Split(frame.iloc[fold.train], frame.iloc[fold.test], fold.purged)

    def tune(self, spec: ModelSpec, train: pd.DataFrame, workdir: Path) -> TuneResult:
        """See ``TaskFamily.tune``: by the newest of the samples."""
        import numpy as np

        from noria.measures.measuring import value_of
        from noria.tasks.search import searched

        given = TuneResult(dict(spec.train.hyperparameters))
        if spec.train.search.kind == "none" or not self.searches(spec):
            return given
        samples = self.prepare(spec, train.reset_index(drop=True))
        older, newer = self.searched_on(spec, samples, np.arange(len(train)))
        if not older.size:  # as when fitting: nothing is known before the newest
            return given
        metric = spec.metric(spec.train.search.metric)

        def score(params: Mapping[str, Any], fold: int) -> float:  # noqa: ARG001 - there is one
            return value_of(metric, *self.tried(spec, samples, older, newer, params, metric))

        return searched(spec, score, 1, workdir, *(one.tobytes() for one in self.content(samples)))

    def compare(
        self,
        spec: ModelSpec,
        prepared: S,
        places: NDArray[np.int64],
        ours: pd.DataFrame,
        theirs: pd.DataFrame,
        block: NDArray[np.int64] | None = None,
    ) -> Comparison:
        """See ``TaskFamily.compare``."""
        from noria.tasks.champion import recipe_gate

        (found,) = self.compared(spec, (recipe_gate(spec),), prepared, places, ours, theirs, block)
        return found

    def judged(
        self,
        spec: ModelSpec,
        candidate: Path,
        test: pd.DataFrame,
        held_out: HeldOut,
        champion: Path | None,
    ) -> tuple[Evaluation, S]:
        """Return what ``TaskFamily.evaluate`` does, without plots, and the held-out samples."""
        import numpy as np

        from noria.tasks.champion import against
        from noria.tasks.gates import judge
        from noria.tasks.held_out import BLOCK
        from noria.tasks.sources.rows import moments

        if test.empty:
            raise DataError(
                "there are no held-out samples", fix="raise spec.data.split.testFraction"
            )
        samples, places = self.prepare(spec, test.reset_index(drop=True)), np.arange(len(test))
        event = moments(test, str(spec.data.event_time))
        block = held_out.rows[BLOCK].to_numpy(np.int64)
        until = self.known_until(spec, read_manifest(candidate))
        if until is not None and until > int(event[block == block.max()].min()):
            raise LeakageError(
                f"the model was fitted on {self.words.values} later than the held-out "
                f"{self.words.moments}",
                fix="evaluate the package that predicted them, before the refit (spec.train.refit)",
            )
        values = self.measured(spec, samples, places, held_out.model)
        comparisons, broken = against(
            champion, partial(self._against, spec, samples, event, held_out)
        )
        beside = held_out.baseline
        found = Evaluation(
            rows=len(test),
            metrics=values,
            baseline={} if beside is None else self.measured(spec, samples, places, beside),
            comparisons=comparisons,
            gates=judge(spec.gates, values, comparisons, broken, held_out.choice),
            choice=held_out.choice,
        )
        return found, samples

    def _against(
        self,
        spec: ModelSpec,
        samples: S,
        event: NDArray[np.int64],
        held_out: HeldOut,
        champion: Path,
    ) -> tuple[Comparison, ...]:
        """Compare with the champion on the samples whose outcome it does not know."""
        import numpy as np

        from noria.tasks.champion import not_compared
        from noria.tasks.held_out import BLOCK

        manifest, words = read_manifest(champion), self.words
        if manifest.family != spec.task.family:
            raise DataError(f"it is of the family {manifest.family}")
        theirs, ours = len(manifest.target_names), self.truth(samples).shape[1]
        if theirs != ours:
            raise DataError(f"it {words.says} {theirs} {words.parts}, the candidate {ours}")
        until = self.known_until(spec, manifest)
        fresh = np.arange(len(event))
        if until is not None:
            fresh = np.flatnonzero(self.new_to(until, event))
        if not fresh.size:
            return not_compared(spec, f"no {words.sample} is newer than what the champion knows")
        said = self.predict(spec, champion, samples, fresh)
        own = held_out.model.iloc[fresh].reset_index(drop=True)
        block = held_out.rows[BLOCK].to_numpy(np.int64)[fresh]
        return self.compared(spec, spec.gates.champion, samples, fresh, own, said, block)

    def save(
        self, spec: ModelSpec, fitted: F, package: Path, *, model: str = "", recipe: str = ""
    ) -> Manifest:
        """See ``TaskFamily.save``."""
        del spec  # everything is in the manifest already
        return save(fitted, package, model, recipe)


def refuse_few(spec: ModelSpec, count: int, what: str) -> None:
    """Refuse too few values of a long table.

    Raises:
        DataError: There are fewer than the spec asks for.
    """
    least = spec.data.validation.min_rows
    if count < least:
        raise DataError(
            f"{count} {what}, fewer than spec.data.validation.minRows ({least})",
            fix="give more, or lower it",
        )


def refuse_outside(spec: ModelSpec, rows: pd.DataFrame) -> None:
    """Refuse values beyond the spec's ranges.

    Raises:
        DataError: There are some; it names the first.
    """
    for name, limits in spec.data.validation.ranges.items():
        values = rows[name]
        for end, wrong in (
            (limits.min, values < (-float("inf") if limits.min is None else limits.min)),
            (limits.max, values > (float("inf") if limits.max is None else limits.max)),
        ):
            if wrong.any():
                first = rows[wrong].iloc[0]
                raise DataError(
                    f"spec.data.validation.ranges.{name}: {int(wrong.sum())} values lie beyond "
                    f"{end}, the first is {first[name]:g} at {first[str(spec.data.event_time)]}",
                    fix="correct them, or widen the range",
                )
