"""``spec.serving``: how a version is served and rolled out."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    WithJsonSchema,
    model_serializer,
    model_validator,
)

from noria.errors import shorten
from noria.measures.catalog import METRICS, SERVING_METRICS
from noria.spec.runtime import NORIA, MetricNames, Runtime
from noria.spec.section import Column, Items, Section, refuse
from noria.spec.units import (
    DURATION_PATTERN,
    Bytes,
    CountOrAuto,
    Cpu,
    DurationOrAuto,
    MessageBytes,
    PositiveDuration,
    WaitDuration,
    format_duration,
    parse_duration,
)


class Resources(Section):
    """The machine that one replica asks for."""

    cpu: Cpu = Field(default="1", description="CPUs of one replica, a Kubernetes quantity.")
    memory: Bytes = Field(default=1 << 30, description="Memory of one replica, bytes with a unit.")


class Batching(Section):
    """Requests that are predicted together."""

    max_rows: int = Field(
        default=256,
        ge=1,
        le=1_000_000,
        description="Greatest number of rows in one call of the predictor. 1: no batching.",
    )
    max_delay: WaitDuration = Field(
        default=timedelta(milliseconds=2),
        description="Longest time that a request waits for others, a duration, at most 10s.",
    )


def _limit(value: Any) -> Any:
    if isinstance(value, str):
        return parse_duration(value).total_seconds()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float | None):
        raise refuse(f"{shorten(value)} is not a limit", "write a number, or a duration: 250ms")
    return value


Limit: TypeAlias = Annotated[
    float | None,
    BeforeValidator(_limit),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number"},
                {"type": "string", "pattern": DURATION_PATTERN},
                {"type": "null"},
            ]
        }
    ),
]
"""A number, or a duration kept as seconds."""

_LIMITS: Final = ("min", "max", "max_drop", "maxDrop")
_TIMES: Final = tuple(name for name in SERVING_METRICS if METRICS[name].unit == "seconds")
"""Metrics whose limits are durations; a family's own are numbers, whatever their unit."""


class Check(Section):
    """What the candidate's traffic must show in each step. Latencies are seconds in code."""

    metric: str = Field(
        max_length=63,
        description="error-rate, latency-p50, latency-p99, or a metric of the task family.",
        examples=["error-rate"],
    )
    min: Limit = Field(default=None, description="Least value, in the metric's unit.")
    max: Limit = Field(
        default=None,
        description="Greatest value, in the metric's unit; a duration for a latency.",
    )
    max_drop: Limit = Field(
        default=None,
        description="How much worse than the champion over the same time it may be, in the "
        "metric's unit; a duration for a latency.",
    )

    @model_validator(mode="before")
    @classmethod
    def _limits_have_the_unit_of_the_metric(cls, value: Any) -> Any:
        name = value.get("metric") if isinstance(value, dict) else None
        if not isinstance(value, dict) or not isinstance(name, str):
            return value
        for key in _LIMITS:
            limit = value.get(key)
            number = isinstance(limit, int | float) and not isinstance(limit, bool)
            if name in _TIMES and number:
                said = f"{limit} has no unit, and {name} is a time"
                raise refuse(said, "write a duration, such as 250ms", key=key)
            if name not in _TIMES and isinstance(limit, str):
                known = name in METRICS
                said = f"{name if known else shorten(name)} has no unit"
                fix = "write a number" + ("" if known else f"; times are {' and '.join(_TIMES)}")
                raise refuse(f"{shorten(limit)} is not a number, and {said}", fix, key=key)
        return value

    @model_serializer(mode="wrap")
    def _write_latencies_as_durations(
        self, handler: SerializerFunctionWrapHandler
    ) -> dict[str, Any]:
        written: dict[str, Any] = handler(self)
        if self.metric not in _TIMES:
            return written
        return {
            key: format_duration(timedelta(seconds=value)) if isinstance(value, float) else value
            for key, value in written.items()
        }


