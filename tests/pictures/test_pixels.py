"""What is watched of pictures, and which are the same, against hand calculations."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from noria.tasks.images.pixels import Shape, described, entropy, hashes, pictures_of, twice
from tests.pictures.conftest import digits, png

GREY = Shape(8, 1)


def test_brightness_contrast_and_sharpness_of_a_board_and_of_a_plain_picture() -> None:
    board = np.indices((8, 8)).sum(axis=0) % 2 * 200
    plain = np.full((8, 8), 77)
    matrix = np.stack([board, plain]).reshape(2, 64).astype(np.uint8)
    found = described(matrix, np.array([[8, 9], [10, 11]]), GREY)
    assert found["image.brightness"].tolist() == [100.0, 77.0]
    assert found["image.contrast"].tolist() == [100.0, 0.0]
    # Each of the inner pixels differs by 200 from all of its four neighbours.
    assert found["image.sharpness"].tolist() == [800.0, 0.0]
    assert found["image.width"].tolist() == [8.0, 10.0]
    assert found["image.height"].tolist() == [9.0, 11.0]


def test_the_entropy_of_an_answer() -> None:
    assert entropy(np.full((1, 4), 0.25)) == pytest.approx(np.log(4))
    assert entropy(np.array([[1.0, 0.0]])) == pytest.approx(0.0)
    assert entropy(np.array([0.5, 1.0])) == pytest.approx([np.log(2), 0.0])


def test_another_file_of_a_picture_has_its_hash_and_another_picture_has_not() -> None:
    shape = Shape(64, 1)
    chance = np.random.default_rng(0)
    small = chance.integers(0, 256, (2, 9, 9), dtype=np.uint8)
    first, second = (
        Image.fromarray(one).resize((64, 64), Image.Resampling.BICUBIC) for one in small
    )
    files = [png(np.asarray(first)), png(np.asarray(first), "TIFF"), png(np.asarray(second))]
    one, again, other = hashes(pictures_of(files, shape).matrix, shape)
    assert one == again != other
    assert twice([one], [other, again]) == [1]


def test_plain_pictures_are_no_duplicates_of_each_other() -> None:
    plain = np.full((2, 64), 30, np.uint8)
    assert twice(*([one] for one in hashes(plain, GREY))) == []


def test_different_digits_have_different_hashes() -> None:
    pixels, _ = digits()
    found = hashes(pixels[:300].reshape(300, -1), GREY)
    assert len(set(found)) == len({one.tobytes() for one in pixels[:300]})


def test_faults_name_their_rows_and_the_others_are_read() -> None:
    found = pictures_of([png(np.full((8, 8), 9, np.uint8)), b"no", None], GREY)
    assert sorted(found.faults) == [1, 2]
    assert found.matrix[0].tolist() == [9] * 64
