"""Pictures changed at random, by torchvision; what a policy is, the options say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import torch

Augment: TypeAlias = Callable[[torch.Tensor], torch.Tensor]

_LIGHT: Final = {"degrees": 5.0, "translate": (1 / 12, 1 / 12)}
_STANDARD: Final = {"degrees": 10.0, "translate": (1 / 8, 1 / 8), "scale": (0.9, 1.1)}


def augment(policy: str) -> Augment | None:
    """Return what changes (n, channels, h, w) uint8 pictures, each in its own way; None: nothing.

    It draws from PyTorch's generator, which the trainer seeds for each step.
    """
    if policy == "none":
        return None
    from torchvision.transforms import InterpolationMode, v2

    bilinear: Any = {"interpolation": InterpolationMode.BILINEAR}
    if policy == "light":
        change: Any = v2.RandomAffine(**_LIGHT, **bilinear)
    else:
        change = v2.Compose(
            [
                v2.RandomHorizontalFlip(),
                v2.RandomAffine(**_STANDARD, **bilinear),
                v2.ColorJitter(brightness=0.2, contrast=0.2),
            ]
        )

    def each(pictures: torch.Tensor) -> torch.Tensor:
        return torch.stack([change(one) for one in pictures])

    return each
