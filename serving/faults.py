"""What becomes of an exception: one place decides, for every door of the server."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic
from typing import Final
from uuid import uuid4

from noria.errors import InvalidInput, NotFinite, Unavailable, traceback_tail
from noria.seldom import Seldom
from serving.refusal import Refusal

_log: Final = logging.getLogger("serving.service")
_EVERY_SECONDS: Final = 1.0
_LOG_SECONDS: Final = 10.0


class Faults:
    """Turns what was raised into a status and a message that leaks nothing.

    Where it was raised decides whose fault it is. Reading a request is a function of
    the request alone: whatever that raises, foreseen or not, is the client's (4xx) and
    never counts against the version. What the predictor raises is ours (5xx).

    Args:
        elapsed: Seconds since some moment; it never goes back.
    """

    def __init__(self, elapsed: Callable[[], float] = monotonic) -> None:
        self._reading = _Incidents("reading a request", elapsed)
        self._answering = _Incidents("answering a request", elapsed)
        self._asking = _Incidents("asking a part that this model needs", elapsed)
        self._not_finite = Seldom(_LOG_SECONDS, elapsed)

    def unreadable(self, error: Exception) -> Refusal:
        """Return the refusal of a request whose reading raised ``error``."""
        if isinstance(error, Refusal):
            return error
        if isinstance(error, InvalidInput):
            return Refusal(400, str(error))
        return Refusal(400, f"request: it can't be read, incident {self._reading.tell(error)}")

    def refusal(self, error: Exception) -> Refusal:
        """Return the refusal of a request whose answering raised ``error``."""
        if isinstance(error, Refusal):
            return error
        if isinstance(error, InvalidInput):
            return Refusal(400, str(error))
        if isinstance(error, Unavailable):
            self._asking.tell(error)
            return Refusal(503, "server: the feature store does not answer", retry_after=1)
        if isinstance(error, NotFinite):
            refusal = Refusal(
                500,
                f"outputs.{error.output}: the model answered {error.value:g} for row {error.row}, "
                f"which is not finite (rows of this request answered so: {error.rows})",
                fix="mend the model, or let its package declare the output nullable for NaN",
            )
            if count := self._not_finite.now():
                _log.error("%d times, lately: %s", count, refusal)
            return refusal
        return Refusal(500, f"server: internal error, incident {self._answering.tell(error)}")


class _Incidents:
    """Logs one a second, within bounds; those that happen meanwhile share its ID.

    So neither a predictor that always fails nor a client that tries can fill the disk.
    """

    def __init__(self, doing: str, elapsed: Callable[[], float]) -> None:
        self._doing = doing
        self._elapsed = elapsed
        self._next = float("-inf")
        self._last = ""
        self._untold = 0

    def tell(self, error: Exception) -> str:
        """Log it, or count it; return the ID of what the log has."""
        now = self._elapsed()
        if now < self._next:
            self._untold += 1
            return self._last
        self._last = uuid4().hex
        more = f" ({self._untold} more since the last one)" if self._untold else ""
        _log.error("incident %s, %s%s: %s", self._last, self._doing, more, traceback_tail(error))
        self._next, self._untold = now + _EVERY_SECONDS, 0
        return self._last
