"""Data in folders: pictures, one of each image, and CSV files."""

import math
import random
import re
import sys
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from tqdm import tqdm

from common.errors import InputError

Array: TypeAlias = NDArray[Any]
Shape: TypeAlias = tuple[int, int, int]  # channels, height, width

TRAIN, TEST = ("train", "training"), ("test", "testing", "val", "valid", "validation")


class Found(NamedTuple):
    """What is at a path: its kind, x_train, y_train, x_test, y_test, and notes for the log.

    Images are arrays as the files hold them, or the paths of pictures: (n,).
    """

    kind: str
    parts: list[Array]
    notes: list[str]


def find_pictures(folder: Path) -> Found | None:
    """Return pictures in folders of one class each, by name, or None if there are none.

    These folders are in `train` or `training`, and `test`, `testing`, `val`, `valid` or
    `validation`, or in the folder itself. InputError is raised if one of these two has no pictures.
    """
    folders = {path.name.lower(): path for path in sorted(folder.glob("[!.]*/"))}
    train = next((folders.pop(name) for name in TRAIN if name in folders), None)
    test = next((folders.pop(name) for name in TEST if name in folders), None)
    x, y = _paths(train or folder)
    if train is None:
        return Found("pictures", *split(x, y)) if len(x) else None
    parts, notes = ([x, y, *_paths(test)], list[str]()) if test else split(x, y)
    if not all(map(len, parts)):
        raise InputError(f"{folder}: no pictures in folders of one class each in {train} or {test}")
    return Found("pictures", parts, notes + [f"{path} is not used" for path in folders.values()])


def _paths(folder: Path) -> list[Array]:
    """Return the paths of pictures in folders of one class each, mixed, and the folders' names."""
    endings = {end for end, form in Image.registered_extensions().items() if form in Image.OPEN}
    found = [path.parts[-2:] for path in folder.glob("[!.]*/[!.]*")]
    found = sorted(parts for parts in found if Path(parts[1]).suffix.lower() in {*endings, ".heic"})
    random.Random(0).shuffle(found)  # --limit and --validate take parts: of all classes
    return [
        np.array([folder.joinpath(*parts) for parts in found], object),
        np.array([name for name, _ in found], str),
    ]


def split(x: Array, y: Array) -> tuple[list[Array], list[str]]:
    """Return the four parts of data that has no test part, and a note that says so."""
    tested, generator = np.zeros(len(y), bool), np.random.default_rng(0)
    for label in np.unique(y):
        places = generator.permutation(np.flatnonzero(y == label))
        tested[places[: max(len(places) // 6, 1)]] = True
    note = "no test part: a sixth of each class, drawn at random, is the test set"
    return [x[~tested], y[~tested], x[tested], y[tested]], [note]


def read_pictures(
    parts: Sequence[Array], shape: Shape | None, ink: bool
) -> tuple[list[Array], int]:
    """Return the parts with images, (n, h, w) or (n, h, w, 3) uint8, and how many are left out.

    Pictures are fitted into the shape, (c, h, w), or that of the first one; with `ink`, each is a
    digit on paper, and brought to MNIST's form. What cannot be read is named on stderr and left
    out; InputError is raised if this is half of all.
    """
    from common.pictures import read_digit, upright  # here, since scipy loads slowly

    paths = [*parts[0], *parts[2]]
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
    errors = [image for image in found if isinstance(image, Exception)]
    if 2 * len(errors) >= len(found):
        raise InputError(f"{errors[0]}; {len(errors)} of {len(found)} pictures cannot be read")
    for error in errors:
        print(f"left out: {error}", file=sys.stderr)
    images = np.stack([image for image in found if not isinstance(image, Exception)])
    kept = np.array([not isinstance(image, Exception) for image in found])
    trained, tested = np.split(kept, [len(parts[0])])
    x_train, x_test = np.split(images, [trained.sum()])
    return [x_train, parts[1][trained], x_test, parts[3][tested]], len(errors)


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


def find_csv(path: Path, shape: Shape | None) -> Found | None:
    """Return the images of a CSV file, or of the one in a folder, or None if there is none.

    A row is a label, an integer, and the pixels of a grey image, row by row, of the shape,
    (1, h, w), or square. A line of titles is passed over. If the file's name has `train` in it, the
    same name with `test` is the test part, if that has labels.
    """
    files = [path] if path.is_file() else sorted(path.glob("[!.]*"))
    files = [file for file in files if file.suffix.lower() == ".csv"]
    files = [file for file in files if "train" in file.name.lower()] or files
    if not files:
        return None
    if len(files) > 1:
        raise InputError(f"{path}: give one of {', '.join(map(str, files))}")
    x, y = _read_csv(files[0], shape)
    twin = files[0].with_name(re.sub("train", "test", files[0].name, flags=re.I))
    if twin != files[0] and twin.exists():
        x_test, y_test = _read_csv(twin, shape)
        if len(y_test):
            return Found("CSV", [x, y, x_test, y_test], [])
        print(f"left out: {twin}: has no labels", file=sys.stderr)
    if not len(y) or np.ptp(y) == 0:
        raise InputError(f"{files[0]}: the first column holds no labels")
    return Found("CSV", *split(x, y))


def _read_csv(path: Path, shape: Shape | None) -> tuple[Array, Array]:
    """Return images, (n, h, w) uint8 or float32, and labels, (n,) int64 or, if missing, (0,)."""
    try:
        with open(path) as file:
            titles = int(file.readline().strip(' "')[:1].isalpha())
        try:
            table = np.loadtxt(
                path, np.uint8, delimiter=",", skiprows=titles, quotechar='"', ndmin=2
            )
        except ValueError:  # floats, or labels above 255
            table = np.loadtxt(
                path, np.float32, delimiter=",", skiprows=titles, quotechar='"', ndmin=2
            )
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    for labels in (1, 0):
        pixels = table.shape[1] - labels
        size = shape[1:] if shape and math.prod(shape) == pixels else (math.isqrt(pixels),) * 2
        if math.prod(size) == pixels > 0:
            images = table[:, labels:].reshape(-1, *size)
            return images, table[:, :labels].astype(np.int64).ravel()
    raise InputError(f"{path}: {pixels} columns are not a label and the pixels of a square image")
