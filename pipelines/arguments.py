"""The arguments of one run of the training pipeline, made safe for KFP and for Kubernetes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from components.resource import packed
from noria.errors import InvalidInput
from noria.loop.values import RunRequest
from noria.spec import Model

MAX_ESCAPED_BYTES: Final = 115_000
"""What all arguments together may be when they reach a pod.

Argo hands a step's template over in one environment variable, and Linux allows 128 KiB for
one. By then each argument has been written into JSON three times, inside one another.
"""

_MAX_PLAIN_BYTES: Final = 28_000
_MAX_REASON_CHARS: Final = 2_000
_ESCAPINGS: Final = 3
_GO_ESCAPES: Final = "<>&\u2028\u2029"


def escaped_bytes(text: str) -> int:
    """Return the length of an argument in bytes as it reaches a pod: a quote has become eight."""
    for _ in range(_ESCAPINGS):
        text = json.dumps(text, ensure_ascii=False)[1:-1]
        for sign in _GO_ESCAPES:
            text = text.replace(sign, f"\\u{ord(sign):04x}")
    return len(text.encode(errors="surrogatepass"))


def model_argument(model: Model) -> str:
    """Return the resource as JSON, or packed (see ``components.resource``) when that is too long.

    Raises:
        InvalidInput: It is too large even when packed.
    """
    text = harmless(model.model_dump_json(by_alias=True))
    if escaped_bytes(text) > _MAX_PLAIN_BYTES:
        text = packed(text)
    _check({"model": text})
    return text


def run_arguments(
    request: RunRequest,
    *,
    model: str,
    base: Path | str,
    tracking_uri: str,
    artifacts: Path,
    served: str = "",
) -> dict[str, str]:
    """Return the pipeline's arguments for one run; ``served`` is where rows are that were served.

    Raises:
        InvalidInput: They are too large together.
    """
    arguments = {
        "model": model,
        "base": str(base),
        "run_id": request.run_id,
        "as_of": request.as_of.isoformat(),
        "reason": harmless(request.reason[:_MAX_REASON_CHARS]),
        "champion": request.champion or "",
        "tracking_uri": tracking_uri,
        "artifacts": str(artifacts),
        "served": served,
    }
    _check(arguments)
    return arguments


def harmless(text: str) -> str:
    r"""Return ``text`` without ``{{$``, which KFP would take for a placeholder of its own.

    In JSON the brace becomes ``\u007b``, which means the same.
    """
    return text.replace("{{$", "{\\u007b$")


def _check(arguments: Mapping[str, str]) -> None:
    sizes = {name: escaped_bytes(value) for name, value in arguments.items()}
    total = sum(sizes.values())
    if total <= MAX_ESCAPED_BYTES:
        return
    largest = max(sizes, key=lambda name: sizes[name])
    fixes = {
        "model": "shorten category lists, ranges or annotations of the model resource",
        "base": "put the project into an image, and name it in spec.train.compute.image",
    }
    raise InvalidInput(
        f"the pipeline's arguments are {total:,} bytes as a pod gets them, {sizes[largest]:,} of "
        f"them the parameter {largest!r}; a pod takes {MAX_ESCAPED_BYTES:,}",
        fix=fixes.get(largest, f"shorten {largest}"),
    )
