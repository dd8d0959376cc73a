"""Answers of a batch for the monitor, as a served model's are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from time import sleep, time
from typing import Any, Final

import numpy as np

from noria.errors import MonitoringError
from serving.batch.answering import Answered
from serving.batch.parts import Part
from serving.payloads import is_sampled
from serving.predicted import Predicted, Source
from serving.runner import Outcome
from serving.sink import Refused, Sink, Transient

_ROWS: Final = 1000
"""Rows of a batch that are one exchange."""

_PAUSES: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds between attempts to reach a monitor that is away."""


class MonitorLog:
    """Posts answers to a monitor, and waits until it has them.

    The id of an exchange says which rows of which file it is of, and by which package: a batch that
    is run again tells the monitor nothing twice.

    Args:
        url: Where the monitor takes predictions.
        source: Whose they are.
        digest: The model package's.
        sample: The share of exchanges that are told, from 0 to 1.
        timeout: Seconds for one post.
        clock: Epoch seconds.
        pause: Waits so many seconds.

    Raises:
        InvalidInput: The address is not an HTTP URL.
    """

    def __init__(
        self,
        url: str,
        source: Source,
        digest: str,
        sample: float,
        timeout: float = 10.0,
        clock: Callable[[], float] = time,
        pause: Callable[[float], None] = sleep,
    ) -> None:
        self._sink = Sink(url, source, timeout)
        self._url, self._digest, self._sample = url, digest, sample
        self._clock, self._pause = clock, pause

    def tell(self, part: Part, answered: Answered) -> None:
        """See ``serving.batch.job.Log``."""
        waiting = list(self._exchanges(part, answered))
        pauses = iter(_PAUSES)
        while waiting:
            try:
                del waiting[: self._sink.post(waiting)]
            except Refused as error:
                raise MonitoringError(
                    f"{self._url}: the monitor refuses the answers: {error}",
                    fix="see its log, or leave --log out",
                ) from error
            except Transient as error:
                if (seconds := next(pauses, None)) is None:
                    raise MonitoringError(
                        f"{self._url}: the monitor does not take the answers: {error}",
                        fix="run the same command again when it is up, or leave --log out",
                    ) from error
                self._pause(seconds)

    def close(self) -> None:
        """Close the connection."""
        self._sink.close()

    def _exchanges(self, part: Part, answered: Answered) -> Iterator[Predicted]:
        outcome, first = answered.outcome, answered.chunk.first
        of = f"{self._digest}\n{part.name}\n{part.size}\n{part.modified}"
        batch = sha256(of.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        now = self._clock()
        for start in range(0, outcome.rows, _ROWS):
            request = f"batch-{batch}-{first + start}"
            if is_sampled(request, self._sample):
                yield Predicted(request, _cut(outcome, start), now, now)


def _cut(outcome: Outcome, start: int) -> Outcome:
    stop = min(start + _ROWS, outcome.rows)

    def of(columns: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
        return {name: values[start:stop] for name, values in columns.items()}

    return Outcome(of(outcome.columns), of(outcome.results), stop - start)