def _default_analysis() -> tuple[Check, ...]:
    return (Check(metric="error-rate", max=0.01),)


class Canary(Section):
    """How a candidate takes over traffic."""

    steps: Items[Annotated[int, Field(ge=1, le=99)]] = Field(
        default=(10, 50),
        min_length=1,
        max_length=50,
        description="Percent of traffic in each step, rising, each 1 to 99. Promotion is the 100 "
        "after the last. 10 risks little; 50 shows the full load.",
    )
    min_samples: CountOrAuto = Field(
        default="auto",
        description="Rows that the candidate must have answered in each step. auto: what each "
        "check needs, such as 300 for an error-rate of at most 0.01. Fewer is inconclusive, which "
        "never promotes, except in a smoke test (patience). Whatever this says, latency-p99 needs "
        "368 requests, and most metrics of classes 10 labelled rows of the rarer class.",
    )
    step_timeout: DurationOrAuto = Field(
        default="auto",
        description="Longest time of one step, a duration. Inconclusive for longer aborts. auto: "
        "three times what the step takes at the present traffic, 1h to 30d; of a smoke test 365d.",
    )
    patience: PositiveDuration = Field(
        default=timedelta(hours=6),
        description="With minSamples auto: checks that would take longer than this at the present "
        "traffic become a smoke test, a duration. Those must not fail on the rows that come in "
        "this time, and the gates decide. A step, but the last, that would bring fewer than 5 rows "
        "in it is left out.",
    )
    analysis: Items[Check] = Field(
        default_factory=_default_analysis,
        max_length=50,
        description="What each step must show. By default that at most one request in a hundred "
        "fails.",
    )
    sticky: bool = Field(
        default=False,
        description="Keep each client on one version. false: every request is drawn anew, so that "
        "the versions see alike traffic.",
    )


class Shadow(Section):
    """Traffic that a candidate sees without answering it."""

    percent: int = Field(
        default=0, ge=0, le=100, description="Percent of requests that are mirrored. 0: none."
    )


class PayloadLog(Section):
    """Which requests and responses the monitor sees."""

    sample: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Share of requests that are logged, 0 to 1. 1: drift is seen soonest.",
    )
    redact: Items[Column] = Field(
        default=(),
        max_length=100,
        description="Columns whose values never leave the server.",
    )


class Serving(Section):
    """How a version is served and rolled out."""

    runtime: Runtime | None = Field(
        default=None,
        description="A server of your own, on a cluster. null: Noria's.",
    )
    protocols: Items[Literal["rest", "grpc"]] = Field(
        default=("rest", "grpc"),
        min_length=1,
        max_length=2,
        description="Protocols of the model server (Open Inference Protocol v2).",
    )
    replicas: int = Field(default=1, ge=1, le=1000, description="Servers of one version.")
    resources: Resources = Field(
        default_factory=Resources, description="The machine of one replica."
    )
    batching: Batching = Field(default_factory=Batching, description="Requests predicted together.")
    max_request_bytes: MessageBytes = Field(
        default=16 << 20,
        description="Largest request, bytes with a unit, at most 1Gi. Larger ones get a 413, so "
        "that none can exhaust the memory.",
    )
    canary: Canary = Field(
        default_factory=Canary, description="How a candidate takes over traffic."
    )
    shadow: Shadow = Field(default_factory=Shadow, description="Mirrored traffic for a candidate.")
    payload_log: PayloadLog = Field(
        default_factory=PayloadLog, description="Which requests and responses the monitor sees."
    )

    @property
    def answers_texts(self) -> bool:
        """Whether its server is asked and answers in texts, which are no rows of columns."""
        return self.runtime is not None and self.runtime.speaks_openai

    @property
    def metrics(self) -> MetricNames:
        """The series that the servers count in."""
        return NORIA if self.runtime is None else self.runtime.metrics
