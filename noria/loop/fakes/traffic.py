"""Model servers that start and fail when a test says so."""

from __future__ import annotations

from collections.abc import Mapping

from noria.errors import TrafficError


class FakeTraffic:
    """A ``Traffic`` port.

    A deployed version gets ready by ``make_ready``, or at once with ``prompt=True``.
    ``splits`` is every change of the split that took effect, in order.
    """

    def __init__(self, *, prompt: bool = False) -> None:
        self.splits: list[dict[str, int]] = []
        self._prompt = prompt
        self._ready: dict[str, dict[str, bool]] = {}
        self._weights: dict[str, dict[str, int]] = {}
        self._problems: dict[tuple[str, str], str] = {}

    def deploy(self, model: str, version: str) -> None:
        """Start a version that is not there yet."""
        self._ready.setdefault(model, {}).setdefault(version, self._prompt)

    def ready(self, model: str) -> Mapping[str, bool]:
        """Return deployed versions and their readiness."""
        return dict(self._ready.get(model, {}))

    def problems(self, model: str) -> Mapping[str, str]:
        """Return what ``break_down`` said of versions that are down."""
        down = [version for version, up in self.ready(model).items() if not up]
        said = {version: self._problems.get((model, version), "") for version in down}
        return {version: why for version, why in said.items() if why}

    def set_weights(self, model: str, weights: Mapping[str, int]) -> None:
        """Split the traffic between ready versions."""
        if sum(weights.values()) != 100 or any(w < 0 for w in weights.values()):
            raise TrafficError(f"weights must be 0 to 100 and sum to 100, not {dict(weights)}")
        ready = self.ready(model)
        down = [v for v, w in weights.items() if not ready.get(v)]
        if down:
            raise TrafficError(f"versions {down} are not ready; weights need ready versions")
        split = {v: w for v, w in weights.items() if w}
        if split != self._weights.get(model):
            self.splits.append(split)
        self._weights[model] = split

    def weights(self, model: str) -> Mapping[str, int]:
        """Return the split in force."""
        return dict(self._weights.get(model, {}))

    def retire(self, model: str, version: str) -> None:
        """Stop a version without traffic."""
        if weight := self.weights(model).get(version):
            raise TrafficError(f"version {version} has {weight} % of the traffic")
        self._ready.get(model, {}).pop(version, None)

    def make_ready(self, model: str, version: str) -> None:
        """Driver: let a deployed version answer."""
        if version in self._ready.get(model, {}):
            self._ready[model][version] = True

    def break_down(self, model: str, version: str, why: str = "") -> None:
        """Driver: let a deployed version stop answering. Its weight stays, as in life."""
        if version in self._ready.get(model, {}):
            self._ready[model][version] = False
            self._problems[model, version] = why

    def meddle(self, model: str, weights: Mapping[str, int]) -> None:
        """Driver: change the split behind the loop's back."""
        self._weights[model] = {v: w for v, w in weights.items() if w}
