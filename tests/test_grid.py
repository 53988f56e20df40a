"""Grids, label digits and mismatches: small cases, pixel by pixel."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

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
    for digit in DIGITS:
        rows, columns = np.flatnonzero(digit.any(axis=1)), np.flatnonzero(digit.any(axis=0))
        assert 12 <= rows[-1] - rows[0] + 1 <= 14
        assert abs(rows[0] - (27 - rows[-1])) <= 1
        assert abs(columns[0] - (27 - columns[-1])) <= 1


def test_digits_have_their_shapes() -> None:
    """The holes tell: two in an 8, one in 0, 4, 6 and 9; those of 6 and 9 below and above."""

    def holes(digit: NDArray[np.uint8]) -> list[int]:
        """Return the mean row of each patch of background that does not reach the edge."""
        unseen = {(int(row), int(column)) for row, column in np.argwhere(digit == 0)}
        patches = []
        while unseen:
            patch, edge = set(), [unseen.pop()]
            while edge:
                row, column = edge.pop()
                patch.add((row, column))
                near = {(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)}
                edge += near & unseen
                unseen -= near
            if (0, 0) not in patch:
                patches.append(sum(row for row, _ in patch) // len(patch))
        return patches

    found = [holes(digit) for digit in DIGITS]
    assert [len(rows) for rows in found] == [1, 0, 0, 0, 1, 0, 1, 0, 2, 1]
    assert found[6][0] > 14 > found[9][0]


def test_makegrid_pixel_by_pixel() -> None:
    images = np.array([[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [10, 11, 12]], [[13, 14, 15]] * 2])
    assert makegrid(images.astype(np.uint8), rows=2, columns=2, pad=1, fill=99).tolist() == [
        [99, 99, 99, 99, 99, 99, 99, 99, 99],
        [99, 1, 2, 3, 99, 7, 8, 9, 99],
        [99, 4, 5, 6, 99, 10, 11, 12, 99],
        [99, 99, 99, 99, 99, 99, 99, 99, 99],
        [99, 13, 14, 15, 99, 0, 0, 0, 99],
        [99, 13, 14, 15, 99, 0, 0, 0, 99],
        [99, 99, 99, 99, 99, 99, 99, 99, 99],
    ]


def test_makegrid_defaults_and_no_padding() -> None:
    grid = makegrid(IMAGES, 2, 3)
    assert grid.shape == (2 * 30 + 2, 3 * 30 + 2) and grid.dtype == np.uint8
    assert (grid[:2] == 255).all() and (grid[2:30, 30:32] == 255).all() and grid[2, 2] == 10
    bare = makegrid(IMAGES, 2, 3, pad=0)
    assert bare.shape == (56, 84) and bare[55, 83] == 60 and bare[0, 28] == 20


@pytest.mark.parametrize(
    ("images", "options", "complaint"),
    [
        (IMAGES, {"rows": 1, "columns": 5}, "6 images do not fit a grid of 1 x 5"),
        (IMAGES[0], {"rows": 1, "columns": 1}, r"not \(28, 28\) and uint8"),
        (IMAGES / 255, {"rows": 2, "columns": 3}, "and float64"),
        (IMAGES[:0], {"rows": 0, "columns": 3}, "rows=0"),
        (IMAGES, {"rows": 2, "columns": 3, "pad": -1}, "pad=-1"),
        (IMAGES, {"rows": 2, "columns": 3, "fill": 256}, "fill=256"),
    ],
)
def test_makegrid_refuses(
    images: NDArray[np.uint8], options: dict[str, int], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        makegrid(images, **options)


@pytest.mark.parametrize("kind", [np.asarray, np.ndarray.tolist, torch.from_numpy])
def test_mismatches(kind: Callable[[Any], Any]) -> None:
    wrong = mismatches(kind(ACTUAL), kind(PREDICTED))
    assert wrong == {2: [0], 9: [4, 7, 7]} and list(wrong) == [2, 9]
    assert mismatch_lines(wrong) == ["2| 0", "9| 4 7 7"]


def test_no_mismatches() -> None:
    assert mismatches(ACTUAL, ACTUAL) == {} and mismatch_lines({}) == []
    grid = mismatch_grid(IMAGES, ACTUAL, ACTUAL)
    assert grid.dtype == np.uint8 and np.array_equal(grid, makegrid(BLACK[np.newaxis], 1, 1))


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_mismatch_grid_cell_by_cell(kind: Callable[[Any], Any]) -> None:
    expected = [
        [BLACK, DIGITS[0], BLACK, BLACK],
        [DIGITS[2], IMAGES[3], BLACK, BLACK],
        [BLACK, DIGITS[4], DIGITS[7], DIGITS[7]],
        [DIGITS[9], IMAGES[2], IMAGES[0], IMAGES[5]],
    ]
    grid = mismatch_grid(kind(IMAGES), kind(ACTUAL), kind(PREDICTED))
    assert grid.shape == (4 * 30 + 2, 4 * 30 + 2) and grid.dtype == np.uint8
    white = np.full(grid.shape, True)
    for i, row in enumerate(expected):
        for j, cell in enumerate(row):
            at = slice(2 + 30 * i, 30 + 30 * i), slice(2 + 30 * j, 30 + 30 * j)
            assert np.array_equal(grid[at], cell), (i, j)
            white[at] = False
    assert (grid[white] == 255).all()


@pytest.mark.parametrize(
    ("images", "actual", "predicted", "complaint"),
    [
        (IMAGES, ACTUAL, PREDICTED[:5], r"shapes \(6,\) and \(5,\)"),
        (IMAGES, ACTUAL[:5], PREDICTED[:5], r"\(5, 28, 28\)"),
        (IMAGES / 255, ACTUAL, PREDICTED, "float64"),
        (IMAGES, ACTUAL, PREDICTED - 1, "int64 -1 to 6"),
        (IMAGES, ACTUAL + 1, PREDICTED, "int64 1 to 10"),
        (IMAGES, ACTUAL, PREDICTED + 0.5, "float64"),
        (IMAGES, ACTUAL, np.eye(6)[:, :, np.newaxis], r"shapes \(6,\) and \(6, 6, 1\)"),
    ],
)
def test_mismatch_grid_refuses(
    images: NDArray[np.uint8],
    actual: NDArray[np.uint8],
    predicted: NDArray[np.uint8],
    complaint: str,
) -> None:
    with pytest.raises(ValueError, match=complaint):
        mismatch_grid(images, actual, predicted)
