"""Networks that read pictures: a small one of our own, and those of timm and torchvision."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, cast

import torch
from torch import nn

from noria.errors import InvalidInput, NotInstalled, TrainingError
from noria.tasks.images import SMALL
from noria.tasks.images.decoding import Pixels
from noria.tasks.images.pixels import Shape

_WIDTHS: Final = (16, 32, 64, 128, 128, 128, 128, 128)
_LAST: Final = 4
"""Sides of the last map of the small network at most: what is where still counts there."""


def small(shape: Shape, classes: int) -> nn.Module:
    """Return blocks of convolution, batch normalisation, ReLU and pooling, and a linear layer.

    Each block halves the sides. Pictures of 28 by 28 have three, those of 64 by 64 four.
    """
    layers: list[nn.Module] = []
    blocks = max(1, min(len(_WIDTHS), math.ceil(math.log2(shape.size / _LAST))))
    before, side = shape.channels, shape.size
    for width in _WIDTHS[:blocks]:
        layers += [
            nn.Conv2d(before, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
        ]
        before, side = width, side // 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(before * side * side, classes))


def build(backbone: str, shape: Shape, classes: int, *, hub: bool = False) -> nn.Module:
    """Return a network of so many classes; 0: it gives features.

    Args:
        backbone: ``small``, or a name of timm or torchvision, with or without ``timm/`` or
            ``torchvision/`` in front; a bare name is timm's where it has one.
        shape: What it reads.
        classes: How many there are.
        hub: Whether timm fetches its own weights.

    Raises:
        InvalidInput: There is no such network, or it does not read such pictures.
        NotInstalled: The library is missing.
        TrainingError: The hub can't be reached.
    """
    if backbone == SMALL:
        network = small(shape, classes)
        return network if classes else nn.Sequential(*list(network.children())[:-1])
    library, _, name = backbone.rpartition("/")
    if library not in ("", "timm", "torchvision"):
        raise InvalidInput(
            f"spec.task.options.backbone: {backbone} is of {library}",
            fix="write small, timm/NAME or torchvision/NAME",
        )
    try:
        if library != "torchvision":
            found = _timm(name, shape, classes, hub=hub)
            if found is not None:
                return found
        if library != "timm":
            found = _torchvision(name, shape, classes)
            if found is not None:
                return found
    except ImportError as error:
        raise NotInstalled(
            f"spec.task.options.backbone: {backbone} needs {error.name}",
            fix="install noria[images]",
        ) from error
    raise InvalidInput(
        f"spec.task.options.backbone: there is no {backbone}",
        fix="write small, or a name that timm.list_models() or torchvision.models.list_models() "
        "has",
    )


def _timm(name: str, shape: Shape, classes: int, *, hub: bool) -> nn.Module | None:
    import timm

    if not timm.is_model(name):
        return None
    given: dict[str, Any] = {"num_classes": classes, "in_chans": shape.channels}
    try:
        made: nn.Module = timm.create_model(name, pretrained=hub, **given)
    except (OSError, RuntimeError) as error:
        if not hub:
            raise InvalidInput(f"spec.task.options.backbone: {name}: {error}") from error
        raise TrainingError(
            f"spec.task.options.weights: the hub does not give {name}: {str(error)[:200]}",
            fix="name a file of safetensors, or remove weights: it is trained from scratch then",
        ) from error
    return made


def _torchvision(name: str, shape: Shape, classes: int) -> nn.Module | None:
    from torchvision import models

    if name not in models.list_models(module=models):
        return None
    if shape.channels != 3:
        raise InvalidInput(
            f"spec.task.options.channels: {name} of torchvision reads three channels",
            fix="write rgb",
        )
    network: nn.Module = models.get_model(name, weights=None)
    last = [name for name, part in network.named_modules() if isinstance(part, nn.Linear)][-1]
    parent = network.get_submodule(last.rpartition(".")[0])
    head = network.get_submodule(last)
    width = cast("nn.Linear", head).in_features
    setattr(
        parent, last.rpartition(".")[2], nn.Linear(width, classes) if classes else nn.Identity()
    )
    return network


def start_from(network: nn.Module, weights: Mapping[str, torch.Tensor], where: str) -> int:
    """Put weights into the parts of a network that they fit, and return how many tensors did.

    What they lack, such as the last layer of other classes, stays as it is.

    Raises:
        InvalidInput: Most of the network is not among them.
    """
    own = network.state_dict()
    fitting = {
        name: one for name, one in weights.items() if name in own and own[name].shape == one.shape
    }
    if len(fitting) < len(own) / 2:
        raise InvalidInput(
            f"spec.task.options.weights: {where} has {len(fitting)} of the network's {len(own)} "
            "tensors",
            fix="give the weights of this backbone, of the same channels",
        )
    network.load_state_dict(fitting, strict=False)
    return len(fitting)


_MEAN: Final = (0.485, 0.456, 0.406)
_DEVIATION: Final = (0.229, 0.224, 0.225)


def tensor_of(matrix: torch.Tensor, shape: Shape, backbone: str) -> torch.Tensor:
    """Return (n, d) uint8 pixels as a network reads them: (n, channels, size, size) float32.

    The small network reads -1 to 1; others what ImageNet's mean and deviation make of 0 to 1, by
    which the weights of timm and torchvision were learnt.
    """
    pixels = matrix.view(-1, shape.size, shape.size, shape.channels).permute(0, 3, 1, 2).float()
    if backbone == SMALL:
        return pixels.div_(127.5).sub_(1.0)
    mean = torch.tensor(_MEAN[: shape.channels], device=pixels.device).view(1, -1, 1, 1)
    deviation = torch.tensor(_DEVIATION[: shape.channels], device=pixels.device).view(1, -1, 1, 1)
    return pixels.div_(255.0).sub_(mean).div_(deviation)


def asked(
    network: nn.Module, matrix: Pixels, shape: Shape, backbone: str, most: int = 256
) -> torch.Tensor:
    """Return what a network that is not trained now says of n pictures, (n, k)."""
    network.eval()
    device = next(iter(network.state_dict().values())).device
    with torch.inference_mode():
        parts = [
            network(tensor_of(torch.from_numpy(matrix[at : at + most]).to(device), shape, backbone))
            for at in range(0, len(matrix), most)
        ]
    return parts[0].float().cpu() if len(parts) == 1 else torch.cat(parts).float().cpu()
