"""Files of pictures, one of each image, as arrays of one shape."""

import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from tqdm import tqdm

from common.errors import InputError

Array: TypeAlias = NDArray[Any]
Shape: TypeAlias = tuple[int, int, int]  # channels, height, width


def is_picture(path: Path) -> bool:
    """Return whether a file is a picture by the ending of its name."""
    form = Image.registered_extensions().get(path.suffix.lower())
    return form in Image.OPEN or path.suffix.lower() == ".heic"


def read_pictures(
    paths: Array, labels: Array, shape: Shape | None, ink: bool, notes: list[str]
) -> tuple[Array, Array]:
    """Return images, (n, c, h, w) uint8, and labels of pictures.

    They are fitted into the shape, (c, h, w), or that of the first one; with `ink`, each is a digit
    on paper, and brought to MNIST's form. What cannot be read is named on stderr, left out and
    counted in the notes; InputError is raised if this is half of all.
    """
    from common.pictures import read_digit, upright  # here, since scipy loads slowly

    if shape is None:
        first = upright(paths[0].read_bytes(), str(paths[0]))
        shape = 1 if first.mode in ("1", "L") else 3, first.height, first.width
    size = shape

    def read(path: Path) -> Array | Exception:
        try:
            if ink:
                return read_digit(path)
            return _fitted(upright(path.read_bytes(), str(path), 2 * max(size[1:])), size)
        except (ValueError, OSError) as error:
            return error

    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.simplefilter("ignore")  # Pillow's, of what it can read all the same
        # To hand a picture to a thread takes longer than to decode one of 28 x 28 pixels.
        results = (pool.map if ink or paths[0].stat().st_size > 10_000 else map)(read, paths)
        found = list(tqdm(results, "pictures", len(paths), disable=None, leave=False))
    images = [image for image in found if not isinstance(image, Exception)]
    errors = [image for image in found if isinstance(image, Exception)]
    if errors:
        if len(errors) >= len(images):
            raise InputError(f"{errors[0]}; {len(errors)} of {len(found)} pictures cannot be read")
        print(*(f"left out: {error}\n" for error in errors), sep="", end="", file=sys.stderr)
        notes.append(f"{len(errors)} of {len(found)} pictures are left out")
    x = np.stack(images).reshape(-1, *size[1:], size[0]).transpose(0, 3, 1, 2).copy()
    return x, labels[[not isinstance(image, Exception) for image in found]]


def _fitted(picture: Image.Image, shape: Shape) -> Array:
    """Return a picture as large as fits the shape; its border's colour fills the rest."""
    from common.ink import opaque

    if picture.has_transparency_data:  # what is visible decides, as for predict.py
        picture = Image.fromarray(opaque(np.asarray(picture.convert("RGBA"))).astype(np.uint8))
    picture = picture.convert("L" if shape[0] == 1 else "RGB")
    pixels, size = np.asarray(picture), shape[:0:-1]  # width, height
    if picture.size == size:
        return pixels
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    colour = np.median(border.reshape(len(border), -1), axis=0).astype(int)
    return np.asarray(ImageOps.pad(picture, size, color=tuple(colour.tolist())))
