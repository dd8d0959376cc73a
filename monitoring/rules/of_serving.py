"""What users feel: errors, latency, and whether anything answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from monitoring.rules.rule import Rule, Scope, number
from noria.spec.units import format_duration

_QUANTILES: Final = {"latency-p50": 0.5, "latency-p99": 0.99}
_LAST_BUCKET: Final = 10.0
"""Seconds: the model server's greatest finite bucket; a quantile is never seen above it."""


def rules(scope: Scope) -> Iterator[Rule]:
    """Yield the rules on the model servers' metrics. Limits are those of the canary's analysis."""
    yield _error_rate(scope)
    yield from _latency(scope)
    name = scope.model.name
    yield Rule(
        name="NoriaModelDown",
        expr=f"{scope.worst('noria_loop_champion_info')}\nunless {scope.worst('noria_ready')} == 1",
        severity="critical",
        hold=scope.settings.hold,
        summary=f"{name}: no server of it is ready",
        description="It has a champion, and no server that says it can answer.",
    )


def _error_rate(scope: Scope) -> Rule:
    name, settings = scope.model.name, scope.settings
    given = _limits(scope).get("error-rate")
    limit = settings.error_rate if given is None else given
    failed = scope.rate("noria_request_errors_total", "version", over=settings.rate)
    asked = scope.rate("noria_requests_total", "version", over=settings.rate)
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
    given = {m: limit for m, limit in _limits(scope).items() if m in _QUANTILES}
    for metric, limit in (given or {"latency-p99": settings.latency_p99}).items():
        quantile = _QUANTILES[metric]
        buckets = scope.rate("noria_request_seconds_bucket", "version", "le", over=settings.rate)
        # Beyond the last bucket a quantile can't be told from the bucket's bound itself.
        bound = f"> {number(limit)}" if limit < _LAST_BUCKET else f">= {number(_LAST_BUCKET)}"
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
    asked = scope.grown("noria_requests_total", "version", over=settings.rate)
    return f"and {asked} >= {settings.min_requests}"


def _limits(scope: Scope) -> dict[str, float]:
    """Return the greatest values that the canary's analysis allows, by metric."""
    analysis = scope.model.spec.serving.canary.analysis
    return {check.metric: check.max for check in analysis if check.max is not None}
