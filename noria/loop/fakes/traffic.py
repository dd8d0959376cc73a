"""Model servers that start and fail when a test says so."""

from __future__ import annotations

from collections.abc import Mapping

from noria.errors import TrafficError


class FakeTraffic:
    """A ``Traffic`` port of one model.

    A deployed version gets ready by ``make_ready``, or at once with ``prompt=True``.
    ``splits`` is every split that took effect, in order.
    """

    def __init__(self, *, prompt: bool = False) -> None:
        self.splits: list[dict[str, int]] = []
        self._prompt = prompt
        self._ready: dict[str, bool] = {}
        self._weights: dict[str, int] = {}

    def deploy(self, model: str, version: str) -> None:
        """Start a version that is not there yet."""
        self._ready.setdefault(version, self._prompt)

    def ready(self, model: str) -> Mapping[str, bool]:
        """Return deployed versions and their readiness."""
        return dict(self._ready)

    def set_weights(self, model: str, weights: Mapping[str, int]) -> None:
        """Split the traffic between ready versions."""
        if sum(weights.values()) != 100 or any(w < 0 for w in weights.values()):
            raise TrafficError(f"weights must be 0 to 100 and sum to 100, not {dict(weights)}")
        down = [v for v, w in weights.items() if not self._ready.get(v)]
        if down:
            raise TrafficError(f"versions {down} are not ready; weights need ready versions")
        split = {v: w for v, w in weights.items() if w}
        if split != self._weights:
            self.splits.append(split)
        self._weights = split

    def weights(self, model: str) -> Mapping[str, int]:
        """Return the split in force."""
        return dict(self._weights)

    def retire(self, model: str, version: str) -> None:
        """Stop a version without traffic."""
        if self._weights.get(version):
            raise TrafficError(f"version {version} has {self._weights[version]} % of the traffic")
        self._ready.pop(version, None)

    def make_ready(self, version: str) -> None:
        """Driver: let a deployed version answer."""
        if version in self._ready:
            self._ready[version] = True

    def break_down(self, version: str) -> None:
        """Driver: let a deployed version stop answering. Its weight stays, as in life."""
        if version in self._ready:
            self._ready[version] = False

    def meddle(self, weights: Mapping[str, int]) -> None:
        """Driver: change the split behind the loop's back."""
        self._weights = {v: w for v, w in weights.items() if w}
