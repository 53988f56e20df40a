"""The loader of MNIST: its files, its digits as text and in grids, the grid of mismatches.

An IDX file is two zero bytes, a byte for the type of the elements, a byte for the number of
dimensions, a 32-bit size for each dimension, and the elements, last dimension fastest, all of it
big-endian (http://yann.lecun.com/exdb/mnist/, "The IDX file format").
"""

import gzip
import math
import os
import random
import struct
import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from common.errors import InputError
from common.fetch import FILES, fetch, is_empty
from common.files import write_whole
from common.flags import ROOT

SIDE = 28  # pixels, height and width of MNIST's digits
COLUMNS = 40  # the most in a grid of mismatches
MNIST_HASH = "1e2d516351f4"  # of its four files, as the headers of runs have it
TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def mnist(datadir: str | os.PathLike[str] | None = None) -> dict[str, NDArray[Any]]:
    """Return training images `x`, labels `y`, test images `X`, labels `Y` as the files hold them.

    MNIST's are (60000, 28, 28), (60000,), (10000, 28, 28) and (10000,) uint8: pixels are 0
    (background) to 255, labels 0 to 9. A datadir, by default the repository's `mnist/data`, holds
    the four files, raw or gzipped. They are fetched into one that holds nothing, or only a
    README.md. Raises InputError if a file is missing or damaged, OSError if MNIST cannot be
    fetched.
    """
    folder = ROOT / "mnist/data" if datadir is None else Path(datadir)
    if is_empty(folder):
        fetch(folder)
    found, arrays = sorted(os.listdir(folder)), []
    for name in FILES:
        if not (files := [file for file in found if file in (name, name.removesuffix(".gz"))]):
            raise InputError(f"{folder}: found {', '.join(found[:5])}; {name} is missing")
        arrays.append(read_idx(folder / files[0]))  # the raw file if there are both
    if [*map(len, arrays[::2])] != [*map(len, arrays[1::2])]:
        sizes = ", ".join(str(array.shape) for array in arrays)
        raise InputError(f"{folder}: images and labels do not belong together: {sizes}")
    return dict(zip("xyXY", arrays, strict=True))


def read_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Return the array in an IDX file, which is gzipped if its name ends in `.gz`.

    The array is writable, in native byte order, and has the header's shape and type. If the file is
    not IDX, truncated or damaged, InputError is raised.
    """
    path = Path(path)
    content = path.read_bytes()
    try:
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}: damaged gzip file: {error}") from None
    code, dimensions = content[2:4] if len(content) > 3 else (0, 0)
    start = 4 + 4 * dimensions
    known = content[:2] == b"\0\0" and code in TYPES and 1 <= dimensions <= 64
    if not known or len(content) < start:
        raise InputError(f"{path}: not an IDX file: it begins with {content[:4].hex(' ')!r}")
    shape, dtype = struct.unpack(f">{dimensions}I", content[4:start]), np.dtype(TYPES[code])
    size = dtype.itemsize * math.prod(shape)
    if len(content) != start + size:
        raise InputError(
            f"{path}: truncated or damaged: {shape} {dtype.name} are {size} bytes,"
            f" the file holds {len(content) - start}"
        )
    array = np.frombuffer(bytearray(content), dtype, offset=start).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def write_idx(path: str | os.PathLike[str], array: NDArray[Any]) -> None:
    """Write an array to an IDX file, gzipped if it ends in `.gz`; InputError for other types."""
    path, dtype = Path(path), array.dtype.newbyteorder(">")
    codes = [code for code, known in TYPES.items() if np.dtype(known) == dtype]
    if not codes or not array.ndim:
        raise InputError(f"{path}: IDX holds no {array.dtype} of {array.ndim} dimensions")
    header = bytes([0, 0, codes[0], array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    content = header + array.astype(dtype).tobytes()
    write_whole(path, gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


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

    Images are (n, h, w) or, in colour, (n, h, w, 3) or (n, 3, h, w): uint8. Between the cells and
    around them are `pad` pixels of the grey `fill`, 0 (black) to 255 (white).
    """
    cells = np.stack([_cell(image) for image in np.asarray(images)])
    if cells.dtype != np.uint8 or len(cells) > rows * columns:
        raise ValueError(f"{cells.shape} {cells.dtype} do not fit a uint8 grid, {rows} x {columns}")
    height, width, *colours = cells.shape[1:]
    size = rows * (height + pad) + pad, columns * (width + pad) + pad
    grid = np.full((*size, *colours), fill, np.uint8)
    for i in range(rows * columns):
        top, left = pad + i // columns * (height + pad), pad + i % columns * (width + pad)
        grid[top : top + height, left : left + width] = cells[i] if i < len(cells) else 0
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
    """Return the picture of the misread images, uint8: two rows for each class that has any.

    The left column has the actual class; then each misread image has its prediction above it, in
    order. A class has at most 39. Classes are drawn by number. If nothing was misread, there is a
    single black cell.

    Images are (n, h, w), (n, 1, h, w) or, in colour, (n, 3, h, w) or (n, h, w, 3): uint8, or
    floats, of which the lowest is drawn black and the highest white. Classes are (n,) integers.
    """
    pixels, label, given = np.asarray(images), np.asarray(actual), np.asarray(predicted)
    low, high = (0, 255) if pixels.dtype == np.uint8 else (pixels.min(), pixels.max())
    blank = np.zeros_like(_cell(pixels[0]), np.uint8)

    def drawn(number: int) -> NDArray[np.uint8]:
        ink = _number(number, *blank.shape[:2])
        return ink if blank.ndim == 2 else np.stack([ink] * 3, axis=2)

    rows = []
    for number in np.unique(label[label != given]).tolist():
        misread = np.flatnonzero((label == number) & (given != number))
        misread = misread[np.argsort(given[misread], kind="stable")][: COLUMNS - 1]
        rows.append([blank, *map(drawn, given[misread].tolist())])
        shown = (pixels[misread] - low) * (255 / (high - low or 1))
        rows.append([drawn(number), *map(_cell, shown.astype(np.uint8))])
    columns = max(map(len, rows), default=1)
    cells = [cell for row in rows for cell in row + [blank] * (columns - len(row))]
    return makegrid(cells or [blank], max(len(rows), 1), columns)


def _cell(image: ArrayLike) -> NDArray[Any]:
    """Return an image as a grid has it, (h, w) or (h, w, 3), from it or (1 or 3, h, w)."""
    pixels = np.asarray(image)
    if pixels.ndim == 3 and pixels.shape[0] in (1, 3):
        pixels = np.moveaxis(pixels, 0, 2)
    return pixels[..., 0] if pixels.shape[2:] == (1,) else pixels


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
