"""From a file, or from pixels, to pixels of one size: the same in training and in the server."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from noria.errors import InvalidInput

Pixels = NDArray[np.uint8]

MAX_PIXELS: Final = 64_000_000
"""Pixels of a picture at most: a file of some kilobytes may say that it has billions."""

FORMATS: Final = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
"""What is read; every other reader is a door that nobody needs."""

_ORIENTATION: Final = 0x0112
_WIDE: Final = ("I;16", "I;16B", "I;16L", "I")
_PLAIN: Final = {1: "L", 3: "RGB"}
_MOST_16: Final = 65_535
_FIX: Final = "send a whole file of PNG, JPEG, WebP, BMP, GIF or TIFF"


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """A picture: (size, size, channels) pixels, and the width and height that it had."""

    pixels: Pixels
    width: int
    height: int


def read(value: Any, size: int, channels: int) -> Read:
    """Return a picture at the size of a network: 1 channel is grey, 3 are red, green and blue.

    It is turned as its EXIF says; 16 bits become 8; what is transparent becomes white; of an
    animation it is the first frame. Its sides are stretched to be alike (bilinear, antialiased).

    Args:
        value: The bytes of a file, or uint8 pixels (h, w), (h, w, 1), (h, w, 3) or (h, w, 4).
        size: Of both sides, pixels.
        channels: 1 or 3.

    Raises:
        InvalidInput: It is no picture, is cut off, or is larger than ``MAX_PIXELS``.
    """
    if isinstance(value, np.ndarray):
        return _at_size(_of_pixels(value), size, channels, None)
    if not value:
        raise InvalidInput("is empty", fix=_FIX)
    try:
        with Image.open(io.BytesIO(value), formats=FORMATS) as image:
            width, height = image.size
            _refuse_large(width, height)
            # Of a large JPEG a smaller one is decoded, which costs a fraction.
            image.draft(_PLAIN[channels], (2 * size, 2 * size))
            turned = image.getexif().get(_ORIENTATION, 1) if image.format != "PNG" else 1
            image.load()
            upright = image if turned == 1 else ImageOps.exif_transpose(image)
            if turned >= 5:
                width, height = height, width
            return _at_size(upright, size, channels, (width, height))
    except UnidentifiedImageError as error:
        raise InvalidInput("is no picture of a known format", fix=_FIX) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large() from error
    except InvalidInput:
        raise
    except Exception as error:
        # A reader raises whatever a broken file makes of it: OSError, SyntaxError, struct.error...
        said = " ".join(str(error).split())[:120] or type(error).__name__
        raise InvalidInput(f"can't be decoded: {said}", fix=_FIX) from error


def _of_pixels(value: NDArray[Any]) -> Image.Image:
    if value.dtype != np.uint8 or value.ndim not in (2, 3) or 0 in value.shape:
        raise InvalidInput(
            f"has {value.dtype} pixels of the shape {value.shape}",
            fix="send UINT8 of [n, height, width] or [n, height, width, channels]",
        )
    if value.ndim == 3 and value.shape[2] not in (1, 3, 4):
        raise InvalidInput(
            f"has {value.shape[2]} channels", fix="send 1, 3 or 4 of them, as the last dimension"
        )
    _refuse_large(value.shape[1], value.shape[0])
    plain = value[:, :, 0] if value.ndim == 3 and value.shape[2] == 1 else value
    return Image.fromarray(np.ascontiguousarray(plain))


def _at_size(image: Image.Image, size: int, channels: int, was: tuple[int, int] | None) -> Read:
    width, height = was or image.size
    plain = _plain(image, _PLAIN[channels])
    if plain.size != (size, size):
        plain = plain.resize((size, size), Image.Resampling.BILINEAR)
    return Read(np.asarray(plain).reshape(size, size, channels), width, height)


def _plain(image: Image.Image, mode: str) -> Image.Image:
    """Return the picture as 8 bits of grey or of red, green and blue."""
    if image.mode == mode:
        return image
    if image.mode in _WIDE or image.mode == "F":
        values = np.asarray(image).astype(np.float64)
        most = _MOST_16 if image.mode != "F" or values.max(initial=0.0) > 255 else 255
        image = Image.fromarray(np.clip(values * (255.0 / most), 0, 255).round().astype(np.uint8))
    elif image.has_transparency_data:
        seen = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def _refuse_large(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise _too_large()


def _too_large() -> InvalidInput:
    return InvalidInput(f"has more than {MAX_PIXELS:,} pixels", fix="send a smaller one")
