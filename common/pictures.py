"""Pictures of handwriting: find the digits on a page and bring each to MNIST's form.

There a digit fits a box of 20 x 20 pixels, its aspect ratio kept, and its centre of mass is the
centre of 28 x 28 pixels (http://yann.lecun.com/exdb/mnist/).
"""

import io
import os
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from scipy import ndimage

from common.errors import InputError
from common.ink import find_ink
from common.mnist import SIDE
from common.numbers import MARGIN
from common.pieces import Floats, bounds, in_lines, whole_digits
from common.sheet import only_sheet
from common.signs import is_sign

BOX = 20  # pixels, the longer side of a digit
DETAIL = 4  # pixels for one of MNIST's, while strokes are widened


class Digit(NamedTuple):
    """A digit on a page: its place, and its image in MNIST's form."""

    box: tuple[int, ...]  # left, top, right, bottom in the picture's pixels
    image: NDArray[np.uint8]  # (28, 28), 0 is background
    sign: bool  # a shape that is no digit
    width: float  # as a share of the usual height
    number: Callable[[], NDArray[np.uint8]]  # (28, w), as if it were digits that touch


def read_digit(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Return the one digit that a picture shows, in MNIST's form: (28, 28) uint8.

    If the file is not a picture, is damaged or shows nothing that is drawn, InputError is raised.
    """
    ink, pieces, _ = find_ink(read_picture(path))
    drawn = whole_digits(pieces) > 0
    if not drawn.any():
        raise InputError(f"{path}: nothing is drawn on it that stands out from the background")
    return _mnist_form(ink, drawn)


def read_picture(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Return a file's pixels as `decode` does; OSError if it cannot be read."""
    return decode(Path(path).read_bytes(), str(path))


def decode(
    content: bytes, name: str = "the picture", most_pixels: int | None = None
) -> NDArray[np.uint8]:
    """Return the pixels of a picture of any format that Pillow reads: (h, w, 4) uint8, RGBA.

    It is turned upright by its EXIF orientation. HEIC needs the package pillow-heif. If it is not
    a picture, damaged or of more than `most_pixels`, InputError is raised, with the name in its
    line.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(upright(content, name, most_pixels=most_pixels).convert("RGBA"))


def upright(
    content: bytes, name: str, side: int | None = None, most_pixels: int | None = None
) -> Image.Image:
    """Return a picture as `decode` reads it, in its own mode.

    A JPEG of a multiple of `side`, in pixels, is decoded at half, a quarter or an eighth of its
    size, which is faster.
    """
    _know_heic()
    try:
        picture = Image.open(io.BytesIO(content))
        if most_pixels and picture.width * picture.height > most_pixels:
            raise ValueError(f"it has more than {most_pixels / 1e6:.0f} million pixels")
        if side:
            picture.draft(None, (side, side))
        if picture.format in ("TIFF", "GIF") and getattr(picture, "n_frames", 1) > 1:
            raise ValueError("it holds several pictures: save each in a file of its own")
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
    ink, pieces, scale = find_ink(only_sheet(rgba))
    pieces = whole_digits(pieces)
    box = bounds(pieces)
    usual = float(np.median(box[:, 2] - box[:, 0])) if len(box) else 1.0
    digits = []
    for number, (top, left, bottom, right) in enumerate(box.tolist(), 1):
        drawn = pieces[top:bottom, left:right] == number
        around = np.pad(drawn, 2)
        down, across = np.ogrid[top - 2 : bottom + 2, left - 2 : right + 2]
        part = ink[down.clip(0, len(ink) - 1), across.clip(0, ink.shape[1] - 1)]
        corners = tuple(round(end / scale) for end in (left, top, right, bottom))
        image, as_number = _mnist_form(part, around), partial(_number_form, part, around)
        width = (right - left) / usual
        digits.append(Digit(corners, image, is_sign(drawn, usual), width, as_number))
    lines, _ = in_lines(np.array([digit.box for digit in digits]).reshape(-1, 4))
    return [[digits[number] for number in line] for line in lines]


def lines_slope(lines: list[list[Digit]]) -> float:
    """Return how far the lines fall, in pixels down for each pixel across."""
    return in_lines(np.array([digit.box for line in lines for digit in line]).reshape(-1, 4))[1]


def _mnist_form(ink: Floats, drawn: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return the ink at and around the pixels that are drawn, in MNIST's form: (28, 28) uint8."""
    digit = _strokes(ink, drawn)
    height, width = digit.shape
    down, across = ndimage.center_of_mass(digit)
    top = min(max(round(SIDE / 2 - down), 0), SIDE - height)
    left = min(max(round(SIDE / 2 - across), 0), SIDE - width)
    return np.pad(digit, ((top, SIDE - height - top), (left, SIDE - width - left)))


def _number_form(ink: Floats, drawn: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return the ink as the image of a number, 20 pixels high: (28, w) uint8, w a multiple of 4."""
    number = _strokes(ink, drawn, high=True)
    return np.pad(number, ((4, 4), (MARGIN, MARGIN + -number.shape[1] % 4)))


def _strokes(ink: Floats, drawn: NDArray[np.bool_], high: bool = False) -> NDArray[np.uint8]:
    """Return the ink, (h, w) uint8: its longer side, or its height, is scaled to 20 pixels."""
    ink = _fitted(ink * ndimage.binary_dilation(drawn, np.ones((3, 3))), BOX * DETAIL, high)
    # A pen's line, scaled to 20 pixels, may be finer than MNIST's finest, 1.5 pixels: widen it.
    # Across a stroke the mean distance from the edge is a quarter of its width.
    solid = np.pad(ink > 0.5 * ink.max(), 1)
    stroke = 4 * ndimage.distance_transform_edt(solid)[solid].mean() - 2
    missing = max(round((1.5 * DETAIL - stroke) / 2), 0)
    ink = _fitted(ndimage.maximum_filter(np.pad(ink, missing), 2 * missing + 1), BOX, high)
    return (ink * (255 / ink.max())).round().astype(np.uint8)


def _fitted(ink: Floats, length: int, high: bool) -> Floats:
    """Return what is drawn and nothing around it: its longer side, or its height, is `length`."""
    rows, columns = ndimage.find_objects((ink > 0.2 * ink.max()).astype(int))[0]
    crop = Image.fromarray(ink[rows, columns])
    scale = length / (crop.height if high else max(crop.size))
    width, height = (max(round(size * scale), 1) for size in crop.size)
    return np.asarray(crop.resize((width, height), Image.Resampling.BICUBIC)).clip(0)
