"""A dashboard: rows of panels, variables and annotations, laid out from left to right."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from monitoring.dashboards.panel import SOURCE, Json, Panel

_COLUMNS: Final = 24
_SCHEMA: Final = 39
_UID_CHARS: Final = 40


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened, as a vertical line through every panel of a page."""

    name: str
    expr: str
    colour: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Page:
    """A dashboard. ``variables`` come after the one that names the datasource."""

    uid: str
    title: str
    description: str
    rows: Sequence[Row]
    variables: Sequence[Json]
    marks: Sequence[Mark] = ()
    tags: Sequence[str] = ()
    since: str = "now-24h"
    links: Sequence[Json] = ()

    def document(self) -> Json:
        """Return the dashboard as Grafana has it."""
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": ["noria", *self.tags],
            "schemaVersion": _SCHEMA,
            "version": 1,
            "editable": False,
            "graphTooltip": 1,
            "refresh": "1m",
            "timezone": "browser",
            "time": {"from": self.since, "to": "now"},
            "templating": {"list": [_datasource(), *self.variables]},
            "annotations": {"list": [_mark(mark) for mark in self.marks]},
            "links": list(self.links),
            "panels": list(_laid_out(self.rows)),
        }


def short_uid(*parts: str) -> str:
    """Return a stable uid of at most 40 characters, the most that Grafana takes."""
    uid = "-".join(part for part in parts if part)
    if len(uid) <= _UID_CHARS:
        return uid
    digest = hashlib.sha256(uid.encode()).hexdigest()[:12]
    return f"{uid[: _UID_CHARS - 13]}-{digest}"


def query_variable(name: str, label: str, expr: str, current: str, *, multi: bool) -> Json:
    """Return a variable whose values are those of a label; ``$__all`` matches every value."""
    every = current == "$__all"
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": SOURCE,
        "query": {"query": expr, "refId": f"variable-{name}"},
        "refresh": 2,
        "sort": 1,
        "includeAll": True,
        "allValue": ".*",
        "multi": multi,
        "hide": 0,
        "current": {"text": "All" if every else current, "value": current},
    }


def constant_variable(name: str, label: str, value: str) -> Json:
    """Return a variable that this dashboard fixes."""
    return {
        "type": "constant",
        "name": name,
        "label": label,
        "query": value,
        "hide": 2,
        "skipUrlSync": True,
        "current": {"text": value, "value": value},
    }


def _datasource() -> Json:
    return {
        "type": "datasource",
        "name": "datasource",
        "label": "Prometheus",
        "query": "prometheus",
        "refresh": 1,
        "includeAll": False,
        "multi": False,
        "hide": 0,
    }


def _mark(mark: Mark) -> Json:
    return {
        "name": mark.name,
        "enable": True,
        "hide": False,
        "iconColor": mark.colour,
        "datasource": SOURCE,
        "target": {"refId": "Anno", "expr": mark.expr, "interval": "1m", "legendFormat": ""},
        "titleFormat": mark.title,
        "textFormat": mark.text,
    }


def _laid_out(rows: Sequence[Row]) -> Iterator[Json]:
    number, top = 1, 0
    for row in rows:
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "gridPos": {"x": 0, "y": top, "w": _COLUMNS, "h": 1},
            "panels": [],
        }
        number, top = number + 1, top + 1
        left = tallest = 0
        for panel in row.panels:
            width, height = panel.size
            if left + width > _COLUMNS:
                left, top, tallest = 0, top + tallest, 0
            place: Mapping[str, int] = {"x": left, "y": top, "w": width, "h": height}
            yield panel.document(number, dict(place))
            number, left, tallest = number + 1, left + width, max(tallest, height)
        top += tallest
