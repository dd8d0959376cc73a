"""The arguments of one run of the training pipeline, made safe for KFP."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from noria.errors import InvalidInput
from noria.loop.values import RunRequest
from noria.spec import Model

MAX_PARAMETER_BYTES: Final = 96_000
"""KFP hands parameters over on a command line; Linux allows 128 KiB for one argument."""


def model_argument(model: Model, spill: Path | None = None) -> str:
    """Return the resource as JSON; when it is too large, as ``@PATH`` of a file at ``spill``.

    Raises:
        InvalidInput: It is too large and there is no place to spill it to.
    """
    text = harmless(model.model_dump_json(by_alias=True))
    if len(text.encode()) <= MAX_PARAMETER_BYTES:
        return text
    if spill is None:
        raise InvalidInput(
            f"the model resource is {len(text.encode()):,} bytes as JSON; "
            f"a pipeline parameter holds {MAX_PARAMETER_BYTES:,}",
            fix="shorten category lists, ranges or annotations",
        )
    spill.parent.mkdir(parents=True, exist_ok=True)
    spill.write_text(text)
    return f"@{spill}"


def run_arguments(
    request: RunRequest, *, model: str, base: Path | str, tracking_uri: str, artifacts: Path
) -> dict[str, str]:
    """Return the pipeline's arguments for one run."""
    return {
        "model": model,
        "base": str(base),
        "run_id": request.run_id,
        "as_of": request.as_of.isoformat(),
        "reason": harmless(request.reason)[:4000],
        "champion": request.champion or "",
        "tracking_uri": tracking_uri,
        "artifacts": str(artifacts),
    }


def harmless(text: str) -> str:
    r"""Return ``text`` without ``{{$``, which KFP would take for a placeholder of its own.

    In JSON the brace becomes ``\u007b``, which means the same.
    """
    return text.replace("{{$", "{\\u007b$")
