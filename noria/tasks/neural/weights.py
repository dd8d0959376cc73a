"""Weights as safetensors: plain numbers by name, and nothing that runs when they are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from noria.errors import IntegrityError


def packed(tensors: Mapping[str, Any], said: Mapping[str, str] | None = None) -> bytes:
    """Return tensors as one file of safetensors; the same tensors give the same bytes."""
    from safetensors.torch import save

    plain = {name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}
    return save(plain, None if said is None else dict(said))


def unpacked(content: bytes, name: str) -> dict[str, Any]:
    """Return the tensors of a file of safetensors; ``name`` is the file's, for the message.

    Raises:
        IntegrityError: It is none.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        found: dict[str, Any] = load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise IntegrityError(f"{name}: is no file of safetensors: {error}") from error
    return found


def fill(module: Any, tensors: Mapping[str, Any], name: str) -> None:
    """Put weights into a module.

    Raises:
        IntegrityError: They are of another network.
    """
    try:
        module.load_state_dict(dict(tensors))
    except (RuntimeError, KeyError) as error:
        lines = " ".join(str(error).split())
        raise IntegrityError(f"{name}: does not fit the network: {lines[:300]}") from error
