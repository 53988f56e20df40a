"""Pictures of handwriting: find the digits on a page and bring each to MNIST's form.

There a digit fits a box of 20 x 20 pixels, its aspect ratio kept, and its centre of mass is the
centre of 28 x 28 pixels (http://yann.lecun.com/exdb/mnist/).
"""

import io
import os
import warnings
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from scipy import ndimage
from scipy.sparse.csgraph import connected_components

from common.errors import InputError
from common.ink import Floats, bounds, find_ink, usual_size
from common.mnist import SIDE

BOX = 20  # pixels, the longer side of a digit
DETAIL = 10  # pixels for one of MNIST's, while strokes are widened


class Digit(NamedTuple):
    """A digit on a page: its place, and its image in MNIST's form."""

    box: tuple[int, ...]  # left, top, right, bottom in the picture's pixels
    image: NDArray[np.uint8]  # (28, 28), 0 is background


def read_digit(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Return the one digit that a picture shows, in MNIST's form: (28, 28) uint8.

    If the file is not a picture, is damaged or shows nothing that is drawn, InputError is raised.
    """
    ink, pieces, _ = find_ink(read_picture(path))
    drawn = _whole_digits(pieces) > 0
    if not drawn.any():
        raise InputError(f"{path}: nothing is drawn on it that stands out from the background")
    return _mnist_form(ink, drawn)


def read_picture(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Return a file's pixels as `decode` does; OSError if it cannot be read."""
    return decode(Path(path).read_bytes(), str(path))


def decode(content: bytes, name: str = "the picture") -> NDArray[np.uint8]:
    """Return the pixels of a picture of any format that Pillow reads: (h, w, 4) uint8, RGBA.

    It is turned upright by its EXIF orientation. HEIC needs the package pillow-heif. If it is not
    a picture, damaged or too large, InputError is raised, with the name in its line.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(upright(content, name).convert("RGBA"))


def upright(content: bytes, name: str, side: int | None = None) -> Image.Image:
    """Return a picture as `decode` reads it, in its own mode.

    A JPEG of a multiple of `side`, in pixels, is decoded at half, a quarter or an eighth of its
    size, which is faster.
    """
    _know_heic()
    try:
        picture = Image.open(io.BytesIO(content))
        if side:
            picture.draft(None, (side, side))
        picture.load()
        ImageOps.exif_transpose(picture, in_place=True)
        if picture.mode[0] in "IF":  # 16 bits or more, of which convert() would lose the most
            raise ValueError("it has more than 8 bits a channel")
        return picture
    except UnidentifiedImageError:
        found = "a HEIC photo" if content[4:8] == b"ftyp" else "not a picture"
        raise InputError(f"{name}: {found}; save it as JPEG or PNG") from None
    except Exception as error:  # Pillow raises whatever a damaged file leads it to
        raise InputError(f"{name}: cannot be read: {error}") from None


@cache
def _know_heic() -> None:
    """Have Pillow read HEIC, if there is pillow-heif."""
    with suppress(ImportError):
        import_module("pillow_heif").register_heif_opener()


def find_digits(rgba: NDArray[np.uint8]) -> list[list[Digit]]:
    """Return the digits on a page, (h, w, 4) uint8, in lines from top to bottom."""
    ink, pieces, scale = find_ink(rgba)
    pieces = _whole_digits(pieces)
    digits = []
    for number, (top, left, bottom, right) in enumerate(bounds(pieces).tolist(), 1):
        around = slice(max(top - 2, 0), bottom + 2), slice(max(left - 2, 0), right + 2)
        box = tuple(round(end / scale) for end in (left, top, right, bottom))
        digits.append(Digit(box, _mnist_form(ink[around], pieces[around] == number)))
    return _in_lines(digits)


def _whole_digits(pieces: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the number of each pixel's digit, (h, w), from that of its piece of ink.

    Parts of a digit are joined. Specks, and lines that are too long for a stroke, become 0.
    """
    usual = usual_size(pieces)
    box = bounds(pieces)
    sides = (box[:, 2:] - box[:, :2]).max(1)
    thin = np.bincount(pieces.ravel(), minlength=len(box) + 1)[1:] < 0.15 * sides**2
    at_border = (box[:, :2] == 0).any(1) | (box[:, 2:] == pieces.shape).any(1)
    line = (sides > 4 * usual) | (at_border & thin & (sides > 1.5 * usual))
    kept = np.flatnonzero((sides > max(0.15 * usual, 2)) & ~line)
    number = np.zeros(len(box) + 1, np.int32)
    number[kept + 1] = _joined(box[kept].astype(np.int16), usual) + 1
    joined = number[pieces]

    box = bounds(joined)
    height, width = (box[:, 2:] - box[:, :2]).T
    digit = (np.maximum(height, width) > 0.35 * usual) & (width < 3 * height)
    if not digit.any():  # all there is, for instance a dash
        return joined
    return np.append(0, np.cumsum(digit) * digit).astype(np.int32)[joined]


def _joined(box: NDArray[np.int16], usual: float) -> NDArray[np.int32]:
    """Return the number of each piece's digit, from 0 on: (n,).

    Two pieces are parts of a digit if the gap is narrow, the two are not much taller than a digit,
    and one is above the other, beside its upper half as the bar of a 5, or small. A box is top,
    left, bottom, right, (n, 4); the usual size of a piece is in pixels.
    """
    start, end = box[:, None, :2], box[:, None, 2:]  # n x 1 x 2: down, across
    starts, ends = box[:, :2], box[:, 2:]  # n x 2, so that all pairs make n x n x 2
    size, sizes = end - start, ends - starts
    larger = np.maximum(size, sizes).max(2)
    gap = np.maximum(start, starts) - np.minimum(end, ends)
    height = (np.maximum(end, ends) - np.minimum(start, starts))[..., 0]
    above = -gap[..., 1] > 0.5 * np.minimum(size, sizes)[..., 1]
    bar = (end[..., 0] < (starts + ends)[..., 0] / 2) & (start[..., 1] > starts[..., 1])
    small = size.max(2) < 0.35 * sizes.max(1)
    near = (gap[..., 0] < 0.3 * larger) & (above | (bar | small) & (gap[..., 1] < 0.15 * larger))
    # Where there are few pieces, the usual one may be half a digit.
    whole = height < (1.5 if len(box) > 4 else 1.9) * usual
    return connected_components(near & whole, directed=False)[1]


def _in_lines(digits: list[Digit]) -> list[list[Digit]]:
    """Return the digits in lines, top to bottom and left to right."""
    if not digits:
        return []
    box = np.array([digit.box for digit in digits], np.float32)
    centre, height = (box[:, :2] + box[:, 2:]) / 2, float(np.median(box[:, 3] - box[:, 1]))
    # The lines' slope is that from most digits to their right neighbour.
    across, down = np.moveaxis(centre - centre[:, None], 2, 0)  # n x n, from one to another
    cost = np.where(across > 2 * np.abs(down), across + 2 * np.abs(down), np.inf)
    pairs = np.arange(len(digits)), cost.argmin(1)
    close = cost[pairs] < 6 * height
    slope = np.median(down[pairs][close] / across[pairs][close]) if close.any() else 0
    level = centre[:, 1] - slope * centre[:, 0]

    lines: list[list[int]] = []
    for number in np.argsort(centre[:, 0]).tolist():
        off = [abs(level[line[-3:]].mean() - level[number]) for line in lines]
        if off and min(off) < 0.6 * height:
            lines[int(np.argmin(off))].append(number)
        else:
            lines.append([number])
    lines.sort(key=lambda line: float(level[line].mean()))
    return [[digits[number] for number in line] for line in lines]


def _mnist_form(ink: Floats, drawn: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return the ink at and around the pixels that are drawn, in MNIST's form: (28, 28) uint8."""
    ink = _fitted(ink * ndimage.binary_dilation(drawn, np.ones((3, 3))), BOX * DETAIL)
    # A pen's line, scaled to 20 pixels, may be finer than MNIST's finest, 1.5 pixels: widen it.
    # Across a stroke the mean distance from the edge is a quarter of its width.
    solid = np.pad(ink > 0.5 * ink.max(), 1)
    stroke = 4 * ndimage.distance_transform_edt(solid)[solid].mean() - 2
    missing = max(round((1.5 * DETAIL - stroke) / 2), 0)
    digit = _fitted(ndimage.maximum_filter(np.pad(ink, missing), 2 * missing + 1), BOX)
    height, width = digit.shape
    down, across = ndimage.center_of_mass(digit)
    top = min(max(round(SIDE / 2 - down), 0), SIDE - height)
    left = min(max(round(SIDE / 2 - across), 0), SIDE - width)
    image = np.zeros((SIDE, SIDE), np.uint8)
    image[top : top + height, left : left + width] = (digit * (255 / digit.max())).round()
    return image


def _fitted(ink: Floats, side: int) -> Floats:
    """Return what is drawn and nothing around it, scaled so that its longer side is `side`."""
    rows, columns = ndimage.find_objects((ink > 0.2 * ink.max()).astype(int))[0]
    crop = Image.fromarray(ink[rows, columns])
    width, height = (max(round(length * side / max(crop.size)), 1) for length in crop.size)
    return np.asarray(crop.resize((width, height), Image.Resampling.BICUBIC)).clip(0)
