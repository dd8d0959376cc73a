"""What users feel: errors, latency, and whether anything answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from monitoring.rules.rule import Rule, Scope, number, together
from noria.spec import Model
from noria.spec.units import format_duration

_QUANTILES: Final = {"latency-p50": 0.5, "latency-p99": 0.99}
_LAST_BUCKET: Final = 10.0
"""Seconds: the model server's greatest finite bucket; a quantile is never seen above it."""


def rules(scope: Scope) -> Iterator[Rule]:
    """Yield the rules on the model servers' metrics. Limits are those of the canary's analysis.

    What a server that is not Noria's does not count has no rule.
    """
    names = scope.model.spec.serving.metrics
    if names.errors and names.counted:
        yield _error_rate(scope)
    if names.seconds:
        yield from _latency(scope)
    yield _down(scope)


def left_out(model: Model) -> tuple[str, ...]:
    """Return the rules that a model's servers count too little for."""
    names = model.spec.serving.metrics
    found = {
        "NoriaErrorRate": bool(names.errors and names.counted),
        "NoriaLatency": bool(names.seconds),
    }
    return tuple(name for name, there in found.items() if not there)


def _down(scope: Scope) -> Rule:
    name, names = scope.model.name, scope.model.spec.serving.metrics
    # Of a server that does not say when it is ready, what is scraped is taken for it.
    scraped = scope.worst((names.answered or names.counted)[0].name)
    up = f"{scope.worst(names.ready)} == 1" if names.ready else scraped
    says = "that says it can answer" if names.ready else "whose metrics can be scraped"
    return Rule(
        name="NoriaModelDown",
        expr=f"{scope.worst('noria_loop_champion_info')}\nunless {up}",
        severity="critical",
        hold=scope.settings.hold,
        summary=f"{name}: no server of it is ready",
        description=f"It has a champion, and no server {says}.",
    )


def _error_rate(scope: Scope) -> Rule:
    name, settings = scope.model.name, scope.settings
    names = scope.model.spec.serving.metrics
    given = _limits(scope).get("error-rate")
    limit = settings.error_rate if given is None else given
    failed = scope.rates(names.failed, "version", over=settings.rate)
    asked = scope.rates(names.counted, "version", over=settings.rate)
    return Rule(
        name="NoriaErrorRate",
        expr=f"{failed}\n/ {asked}\n> {number(limit)}\n{_enough(scope)}",
        severity="critical",
        hold=settings.hold,
        summary=f"{name}: version {{{{ $labels.version }}}} fails",
        description=(
            "{{ $value | humanizePercentage }} of its requests over the last "
            f"{format_duration(settings.rate)} ended in a 5xx; {limit:.3g} is allowed."
        ),
    )


def _latency(scope: Scope) -> Iterator[Rule]:
    name, settings = scope.model.name, scope.settings
    serving = scope.model.spec.serving
    given = {m: limit for m, limit in _limits(scope).items() if m in _QUANTILES}
    for metric, limit in (given or {"latency-p99": settings.latency_p99}).items():
        quantile = _QUANTILES[metric]
        series = f"{serving.metrics.seconds}_bucket"
        buckets = scope.rate(series, "version", "le", over=settings.rate)
        # Beyond the last bucket a quantile can't be told from the bucket's bound itself; which
        # one is another server's last is not known.
        seen = limit < _LAST_BUCKET or serving.runtime is not None
        bound = f"> {number(limit)}" if seen else f">= {number(_LAST_BUCKET)}"
        yield Rule(
            name="NoriaLatency",
            expr=f"histogram_quantile({quantile:g}, {buckets})\n{bound}\n{_enough(scope)}",
            severity="warning",
            hold=settings.hold,
            labels={"quantile": f"{quantile:g}"},
            summary=f"{name}: version {{{{ $labels.version }}}} is slow",
            description=(
                f"{quantile:.0%} of its requests take up to {{{{ $value | humanizeDuration }}}} "
                f"over the last {format_duration(settings.rate)}; {limit:.3g} s are allowed."
            ),
        )


def _enough(scope: Scope) -> str:
    settings = scope.settings
    counted = scope.model.spec.serving.metrics.counted
    asked = together(
        [scope.grown(c.name, "version", over=settings.rate, matchers=c.texts) for c in counted]
    )
    return f"and {asked} >= {settings.min_requests}"


def _limits(scope: Scope) -> dict[str, float]:
    """Return the greatest values that the canary's analysis allows, by metric."""
    analysis = scope.model.spec.serving.canary.analysis
    return {check.metric: check.max for check in analysis if check.max is not None}
