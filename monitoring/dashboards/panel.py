"""Grafana panels as values, and how they become the JSON that Grafana reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

Kind: TypeAlias = Literal["timeseries", "stat", "state-timeline", "bargauge"]
Json: TypeAlias = dict[str, Any]

SOURCE: Final[Json] = {"type": "prometheus", "uid": "${datasource}"}
"""The datasource that the dashboard's variable names."""

VERSION: Final = "v{{version}}"
"""The name of a series of one version; it may have words behind it."""

_RED: Final = "#e02f44"
_GREY: Final = "#8e8e8e"
_BY_LAST_DIGIT: Final = (
    "#5794f2", "#73bf69", "#ff9830", "#b877d9", "#37a2eb",
    "#fade2a", "#ff7383", "#56a64b", "#8f3bb8", "#0fb5ae",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Query:
    """A PromQL expression and the name of what it gives.

    Names that begin with ``v{{version}}`` have that version's colour in every panel; ``limit``
    is red and dashed; names that end in ``low`` or ``high`` are thin.
    """

    expr: str
    legend: str
    instant: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. ``size`` is (width, height) in Grafana's grid of 24 columns.

    ``texts`` maps numbers to words. ``steps`` are (colour, from) pairs, rising.
    """

    title: str
    description: str
    queries: Sequence[Query]
    unit: str
    kind: Kind = "timeseries"
    size: tuple[int, int] = (8, 8)
    texts: dict[float, tuple[str, str]] = field(default_factory=dict)
    steps: Sequence[tuple[str, float]] = ()
    stacked: bool = False
    names: bool = False
    least: float | None = None
    most: float | None = None

    def document(self, number: int, place: Json) -> Json:
        """Return the panel as Grafana has it."""
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": SOURCE,
            "gridPos": place,
            "targets": [self._target(i, query) for i, query in enumerate(self.queries)],
            "fieldConfig": {
                "defaults": self._defaults(),
                "overrides": list(_overrides(self.queries)),
            },
            "options": self._options(),
        }

    def _target(self, place: int, query: Query) -> Json:
        once = query.instant or self.kind in ("stat", "bargauge")
        return {
            "refId": chr(ord("A") + place),
            "datasource": SOURCE,
            "expr": query.expr,
            "legendFormat": query.legend,
            "editorMode": "code",
            "instant": once,
            "range": not once,
        }

    def _defaults(self) -> Json:
        base = [{"color": "green" if self.steps else "text", "value": None}]
        limits = {
            name: value
            for name, value in (("min", self.least), ("max", self.most))
            if value is not None
        }
        return {
            "unit": self.unit,
            **limits,
            "color": {"mode": "thresholds" if self.steps else "palette-classic-by-name"},
            "mappings": [
                {
                    "type": "value",
                    "options": {
                        f"{value:g}": {"text": text, "color": colour, "index": index}
                        for index, (value, (text, colour)) in enumerate(self.texts.items())
                    },
                }
            ]
            if self.texts
            else [],
            "thresholds": {
                "mode": "absolute",
                "steps": base + [{"color": colour, "value": at} for colour, at in self.steps],
            },
            "custom": self._custom(),
        }

    def _custom(self) -> Json:
        if self.kind == "state-timeline":
            return {"fillOpacity": 70, "lineWidth": 0}
        if self.kind != "timeseries":
            return {}
        return {
            "drawStyle": "line",
            "lineWidth": 2,
            "fillOpacity": 25 if self.stacked else 0,
            "showPoints": "auto",
            "pointSize": 4,
            # A gap stays a gap: what was not measured is not drawn.
            "spanNulls": False,
            "stacking": {"mode": "normal" if self.stacked else "none", "group": "A"},
        }

    def _options(self) -> Json:
        reduce = {"values": False, "calcs": ["lastNotNull"], "fields": ""}
        legend = {"showLegend": True, "displayMode": "list", "placement": "bottom", "calcs": []}
        tooltip = {"mode": "multi", "sort": "desc"}
        match self.kind:
            case "timeseries":
                return {"legend": legend, "tooltip": tooltip}
            case "state-timeline":
                return {
                    "legend": legend,
                    "tooltip": tooltip,
                    "showValue": "auto",
                    "rowHeight": 0.9,
                    "mergeValues": True,
                    "alignValue": "left",
                }
            case "bargauge":
                return {
                    "reduceOptions": reduce,
                    "orientation": "horizontal",
                    "displayMode": "basic",
                    "valueMode": "color",
                    "namePlacement": "auto",
                    "showUnfilled": True,
                    "sizing": "auto",
                    "minVizWidth": 8,
                    "minVizHeight": 16,
                    "maxVizHeight": 40,
                    "legend": {**legend, "showLegend": False},
                }
            case "stat":
                return {
                    "reduceOptions": reduce,
                    "orientation": "auto",
                    "textMode": "name" if self.names else "value",
                    "wideLayout": True,
                    "colorMode": "value",
                    "graphMode": "none",
                    "justifyMode": "auto",
                    "showPercentChange": False,
                    "percentChangeColorMode": "standard",
                }


def _overrides(queries: Sequence[Query]) -> Iterator[Json]:
    """Yield what gives a version one colour everywhere, by the last digit of its number."""
    legends = [query.legend for query in queries]
    dashed = {"fill": "dash", "dash": [8, 8]}
    if any(legend.startswith(VERSION) for legend in legends):
        for digit, colour in enumerate(_BY_LAST_DIGIT):
            fixed = {"mode": "fixed", "fixedColor": colour}
            yield _override(f"/^v\\d*{digit}( .*)?$/", ("color", fixed))
    if any(legend.endswith((" low", " high")) for legend in legends):
        thin = (("custom.lineWidth", 1), ("custom.lineStyle", dashed))
        yield _override("/ (low|high)$/", *thin)
    for name, colour in (("limit", _RED), ("at training", _GREY)):
        if any(legend.startswith(name) for legend in legends):
            fixed = {"mode": "fixed", "fixedColor": colour}
            yield _override(f"/^{name}/", ("color", fixed), ("custom.lineStyle", dashed))


def _override(names: str, *properties: tuple[str, Any]) -> Json:
    return {
        "matcher": {"id": "byRegexp", "options": names},
        "properties": [{"id": name, "value": value} for name, value in properties],
    }
