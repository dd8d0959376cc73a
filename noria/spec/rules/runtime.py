"""Rules of ``spec.serving.runtime``: what a server that is not Noria's can't be asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from noria.errors import Problem, shorten
from noria.measures.catalog import METRICS, SERVING_METRICS
from noria.spec.data import Data
from noria.spec.monitoring import Monitoring
from noria.spec.rules.data import repeats
from noria.spec.runtime import Runtime
from noria.spec.serving import Serving

_PATH: Final = "spec.serving.runtime"
_DIGEST: Final = re.compile(r".+@sha256:[0-9a-f]{64}")
_SECRET: Final = re.compile(r"(PASSWORD|SECRET|TOKEN|CREDENTIALS|(API|ACCESS|PRIVATE)_KEY)$", re.I)
_VARIABLE: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,199}")
_NORIAS: Final = re.compile(r"NORIA_.*|STORAGE_URI")


def a_runtime_is_a_name_or_an_image(serving: Serving) -> Iterator[Problem]:
    """A runtime has a name with its format, or an image by digest, and not both."""
    runtime = serving.runtime
    if runtime is None:
        return
    if bool(runtime.name) == bool(runtime.image):
        said = f"{runtime.name} and image {runtime.image}" if runtime.name else "no name, no image"
        yield Problem(_PATH, said, "give one of name and image")
        return
    if runtime.image:
        yield from _image(runtime)
        return
    if not runtime.format:
        yield Problem(f"{_PATH}.format", "is missing", f"write a modelFormat of {runtime.name}")
    if runtime.readiness:
        yield Problem(
            f"{_PATH}.readiness",
            f"{runtime.readiness}, but {runtime.name} has its own probes",
            "remove it",
        )


def _image(runtime: Runtime) -> Iterator[Problem]:
    if _DIGEST.fullmatch(runtime.image) is None:
        yield Problem(
            f"{_PATH}.image",
            f"{runtime.image} has no digest, so pods that start later may run another server",
            "write it as NAME@sha256:...",
        )
    if runtime.format:
        yield Problem(
            f"{_PATH}.format",
            f"{runtime.format} is of a named runtime, and image is given",
            "remove it",
        )


def a_runtime_gets_no_secrets_in_clear(serving: Serving) -> Iterator[Problem]:
    """Secrets are named, never held; and what Noria sets can't be set by others."""
    runtime = serving.runtime
    if runtime is None:
        return
    yield from repeats(f"{_PATH}.secrets", runtime.secrets)
    for name in runtime.env:
        if _VARIABLE.fullmatch(name) is None:
            yield Problem(
                f"{_PATH}.env",
                f"{shorten(name)} is not the name of a variable",
                "use letters, digits and '_', with no digit in front",
            )
        elif _NORIAS.fullmatch(name):
            yield Problem(f"{_PATH}.env.{name}", "is set by Noria", "remove it")
        elif _SECRET.search(name):
            yield Problem(
                f"{_PATH}.env.{name}",
                "looks like a secret, and everybody who reads the Model reads it",
                "put it into a Secret, and the Secret's name into serving.runtime.secrets",
            )


def a_runtime_is_counted(serving: Serving) -> Iterator[Problem]:
    """What the analysis checks of a server has its series; no step ends uncounted."""
    runtime = serving.runtime
    if runtime is None:
        return
    names, path = runtime.metrics, f"{_PATH}.metrics"
    if not names.counted and not names.samples:
        yield Problem(
            path,
            "name no requests, seconds or samples, so no canary step can count its answers",
            "give one of them",
        )
    for index, check in enumerate(serving.canary.analysis):
        lacks = _lacks(check.metric, runtime)
        if lacks:
            yield Problem(
                f"spec.serving.canary.analysis[{index}].metric",
                f"{check.metric} can't be measured: {path}.{lacks} is missing",
                f"name it, or give an analysis without {check.metric}",
            )


def _lacks(metric: str, runtime: Runtime) -> str:
    """Return which series a metric of a server needs and has not."""
    names = runtime.metrics
    if metric not in SERVING_METRICS:
        return ""
    if METRICS[metric].unit == "seconds":
        return "" if names.seconds else "seconds"
    if not names.errors:
        return "errors"
    return "" if names.counted else "requests"


def kserve_logs_a_runtime(serving: Serving) -> Iterator[Problem]:
    """KServe's logger sends what was asked as it is: all of it or nothing, and nothing redacted."""
    log = serving.payload_log
    if serving.runtime is None:
        return
    if log.redact:
        yield Problem(
            "spec.serving.payloadLog.redact",
            f"{', '.join(log.redact)} can't be kept from KServe's logger, which logs a server that "
            "is not Noria's",
            "write [] and sample: 0, or leave serving.runtime out",
        )
    if 0 < log.sample < 1:
        yield Problem(
            "spec.serving.payloadLog.sample",
            f"{log.sample:g}, and KServe's logger, which logs a server that is not Noria's, takes "
            "no share",
            "write 1 or 0",
        )


def texts_have_no_prediction(
    data: Data, serving: Serving, monitoring: Monitoring
) -> Iterator[Problem]:
    """Of a model of texts no number is predicted, and no row is kept."""
    if not serving.answers_texts:
        return
    for index, detector in enumerate(monitoring.detectors):
        if detector.watch == "prediction":
            yield Problem(
                f"spec.monitoring.detectors[{index}].watch",
                "prediction, and texts are no numbers",
                "write watch: features, which are the columns of the exchanges",
            )
    if data.served is not None:
        yield Problem(
            "spec.data.served",
            "openai has texts, and only what describes them is kept",
            "remove it",
        )


RUNTIME_RULES: Final = (
    a_runtime_is_a_name_or_an_image,
    a_runtime_gets_no_secrets_in_clear,
    a_runtime_is_counted,
    kserve_logs_a_runtime,
    texts_have_no_prediction,
)
