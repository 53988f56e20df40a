"""A picture of one's own digit, brought to the form of MNIST's images.

MNIST's images came about so (http://yann.lecun.com/exdb/mnist/): the digits, in black and white,
were scaled to fit a box of 20 x 20 pixels, their ratio kept, which made their edges grey; then
each was placed so that its centre of mass is at the centre of the 28 x 28 pixels.
"""

import os
import warnings
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageOps, UnidentifiedImageError

from common.grid import SIDE

BOX = 20  # pixels, the longer side of a digit
LARGEST = 1000  # pixels, the longer side of what is looked at of a larger picture
LEAST_CONTRAST = 24  # of 255, between a digit and what it is drawn on
PIECES = 70  # pixels, the longer side of the picture in which specks are told from strokes
DETAIL = 10  # pixels for one of MNIST's, where the width of strokes is measured
LEAST_STROKE = 1.5  # MNIST's pixels, the width of its finest strokes

Floats = NDArray[np.float32]


def read_digit(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Return the digit that a file shows, in MNIST's form: (28, 28) uint8, 0 is background.

    The picture may be of any size and format that Pillow reads, in colour or grey, dark on light or
    light on dark, with transparency, or turned by its EXIF orientation.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is empty, no picture, damaged, too large, or nothing is drawn on it; one line
            with the file's name.
    """
    path = Path(path)
    with open(path, "rb") as file:
        if not file.read(1):
            raise ValueError(f"{path}: an empty file")
        try:
            rgba = _pixels(file)
        except UnidentifiedImageError:
            raise ValueError(f"{path}: no picture in a format that Pillow reads") from None
        except Image.DecompressionBombError:
            most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
            raise ValueError(f"{path}: too large: make it {most:,} pixels or less") from None
        except Exception as error:  # Pillow raises whatever a damaged file leads it to
            raise ValueError(f"{path}: a damaged picture: {error}") from error
    try:
        return mnist_form(rgba)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def mnist_form(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the digit that a picture shows, in MNIST's form: (28, 28) uint8, 0 is background.

    Args:
        rgba: (height, width, 4) uint8: red, green, blue, and how opaque it is.

    Raises:
        ValueError: nothing is drawn on it.
    """
    ink = _without_specks(_ink(_opaque(rgba)))
    digit = _fitted(_with_least_stroke(_fitted(ink, BOX * DETAIL)), BOX)
    digit *= 255 / digit.max()
    corner = []
    for positions, length in zip(np.indices(digit.shape), digit.shape, strict=True):
        centre = float((positions * digit).sum() / digit.sum())
        corner.append(min(max(round(SIDE / 2 - centre), 0), SIDE - length))
    top, left = corner
    image = np.zeros((SIDE, SIDE), np.uint8)
    image[top : top + digit.shape[0], left : left + digit.shape[1]] = digit.round()
    return image


def _pixels(file: BinaryIO) -> NDArray[np.uint8]:
    """Return a picture's pixels, (height, width, 4) uint8, its longer side LARGEST at most."""
    with warnings.catch_warnings():
        # Pillow warns of pictures that take much memory, and refuses those that take too much.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        picture: Image.Image = Image.open(file)
        picture.draft(None, (LARGEST, LARGEST))  # JPEG can be read at a fraction of its size
        picture = ImageOps.exif_transpose(picture)
    if picture.mode[0] in "IF":  # more than 8 bits a pixel, which convert() would cut off
        deep = np.nan_to_num(np.asarray(picture, np.float32), posinf=0, neginf=0)
        deep -= min(deep.min(), 0)
        picture = Image.fromarray((deep * (255 / max(deep.max(), 1e-9))).astype(np.uint8))
    picture = picture.convert("RGBA")
    picture.thumbnail((LARGEST, LARGEST))
    return np.asarray(picture)


def _opaque(rgba: NDArray[np.uint8]) -> Floats:
    """Return a picture without transparency: (height, width, 3), 0 to 255.

    What is drawn on nothing becomes black on white, whatever its colour; a picture that brings its
    own background, but has transparent corners for instance, has that background continued.
    """
    rgb, alpha = rgba[..., :3].astype(np.float32), rgba[..., 3:] / np.float32(255)
    shown = alpha[..., 0] > 0.5
    if shown.all():
        return rgb
    if shown.any():
        rows, columns = (np.flatnonzero(shown.any(axis)) for axis in (1, 0))
        filled = shown.sum() / ((np.ptp(rows) + 1) * (np.ptp(columns) + 1))
        low, high = np.percentile(rgb[shown].mean(1), [5, 95])
        if filled > 0.7 and high - low > LEAST_CONTRAST:
            return cast(Floats, rgb * alpha + np.median(rgb[shown], axis=0) * (1 - alpha))
    return np.repeat(255 * (1 - alpha), 3, axis=2)


def _ink(rgb: Floats) -> Floats:
    """Return how much of the drawing's colour each pixel has: (height, width), 0 to 1.

    What it is drawn on is taken from the pixels at the border, most of which show it; light that
    falls from one side is allowed for. Ink is what differs from it, in colour or brightness, in
    the direction in which the drawing as a whole does.

    Raises:
        ValueError: nothing differs enough.
    """
    height, width, _ = rgb.shape
    rows, columns = np.indices((height, width), np.float32)
    position = np.stack([np.ones_like(rows), rows / height, columns / width], axis=2)
    depth = 1 + min(height, width) // 50
    border = np.ones((height, width), bool)
    border[depth:-depth, depth:-depth] = False

    # A plane for each colour, level at first; then through those pixels that lie near the last one.
    plane = np.zeros((3, 3), np.float32)
    plane[0] = np.median(rgb[border], axis=0)
    for _ in range(2):
        distance = np.linalg.norm(rgb[border] - position[border] @ plane, axis=1)
        near = distance <= max(3 * float(np.median(distance)), 1)
        plane = np.linalg.lstsq(position[border][near], rgb[border][near], rcond=None)[0]
    difference = rgb - position @ plane
    distance = np.linalg.norm(difference, axis=2) / np.sqrt(3)
    noise, strongest = float(np.median(distance[border])), float(distance.max())
    if strongest < max(LEAST_CONTRAST, 10 * noise):
        raise ValueError("nothing is drawn on it that stands out from the background")
    # Where there are marks both lighter and darker than the background, the strongest decides.
    alike = difference @ difference.reshape(-1, 3)[distance.argmax()] > 0
    direction = difference[(distance >= strongest / 2) & alike].mean(0)
    ink = difference @ direction / (direction @ direction)
    floor = min(5 * noise * np.sqrt(3) / np.linalg.norm(direction), 0.5)
    return cast(Floats, ((ink - floor) / (1 - floor)).clip(0, 1).astype(np.float32))


def _without_specks(ink: Floats) -> Floats:
    """Return a drawing without the pieces that have less than a twentieth of the largest's ink."""
    picture = Image.fromarray(ink)
    # Without reducing_gap=None a line along the lower or the right edge may be left out.
    picture.thumbnail((PIECES, PIECES), Image.Resampling.BOX, reducing_gap=None)
    small = np.asarray(picture)
    drawn = Image.fromarray(small > 0.15 * small.max()).convert("L")
    near = np.asarray(drawn.filter(ImageFilter.MaxFilter(3))) > 0  # and the pixels around them
    pieces = Image.fromarray(-near.astype(np.int32))  # -1 where it belongs to no piece as yet
    count = 0
    while (left := np.argwhere(np.asarray(pieces) == -1)).size:
        count += 1
        ImageDraw.floodfill(pieces, (int(left[0, 1]), int(left[0, 0])), count)
    piece = np.asarray(pieces)
    amounts = np.bincount(piece.ravel(), (small * near).ravel())
    kept = Image.fromarray(near & (amounts[piece] >= amounts.max() / 20))
    return ink * np.asarray(kept.resize((ink.shape[1], ink.shape[0]), Image.Resampling.NEAREST))


def _fitted(ink: Floats, side: int) -> Floats:
    """Return what is drawn and nothing around it, scaled so that its longer side is `side`."""
    drawn = ink > 0.2 * ink.max()
    rows, columns = (np.flatnonzero(drawn.any(axis)) for axis in (1, 0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    scale = side / max(bottom - top, right - left)
    size = max(round((right - left) * scale), 1), max(round((bottom - top) * scale), 1)
    box = (left, top, right, bottom)
    return np.asarray(Image.fromarray(ink).resize(size, Image.Resampling.BICUBIC, box)).clip(0)


def _with_least_stroke(ink: Floats) -> Floats:
    """Return a drawing, DETAIL times MNIST's size, with fine strokes widened to LEAST_STROKE.

    A pen's line on a sheet, scaled to 20 pixels, would be finer and fainter than any of MNIST's.
    """
    drawn = np.pad(ink > 0.5 * ink.max(), 1)
    edges = sum(int((drawn != np.roll(drawn, 1, axis)).sum()) for axis in (0, 1))
    # A stroke's area is its width times its length, and its outline is twice its length. An outline
    # in steps is 4 / pi times as long as the line it stands for, on the average of all directions.
    width = 2 * drawn.sum() / (edges * np.pi / 4)
    missing = round((LEAST_STROKE * DETAIL - width) / 2)
    if missing <= 0:
        return ink
    padded = Image.fromarray(np.pad(ink, missing))
    return np.asarray(padded.filter(ImageFilter.MaxFilter(2 * missing + 1)))
