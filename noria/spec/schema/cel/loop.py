"""Rules of ``spec.serving``, ``spec.monitoring`` and ``spec.retraining``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from noria.spec.metrics import METRICS
from noria.spec.monitoring import BACKENDS
from noria.spec.rules.monitoring import ON_PREDICTION
from noria.spec.schema.cel.rule import Rule, listed, milliseconds, once, table, text
from noria.spec.words import choose


def steps() -> Iterator[Rule]:
    """Each canary step takes more traffic than the one before."""
    falls = "self.filter(s, self.exists_one(o, o == s) == false)"
    yield Rule(
        f"self.isSorted() && {falls}.size() == 0",
        "steps must rise",
        # The first that is no greater than the one before it.
        "self.size() > 1 && self[1] <= self[0] ? string(self[1]) + ' comes after ' + "
        "string(self[0]) + '; steps must rise' : self.size() > 2 && self[2] <= self[1] ? "
        "string(self[2]) + ' comes after ' + string(self[1]) + '; steps must rise' : "
        "'steps must rise'",
    )


def serving() -> Iterator[Rule]:
    """A shadow is not sticky; no protocol twice."""
    percent = "self.?shadow.?percent.orValue(0)"
    yield Rule(
        f"{percent} == 0 || !self.?canary.?sticky.orValue(false)",
        "a mirrored request has no client to stay with; write 0, or sticky: false",
        f"string({percent}) + ' together with canary.sticky; a mirrored request has no client to "
        "stay with; write 0, or sticky: false'",
    )
    yield once("self.protocols")


def analysis() -> Iterator[Rule]:
    """One check for each metric."""
    yield Rule(
        "self.all(a, self.exists_one(b, b.metric == a.metric))",
        "one is there twice; put its limits in one check",
    )


def detector() -> Iterator[Rule]:
    """The backend has the kind, and the kind can watch what it is on."""
    kinds_of = {str(name): tuple(map(str, kinds)) for name, kinds in BACKENDS.items()}
    backend = "self.?backend.orValue('native')"
    kinds = f"{table(kinds_of)}[{backend}]"
    told = {
        name: f"'backend {name} has no ' + self.kind + "
        + text(f"; {choose(kinds_of[name])}, or write backend: {other}")
        for name, other in (("native", "alibi"), ("alibi", "native"))
    }
    yield Rule(
        f"self.kind in {kinds}",
        "the backend has no detector of this kind",
        f"{backend} == 'native' ? {told['native']} : {told['alibi']}",
    )
    watches = "self.?watch.orValue('features') == 'prediction'"
    yield Rule(
        f"!({watches}) || self.kind in {listed(ON_PREDICTION)}",
        "the kind can't watch the prediction, which is a number",
        "self.kind + "
        + text(f" can't watch the prediction, which is a number; {choose(ON_PREDICTION)}"),
    )
    yield Rule(
        f"!({watches}) || self.?columns.orValue([]).size() == 0",
        "is not used by a detector on the prediction; remove it, or write watch: features",
        field=".columns",
    )


def detectors() -> Iterator[Rule]:
    """Each detector has its own name."""
    yield Rule(
        "self.all(d, self.exists_one(e, e.name == d.name))",
        "two have one name; give each its own name",
    )


def monitoring() -> Iterator[Rule]:
    """The reference is no smaller than the window."""
    rows = "self.?window.?rows.orValue(1000)"
    reference = "self.?referenceRows.orValue(10000)"
    yield Rule(
        f"{reference} >= {rows}",
        "referenceRows is under window.rows; write as many at least",
        f"string({reference}) + ' is under window.rows, ' + string({rows}) + '; write as many at "
        "least'",
    )


def performance() -> Iterator[Rule]:
    """The metric that signals is among the measured."""
    yield once("self.metrics")
    yield Rule(
        "!has(self.drop) || !has(self.drop.metric) || !has(self.metrics) || "
        "self.drop.metric in self.metrics",
        "drop.metric is not among performance.metrics",
        "self.drop.metric + ' is not among performance.metrics; add ' + self.drop.metric + ' to "
        "metrics, or watch another'",
    )


def retraining() -> Iterator[Rule]:
    """Every signal that may start a run has something that sends it, and runs left."""
    signals = "self.?signals.orValue([])"
    for kind, key in (("schedule", "schedule"), ("new-data", "newData")):
        yield Rule(
            f"!({text(kind)} in {signals}) || has(self.{key})",
            f"{kind} never comes: spec.retraining.{key} is missing; give retraining.{key}, or "
            f"remove {kind}",
        )
    yield Rule(
        f"!has(self.schedule) || !has(self.signals) || 'schedule' in {signals}",
        "signals does not name schedule; add schedule to signals, or remove it here",
        "self.schedule + ', but signals does not name schedule; add schedule to signals, or "
        "remove it here'",
    )
    yield once("self.signals")
    for key, runs in (("runsPerDay", "self.?runsPerDay"), ("budget.runs", "self.?budget.?runs")):
        yield Rule(
            f"{signals}.size() == 0 || {runs}.orValue(1) > 0",
            f"{key} is 0, but signals may start runs; write 1 or more, or signals: [] to never "
            "retrain",
        )
    yield Rule(
        "!has(self.schedule) || !has(self.cooldown) || "
        f"{milliseconds('self.schedule')} >= {milliseconds('self.cooldown')}",
        "schedule is shorter than cooldown; write a longer schedule, or a shorter cooldown",
        "self.schedule + ' is shorter than cooldown, ' + self.cooldown + '; write a longer "
        "schedule, or a shorter cooldown'",
    )
    yield Rule(
        "!has(self.budget) || !has(self.budget.runs) || !has(self.budget.per) || "
        "!has(self.cooldown) || self.budget.runs <= 1 || "
        f"{milliseconds('self.cooldown')} <= {milliseconds('self.budget.per')}",
        "the budget's runs never happen with this cooldown; write a longer per, or a shorter "
        "cooldown",
        "string(self.budget.runs) + ' runs in ' + self.budget.per + ' never happen with a "
        "cooldown of ' + self.cooldown + '; write a longer per, or a shorter cooldown'",
    )


def train_on() -> Iterator[Rule]:
    """Kind window has a length; kind all has none."""
    window = "self.?kind.orValue('all') == 'window'"
    yield Rule(
        f"!({window}) || has(self.window)",
        "is missing, and kind is window; write one, such as 90d",
        field=".window",
    )
    yield Rule(
        f"{window} || !has(self.window)",
        "window is used by kind window only",
        "self.window + ' is not used by kind all; choose kind window, or remove it'",
    )


def limits_of_checks() -> list[dict[str, Any]]:
    """Return what the canary's checks must meet as plain schema, as their limits have no type."""
    keys = ("min", "max", "maxDrop")
    seconds = [name for name, metric in METRICS.items() if metric.unit == "seconds"]
    shares = [name for name, metric in METRICS.items() if metric.unit == "share"]
    # No number is over 1 and under 0; no text is so short. Each leaves the other kind alone.
    no_number, no_text = {"minimum": 1, "maximum": 0}, {"maxLength": 0}
    share = {"minimum": 0, "maximum": 1}
    return [
        {"anyOf": [{"required": [key]} for key in keys]},
        {"properties": {"maxDrop": {"minimum": 0}}},
        _unless(seconds, dict.fromkeys(keys, no_text)),
        _unless([name for name in METRICS if name not in seconds], dict.fromkeys(keys, no_number)),
        _unless([name for name in METRICS if name not in shares], {"min": share, "max": share}),
    ]


def _unless(metrics: list[str], properties: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [{"properties": {"metric": {"enum": metrics}}}, {"properties": properties}]}
