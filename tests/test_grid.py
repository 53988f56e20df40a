"""Grids, label digits and mismatches: small cases, pixel by pixel."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import label

from common.mnist import digits, makegrid, mismatch_grid, mismatch_lines, mismatches

DIGITS = digits()
BLACK = np.zeros((28, 28), np.uint8)
# Six images that can be told apart, with labels that are wrong for numbers 0, 2, 3 and 5.
IMAGES = np.stack([np.full((28, 28), 10 * (i + 1), np.uint8) for i in range(6)])
ACTUAL = np.array([9, 4, 9, 2, 0, 9])
PREDICTED = np.array([7, 4, 4, 0, 0, 7])


def test_digits() -> None:
    assert DIGITS.shape == (10, 28, 28) and DIGITS.dtype == np.uint8
    assert set(np.unique(DIGITS)) == {0, 255}
    assert len({digit.tobytes() for digit in DIGITS}) == 10
    # The holes tell their shapes: two in an 8, one in 0, 4, 6 and 9.
    assert [label(digit == 0)[1] - 1 for digit in DIGITS] == [1, 0, 0, 0, 1, 0, 1, 0, 2, 1]


def test_makegrid_pixel_by_pixel() -> None:
    images = np.array([[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [10, 11, 12]], [[13, 14, 15]] * 2])
    expected = [
        [99, 99, 99, 99, 99, 99, 99, 99, 99],
        [99, 1, 2, 3, 99, 7, 8, 9, 99],
        [99, 4, 5, 6, 99, 10, 11, 12, 99],
        [99, 99, 99, 99, 99, 99, 99, 99, 99],
        [99, 13, 14, 15, 99, 0, 0, 0, 99],
        [99, 13, 14, 15, 99, 0, 0, 0, 99],
        [99, 99, 99, 99, 99, 99, 99, 99, 99],
    ]
    grid = makegrid(images.astype(np.uint8), rows=2, columns=2, pad=1, fill=99)
    assert grid.dtype == np.uint8 and grid.tolist() == expected
    for colours in (np.stack([images] * 3, axis=3), np.stack([images] * 3, axis=1)):
        grid = makegrid(colours.astype(np.uint8), rows=2, columns=2, pad=1, fill=99)
        assert grid.tolist() == np.stack([expected] * 3, axis=2).tolist()


@pytest.mark.parametrize("kind", [np.asarray, np.ndarray.tolist, torch.from_numpy])
def test_mismatches(kind: Callable[[Any], Any]) -> None:
    wrong = mismatches(kind(ACTUAL), kind(PREDICTED))
    assert wrong == {2: [0], 9: [4, 7, 7]} and list(wrong) == [2, 9]
    assert mismatch_lines(wrong, "abcdefghij") == ["c| a", "j| e h h"]
    nothing = mismatch_grid(IMAGES, kind(ACTUAL), kind(ACTUAL))
    assert np.array_equal(nothing, makegrid(BLACK[np.newaxis], 1, 1))


@pytest.mark.parametrize(
    "images",
    [
        IMAGES,
        IMAGES[:, np.newaxis],  # channels first
        torch.from_numpy(IMAGES),
        np.stack([IMAGES] * 3, axis=3),  # in colour
        np.stack([IMAGES] * 3, axis=1),
        (IMAGES - 10.0) * 1.02,  # 0 to 51, drawn as 0 to 255
    ],
)
def test_mismatch_grid_cell_by_cell(images: Any) -> None:
    of = IMAGES if images.dtype != np.float64 else (IMAGES // 10 - 1) * np.uint8(51)
    cells = [BLACK, DIGITS[0], BLACK, BLACK]
    cells += [DIGITS[2], of[3], BLACK, BLACK]
    cells += [BLACK, DIGITS[4], DIGITS[7], DIGITS[7]]
    cells += [DIGITS[9], of[2], of[0], of[5]]
    expected = makegrid(np.stack(cells), 4, 4)
    if 3 in images.shape:
        expected = np.stack([expected] * 3, axis=2)
    grid = mismatch_grid(images, ACTUAL, PREDICTED)
    assert grid.dtype == np.uint8 and np.array_equal(grid, expected)


def test_a_class_that_is_often_misread_has_one_row_of_at_most_40_cells() -> None:
    actual, predicted = np.repeat([3, 5], [50, 2]), np.repeat([8, 3], [50, 2])
    grid = mismatch_grid(np.zeros((52, 28, 28), np.uint8), actual, predicted)
    assert grid.shape == (2 + 4 * 30, 2 + 40 * 30)


def test_labels_above_9_are_drawn_by_number() -> None:
    drawn = []
    for number in (4, 6, 46, 64, 1000):
        grid = mismatch_grid(np.zeros((1, 64, 64), np.uint8), [number], [0])
        drawn.append(grid[68:-2, 2:66])
    assert len({cell.tobytes() for cell in drawn}) == 5
    assert [label(cell > 127)[1] for cell in drawn] == [1, 1, 2, 2, 4]
