"""One alerting rule, and the few PromQL forms that the rules share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, TypeAlias

from monitoring.rules.settings import RuleSettings
from noria.spec import Model
from noria.spec.series import Series
from noria.spec.units import format_duration

Severity: TypeAlias = Literal["info", "warning", "critical"]
"""info: know it. warning: look in working hours. critical: users are hit, or nobody watches."""

SignalLabel: TypeAlias = Literal["drift", "performance", "quality"]


@dataclass(frozen=True, slots=True)
class Rule:
    """An alert.

    ``expr`` keeps only labels that name what is wrong (model, version, detector), never a pod
    or a value: the same trouble has the same fingerprint from every replica. ``signal`` is the
    kind of signal that it is, for those that may start a training run.
    """

    name: str
    expr: str
    severity: Severity
    summary: str
    description: str
    hold: timedelta = timedelta(0)
    signal: SignalLabel | None = None
    labels: dict[str, str] = field(default_factory=dict)

    def document(self, settings: RuleSettings, labels: dict[str, str]) -> dict[str, Any]:
        """Return the rule as a rule file has it; ``labels`` are on every rule of the model."""
        signal = {} if self.signal is None else {"noria_signal": self.signal}
        return {
            "alert": self.name,
            "expr": self.expr,
            "for": format_duration(self.hold),
            "labels": {"severity": self.severity, **labels, **self.labels, **signal},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook": f"{settings.runbook}#{self.name.lower()}",
            },
        }


@dataclass(frozen=True, slots=True)
class Scope:
    """One model's series, and how long things may take for them."""

    model: Model
    settings: RuleSettings

    @property
    def labels(self) -> dict[str, str]:
        """The labels of every alert of this model."""
        meta = self.model.metadata
        where = {"namespace": meta.namespace} if meta.namespace else {}
        return {**where, "model": meta.name}

    def of(self, metric: str, *matchers: str) -> str:
        """Return a selector of this model's series: ``noria_ready{model="flights"}``."""
        inside = [f'{name}="{value}"' for name, value in self.labels.items()]
        return f"{metric}{{{', '.join([*inside, *matchers])}}}"

    def worst(self, metric: str, *by: str, matchers: tuple[str, ...] = ()) -> str:
        """Return the greatest value over pods and replicas, by model and the labels ``by``."""
        return f"max by ({_by(by)}) ({self.of(metric, *matchers)})"

    def rate(self, metric: str, *by: str, over: timedelta, matchers: tuple[str, ...] = ()) -> str:
        """Return a counter's rate summed over pods, by model and the labels ``by``."""
        series = f"{self.of(metric, *matchers)}[{format_duration(over)}]"
        return f"sum by ({_by(by)}) (rate({series}))"

    def rates(self, counters: Sequence[Series], *by: str, over: timedelta) -> str:
        """Return the rate of several counters together."""
        return together([self.rate(c.name, *by, over=over, matchers=c.texts) for c in counters])

    def grown(self, metric: str, *by: str, over: timedelta, matchers: tuple[str, ...] = ()) -> str:
        """Return a counter's increase summed over pods, by model and the labels ``by``."""
        series = f"{self.of(metric, *matchers)}[{format_duration(over)}]"
        return f"sum by ({_by(by)}) (increase({series}))"


def together(parts: Sequence[str]) -> str:
    """Return the sum of vectors with the same labels, where one that is absent is zero."""
    if len(parts) < 2:
        return "".join(parts)
    known = " or ".join(parts)
    return f"({' + '.join(f'({part} or 0 * ({known}))' for part in parts)})"


def _by(labels: tuple[str, ...]) -> str:
    return ", ".join(("namespace", "model", *labels))


def number(value: float) -> str:
    """Write a number as a person does: 1209600, 0.05."""
    return str(int(value)) if float(value).is_integer() else repr(float(value))
