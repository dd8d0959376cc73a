"""The family ``image-classification``: a class from a picture."""

from typing import Final

IMAGE: Final = "image"
"""The column that a client sends: an encoded file, or pixels."""

SMALL: Final = "small"
"""The network that Noria brings: convolutions from scratch."""

WIDTH: Final = "image.width"
HEIGHT: Final = "image.height"
BRIGHTNESS: Final = "image.brightness"
CONTRAST: Final = "image.contrast"
SHARPNESS: Final = "image.sharpness"
ENTROPY: Final = "answer.entropy"
OF_PICTURES: Final = (WIDTH, HEIGHT, BRIGHTNESS, CONTRAST, SHARPNESS)
DESCRIPTORS: Final = (*OF_PICTURES, ENTROPY)
"""What is watched of a picture and its answer; pixels never leave the server."""
