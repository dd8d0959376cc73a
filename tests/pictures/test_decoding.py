"""Files of every kind become the pixels that another library's arithmetic gives."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from noria.errors import InvalidInput
from noria.tasks.images.decoding import read
from tests.pictures.conftest import png

RAMP = np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8)


def test_grey_pixels_come_back_as_they_are() -> None:
    found = read(png(RAMP), 8, 1)
    np.testing.assert_array_equal(found.pixels[:, :, 0], RAMP)
    assert (found.width, found.height) == (8, 8)


def test_raw_pixels_and_a_file_of_them_are_one() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    np.testing.assert_array_equal(read(colours, 8, 3).pixels, read(png(colours), 8, 3).pixels)
    np.testing.assert_array_equal(read(RAMP[:, :, None], 8, 1).pixels, read(RAMP, 8, 1).pixels)


def test_colours_become_grey_by_their_luminance() -> None:
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 255
    assert read(red, 8, 1).pixels[0, 0, 0] == round(0.299 * 255)


def test_a_picture_is_turned_as_its_exif_says() -> None:
    wide = np.zeros((4, 8), np.uint8)
    wide[:, :4] = 200  # bright on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    found = read(png(wide, "JPEG", exif=exif, quality=95), 8, 1)
    assert (found.width, found.height) == (4, 8)
    assert found.pixels[:3].mean() > 150  # bright on top
    assert found.pixels[5:].mean() < 50


def test_sixteen_bits_become_eight() -> None:
    deep = RAMP.astype(np.uint16) * 257
    np.testing.assert_array_equal(read(png(deep), 8, 1).pixels[:, :, 0], RAMP)


def test_what_is_transparent_becomes_white() -> None:
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:4, :, 3] = 255  # black above, nothing below
    found = read(png(pixels), 8, 3).pixels
    assert found[:4].max() == 0
    assert found[4:].min() == 255


def test_a_cmyk_jpeg_is_read_in_its_colours() -> None:
    file = io.BytesIO()
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(file, "JPEG")  # no cyan: red
    red, green, blue = read(file.getvalue(), 8, 3).pixels[4, 4]
    assert red > 200
    assert max(green, blue) < 60


def test_a_palette_and_one_bit_are_read() -> None:
    image = Image.fromarray(RAMP)
    for mode, most in (("P", 0), ("1", 255)):
        file = io.BytesIO()
        image.convert(mode).save(file, "PNG")
        found = read(file.getvalue(), 8, 1).pixels[:, :, 0]
        assert np.abs(found.astype(int) - RAMP).max() <= most


def test_another_size_is_scaled_with_antialiasing() -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    found = read(png(stripes), 8, 1)
    assert (found.width, found.height) == (64, 64)
    assert np.abs(found.pixels.astype(int) - 127).max() < 20  # grey, and no stripes of an alias


def bomb(side: int) -> bytes:
    """Return a PNG that says it has so many pixels, and has none."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))


WHOLE = png(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (b"", "is empty"),
        (None, "is empty"),
        (b"a text", "is no picture of a known format"),
        (WHOLE[: len(WHOLE) // 2], "can't be decoded"),
        (png(np.zeros((64, 64), np.uint8), "JPEG")[:120], "(can't be decoded|is no picture)"),
        (bomb(9_000), "more than 64,000,000 pixels"),
        (bomb(10_000), "more than 64,000,000 pixels"),
        (bomb(60_000), "more than 64,000,000 pixels"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n", "is no picture"),
        (np.zeros((8, 8, 2), np.uint8), "2 channels"),
        (np.zeros((0, 8), np.uint8), "the shape"),
        (np.zeros((8, 8), np.float32), "float32 pixels"),
    ],
)
def test_what_is_no_picture_is_refused_with_a_sentence(value: object, said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as caught:
        read(value, 8, 1)
    assert caught.value.fix
