"""The digits, and the ways to look at them: as text, in grids, the grid of mismatches."""

import os
import random
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from common.data import read
from common.flags import ROOT

SIDE = 28  # pixels, height and width of MNIST's digits


def mnist(datadir: str | os.PathLike[str] | None = None) -> dict[str, NDArray[Any]]:
    """Return training images `x`, labels `y`, test images `X`, labels `Y` as the files hold them.

    MNIST's are (60000, 28, 28), (60000,), (10000, 28, 28) and (10000,) uint8: pixels are 0
    (background) to 255, labels 0 to 9. A datadir is a path as `common.data.read` takes it, which
    also says what is raised; None is the repository's `mnist/data`.
    """
    path = ROOT / "mnist/data" if datadir is None else Path(datadir)
    return dict(zip("xyXY", read(path), strict=True))


def showdigit(images: ArrayLike, labels: ArrayLike, index: int | None = None) -> None:
    """Print an image's label, and a line for each row of its pixels: `*` where one is not 0.

    Images are (n, h, w) or (n, c, h, w), labels (n,). Without an index, one is shown at random.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    index = random.randrange(len(labels)) if index is None else index
    print(labels[index])
    for row in images[index].reshape(-1, *images.shape[-2:]).any(0):
        print("".join("*" if pixel else " " for pixel in row))


def digits() -> NDArray[np.uint8]:
    """Return the label font: (10, 28, 28) uint8, digits of 255 on 0, 13 pixels high, centred."""
    return np.stack([_number(digit, SIDE, SIDE) for digit in range(10)])


def makegrid(
    images: ArrayLike, rows: int, columns: int, pad: int = 2, fill: int = 255
) -> NDArray[np.uint8]:
    """Return one picture of many images, row by row; cells left over are black.

    Images are (n, h, w) or, in colour, (n, h, w, 3) uint8. Between the cells and around them are
    `pad` pixels of the grey `fill`, 0 (black) to 255 (white).
    """
    cells = np.asarray(images)
    if cells.ndim not in (3, 4) or cells.dtype != np.uint8:
        raise ValueError(f"a grid needs (n, h, w) uint8, not {cells.shape} {cells.dtype}")
    count, height, width, *colours = cells.shape
    if count > rows * columns:
        raise ValueError(f"{count} images do not fit a grid of {rows} x {columns}")
    size = rows * (height + pad) + pad, columns * (width + pad) + pad
    grid = np.full((*size, *colours), fill, np.uint8)
    for i in range(rows * columns):
        top, left = pad + i // columns * (height + pad), pad + i % columns * (width + pad)
        grid[top : top + height, left : left + width] = cells[i] if i < count else 0
    return grid


def mismatches(actual: ArrayLike, predicted: ArrayLike) -> dict[int, list[int]]:
    """Return the wrong predictions, sorted, for each class that has any; both are (n,) integers."""
    wrong: dict[int, list[int]] = {}
    pairs = zip(np.asarray(actual).tolist(), np.asarray(predicted).tolist(), strict=True)
    for label, taken_for in sorted(pairs):
        if taken_for != label:
            wrong.setdefault(label, []).append(taken_for)
    return wrong


def mismatch_lines(wrong: Mapping[int, Sequence[int]], names: Sequence[str]) -> list[str]:
    """Return the text of `mismatches`, a line for each class by its name: `9| 4 4 4 5 7 7`."""
    return [
        f"{names[label]}| {' '.join(names[number] for number in given)}"
        for label, given in wrong.items()
    ]


def mismatch_grid(images: ArrayLike, actual: ArrayLike, predicted: ArrayLike) -> NDArray[np.uint8]:
    """Return the picture of every misread image, uint8: two rows for each class that has any.

    The left column has the actual class; then each misread image has its prediction above it, in
    order. Classes are drawn by number. If nothing was misread, there is a single black cell.

    Images are (n, h, w), (n, 1, h, w) or, in colour, (n, 3, h, w) or (n, h, w, 3): uint8, or
    floats, of which the lowest is drawn black and the highest white. Classes are (n,) integers.
    """
    pixels, label, given = np.asarray(images), np.asarray(actual), np.asarray(predicted)
    if pixels.ndim == 4 and pixels.shape[1] in (1, 3):
        pixels = pixels[:, 0] if pixels.shape[1] == 1 else np.moveaxis(pixels, 1, 3)
    if pixels.dtype != np.uint8:
        low, high = pixels.min(), pixels.max()
        pixels = ((pixels - low) * (255 / (high - low or 1))).astype(np.uint8)

    def drawn(number: int) -> NDArray[np.uint8]:
        ink = _number(number, *pixels.shape[1:3])
        return ink if pixels.ndim == 3 else np.stack([ink] * 3, axis=2)

    blank = np.zeros_like(pixels, shape=pixels.shape[1:])
    rows = []
    for number in np.unique(label[label != given]).tolist():
        misread = np.flatnonzero((label == number) & (given != number))
        misread = misread[np.argsort(given[misread], kind="stable")]
        rows.append([blank, *map(drawn, given[misread].tolist())])
        rows.append([drawn(number), *pixels[misread]])
    if not rows:
        rows = [[blank]]
    columns = max(map(len, rows))
    cells = [part for row in rows for part in row + [blank] * (columns - len(row))]
    return makegrid(np.stack(cells), len(rows), columns)


@cache
def _number(number: int, height: int, width: int) -> NDArray[np.uint8]:
    """Return a number, 255 on 0, in Pillow's built-in font, centred: (height, width) uint8."""
    text = str(number)
    size = max(10, 18 * min(height, width) // SIDE)
    image = Image.new("L", (size * (len(text) + 1), 2 * size))
    draw = ImageDraw.Draw(image)
    draw.fontmode = "1"  # no grey edges
    for x in range(1 + size // 18):  # again a pixel apart: strokes as bold as those of handwriting
        draw.text((x, 0), text, fill=255, font=ImageFont.load_default(size))
    ink = image.crop(image.getbbox())
    ink.thumbnail((width, height))  # if it is larger
    cell = Image.new("L", (width, height))
    cell.paste(ink, ((width - ink.width) // 2, (height + 1 - ink.height) // 2))
    return np.asarray(cell)
