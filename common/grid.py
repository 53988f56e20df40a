"""Pictures of many digits: grids, the digits that label them, and the grid of mismatches."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

SIDE = 28  # pixels, height and width of a digit


def digits() -> NDArray[np.uint8]:
    """Return the label font: (10, 28, 28) uint8, digits of 255 on 0, 13 pixels high, centred.

    The digits are those of Pillow's built-in font.
    """
    font = ImageFont.load_default(size=18)
    cells = np.zeros((10, SIDE, SIDE), np.uint8)
    for digit, cell in enumerate(cells):
        image = Image.new("L", (SIDE, SIDE))
        draw = ImageDraw.Draw(image)
        draw.fontmode = "1"  # no grey edges
        for x in (4, 5):  # twice, a pixel apart: strokes as bold as those of the handwritten digits
            draw.text((x, 4), str(digit), fill=255, font=font)
        ink = np.asarray(image.crop(image.getbbox()))
        height, width = ink.shape
        top, left = (SIDE + 1 - height) // 2, (SIDE - width) // 2
        cell[top : top + height, left : left + width] = ink
    return cells


def makegrid(
    images: ArrayLike, rows: int, columns: int, pad: int = 2, fill: int = 255
) -> NDArray[np.uint8]:
    """Return one picture of many images, row by row, uint8.

    Args:
        images: (n, height, width) uint8, n at most rows * columns; cells left over are black.
        rows: cells from top to bottom.
        columns: cells from left to right.
        pad: pixels between the cells and around them.
        fill: grey of those pixels, 0 (black) to 255 (white).

    Returns:
        (rows * (height + pad) + pad, columns * (width + pad) + pad) uint8.

    Raises:
        ValueError: images of another shape or type, more of them than cells, or a number out of
            range.
    """
    images = np.asarray(images)
    if images.ndim != 3 or images.dtype != np.uint8:
        raise ValueError(
            f"a grid needs images of shape (n, height, width) and type uint8,"
            f" not {images.shape} and {images.dtype}"
        )
    if rows < 1 or columns < 1 or pad < 0 or not 0 <= fill <= 255:
        raise ValueError(
            f"a grid needs rows and columns of at least 1, pad of at least 0 and fill of 0 to 255,"
            f" not rows={rows}, columns={columns}, pad={pad}, fill={fill}"
        )
    count, height, width = images.shape
    if count > rows * columns:
        raise ValueError(f"{count} images do not fit a grid of {rows} x {columns}")
    cells = np.zeros((rows * columns, height, width), np.uint8)
    cells[:count] = images
    # Each cell takes its padding with it, above and to the left.
    padded = np.pad(cells, ((0, 0), (pad, 0), (pad, 0)), constant_values=fill)
    cells_by_row = padded.reshape(rows, columns, pad + height, pad + width).swapaxes(1, 2)
    grid = cells_by_row.reshape(rows * (pad + height), columns * (pad + width))
    return np.pad(grid, ((0, pad), (0, pad)), constant_values=fill)


def mismatches(actual: ArrayLike, predicted: ArrayLike) -> dict[int, list[int]]:
    """Return what each digit was mistaken for: digit to sorted list of wrong predictions.

    A digit that was never misread has no entry; `mismatch_lines` gives the text.

    Args:
        actual: (n,) integers, the labels, 0 to 9.
        predicted: (n,) integers, what the model took the images for, 0 to 9.

    Raises:
        ValueError: the two differ in length, or are not digits.
    """
    actual, predicted = _labels(actual, predicted)
    wrong: dict[int, list[int]] = {}
    for digit, taken_for in sorted(zip(actual.tolist(), predicted.tolist(), strict=True)):
        if taken_for != digit:
            wrong.setdefault(digit, []).append(taken_for)
    return wrong


def mismatch_lines(wrong: Mapping[int, Sequence[int]]) -> list[str]:
    """Return the text of `mismatches`, a line for each digit: `9| 4 4 4 5 7 7`."""
    return [f"{digit}| {' '.join(map(str, taken_for))}" for digit, taken_for in wrong.items()]


def mismatch_grid(images: ArrayLike, actual: ArrayLike, predicted: ArrayLike) -> NDArray[np.uint8]:
    """Return the picture of every misread image, uint8: two rows for each digit that has any.

    In the left column, nothing above and the actual digit below; then, for each misread image, the
    label that the model gave it above, the image below, in the order of that label. Cells are
    28 x 28, with 2 white pixels between and around; short rows end in black cells. If nothing was
    misread, the picture is a single black cell.

    Args:
        images: (n, 28, 28) uint8.
        actual: (n,) integers, the labels, 0 to 9.
        predicted: (n,) integers, what the model took the images for, 0 to 9.

    Raises:
        ValueError: images of another shape or type, labels that are not digits, or a different
            number of them.
    """
    images = np.asarray(images)
    actual, predicted = _labels(actual, predicted)
    if images.shape != (len(actual), SIDE, SIDE) or images.dtype != np.uint8:
        raise ValueError(
            f"a grid of mismatches needs images of shape ({len(actual)}, {SIDE}, {SIDE}) and type"
            f" uint8, not {images.shape} and {images.dtype}"
        )
    font, blank = digits(), np.zeros((SIDE, SIDE), np.uint8)
    rows = []
    for digit in range(10):
        misread = np.flatnonzero((actual == digit) & (predicted != digit))
        misread = misread[np.argsort(predicted[misread], kind="stable")]
        if misread.size:
            rows.append([blank, *font[predicted[misread]]])
            rows.append([font[digit], *images[misread]])
    if not rows:
        rows = [[blank]]
    columns = max(map(len, rows))
    cells = [cell for row in rows for cell in row + [blank] * (columns - len(row))]
    return makegrid(np.stack(cells), len(rows), columns)


def _labels(
    actual: ArrayLike, predicted: ArrayLike
) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """Return both as arrays, or raise ValueError if they are not digits, one to one."""
    pair = np.asarray(actual), np.asarray(predicted)
    if pair[0].ndim != 1 or pair[0].shape != pair[1].shape:
        raise ValueError(
            f"actual and predicted labels must be two lists of one length,"
            f" not of shapes {pair[0].shape} and {pair[1].shape}"
        )
    for labels in pair:
        if labels.size and (labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() > 9):
            raise ValueError(
                f"labels must be integers 0 to 9, not {labels.dtype}"
                f" {labels.min()} to {labels.max()}"
            )
    return pair
