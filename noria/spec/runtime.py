"""``spec.serving.runtime``: a server that is not Noria's, and how it is asked and counted."""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

from pydantic import BeforeValidator, Field, WithJsonSchema

from noria.spec.section import Items, Section
from noria.spec.series import MAX_CHARS, NAME_PATTERN, SERIES_PATTERN, Series, checked_series
from noria.spec.train import ImageName

Protocol: TypeAlias = Literal["v2", "v1", "openai"]

READINESS: Final[dict[Protocol, str]] = {
    "v2": "/v2/health/ready",
    "v1": "/v1/models/{model}",
    "openai": "/health",
}
"""Where a server of each protocol usually says that it can answer."""

_PATH: Final = r"^/[^\s?#]*$"
_NAME: Final = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$"

SeriesText: TypeAlias = Annotated[
    str,
    BeforeValidator(checked_series),
    WithJsonSchema({"type": "string", "maxLength": MAX_CHARS, "pattern": SERIES_PATTERN}),
]
"""A selector as ``noria.spec.series`` reads it."""


class MetricNames(Section):
    """The series of a server's own metrics. Lists are added up."""

    requests: Items[SeriesText] = Field(
        default=(),
        max_length=10,
        description="Counters of the requests that were answered, failed ones too. None: the count "
        "of the histogram seconds.",
        examples=[["http_requests_total"]],
    )
    errors: Items[SeriesText] = Field(
        default=(),
        max_length=10,
        description="Counters of the requests that failed by the server's fault. None: error-rate "
        "can't be checked.",
        examples=[['http_requests_total{code=~"5.."}']],
    )
    seconds: str = Field(
        default="",
        max_length=MAX_CHARS,
        pattern=rf"^({NAME_PATTERN})?$",
        description="Histogram of the time to answer, in seconds, without _bucket. Empty: "
        "latencies can't be checked.",
        examples=["vllm:e2e_request_latency_seconds"],
    )
    samples: Items[SeriesText] = Field(
        default=(),
        max_length=10,
        description="Counters of the samples that were answered rightly. None: requests without "
        "errors.",
    )
    ready: str = Field(
        default="",
        max_length=MAX_CHARS,
        pattern=rf"^({NAME_PATTERN})?$",
        description="A gauge that is 1 while the server takes requests. Empty: one whose metrics "
        "are scraped does.",
    )
    port: int = Field(default=0, ge=0, le=65535, description="Its port. 0: that of the requests.")
    path: str = Field(
        default="/metrics", max_length=200, pattern=_PATH, description="Its path on that port."
    )

    @property
    def counted(self) -> tuple[Series, ...]:
        """The counters of requests."""
        given = self.requests or ((f"{self.seconds}_count",) if self.seconds else ())
        return tuple(map(Series.parse, given))

    @property
    def failed(self) -> tuple[Series, ...]:
        """The counters of failed requests."""
        return tuple(map(Series.parse, self.errors))

    @property
    def answered(self) -> tuple[Series, ...]:
        """The counters of samples; none where requests less errors are meant."""
        return tuple(map(Series.parse, self.samples))


NORIA: Final = MetricNames(
    requests=("noria_requests_total",),
    errors=("noria_request_errors_total",),
    seconds="noria_request_seconds",
    samples=("noria_rows_total",),
    ready="noria_ready",
)
"""What Noria's own server counts."""


class Runtime(Section):
    """A server that is not Noria's: a runtime that KServe knows, or an image of the project's."""

    name: str = Field(
        default="",
        max_length=63,
        pattern=_NAME,
        description="A ServingRuntime of the namespace, or a ClusterServingRuntime.",
        examples=["kserve-huggingfaceserver"],
    )
    format: str = Field(
        default="",
        max_length=63,
        description="The modelFormat of that runtime.",
        examples=["huggingface"],
    )
    image: ImageName = Field(
        default="",
        description="Or an image, by digest: what a tag points at can change under a version that "
        "serves. It finds the package in /mnt/models.",
    )
    args: Items[Annotated[str, Field(max_length=2000)]] = Field(
        default=(),
        max_length=100,
        description="Its arguments; a named runtime has its own before them. $(NORIA_MODEL) and "
        "$(NORIA_VERSION) are what is served.",
    )
    env: dict[str, Annotated[str, Field(max_length=2000)]] = Field(
        default={}, max_length=100, description="Its variables. No secrets."
    )
    secrets: Items[Annotated[str, Field(max_length=253, pattern=_NAME, min_length=1)]] = Field(
        default=(),
        max_length=20,
        description="Names of Secrets in the namespace whose keys become variables.",
    )
    port: int = Field(
        default=8080, ge=1024, le=65535, description="Where it takes requests, over HTTP."
    )
    readiness: str = Field(
        default="",
        max_length=200,
        pattern=r"^(/[^\s?#]*)?$",
        description="Path that answers 200 once the image can answer requests. Empty: the "
        "protocol's, /v2/health/ready, /v1/models/MODEL or /health.",
    )
    protocol: Protocol = Field(
        default="v2",
        description="How requests and answers look, which is how the monitor reads them: v2 (Open "
        "Inference Protocol), v1 (instances and predictions) or openai (chat completions and "
        "completions), where lengths, tokens and ends of texts are watched in place of features.",
    )
    metrics: MetricNames = Field(
        default_factory=MetricNames, description="The series of its own metrics."
    )
    gpus: int = Field(default=0, ge=0, le=64, description="GPUs of one replica, nvidia.com/gpu.")
    user: int = Field(
        default=65532, ge=1, le=(1 << 31) - 1, description="User id that it runs as; never root."
    )
    read_only_root_filesystem: bool = Field(
        default=True, description="Of an image: it can write to /tmp alone."
    )

    @property
    def called(self) -> str:
        """What it is: the name of a runtime, or an image."""
        return self.name or self.image

    def ready_path(self, model: str) -> str:
        """Return where an image says that it can answer."""
        return (self.readiness or READINESS[self.protocol]).replace("{model}", model)

    @property
    def speaks_openai(self) -> bool:
        """Whether requests and answers are texts, by OpenAI's API."""
        return self.protocol == "openai"
