"""The digits: MNIST from its four files, and the ways to look at them."""

import os
import random
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.fetch import ARRIVED, fetch
from common.grid import SIDE, digits, makegrid, mismatch_grid, mismatch_lines, mismatches
from common.idx import idx_header, read_idx

__all__ = [
    "digits",
    "makegrid",
    "mismatch_grid",
    "mismatch_lines",
    "mismatches",
    "mnist",
    "showdigit",
]

DATA = Path(__file__).resolve().parent.parent / "mnist" / "data"
NAMES = {
    "x": "train-images-idx3-ubyte",
    "y": "train-labels-idx1-ubyte",
    "X": "t10k-images-idx3-ubyte",
    "Y": "t10k-labels-idx1-ubyte",
}


def mnist(datadir: str | os.PathLike[str] | None = None) -> dict[str, NDArray[np.uint8]]:
    """Return the digits: training images `x`, labels `y`, test images `X`, labels `Y`, all uint8.

    Of MNIST these are (60000, 28, 28), (60000,), (10000, 28, 28) and (10000,); pixels are 0
    (background) to 255, labels 0 to 9. Any other data set in the same form will do, of any number
    of images (http://yann.lecun.com/exdb/mnist/).

    Args:
        datadir: the folder of the four files, each raw or gzipped (`.gz`); the raw one is taken if
            both are there. None is the repository's `mnist/data`. An existing folder with none of
            the four has MNIST fetched into it.

    Raises:
        ValueError: a file is damaged, or the files do not belong together; one line with the
            file's name.
        OSError: a folder or file cannot be read, some of the four files are missing, or none could
            be fetched; in one line.
    """
    paths = _find(DATA if datadir is None else Path(datadir))
    # All headers are looked at before the first image is read.
    _check_headers(paths["x"], paths["y"])
    _check_headers(paths["X"], paths["Y"])
    data = {key: read_idx(path) for key, path in paths.items()}
    for key in "yY":
        if data[key].max() > 9:
            raise ValueError(f"{paths[key]}: a label is {data[key].max()}, over 9")
    return data


def showdigit(images: ArrayLike, labels: ArrayLike, index: int | None = None) -> None:
    """Print the label of an image and its 28 lines of 28 characters, `*` where it is not 0.

    Args:
        images: (n, 28, 28) uint8, or (n, 784).
        labels: (n,) integers.
        index: which of them; None takes one at random.

    Raises:
        IndexError: there is no such image.
        ValueError: an image is not of 28 x 28 pixels, or there are none to choose from.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    if index is None:
        index = random.randrange(len(labels))
    print(labels[index])
    for row in images[index].reshape(SIDE, SIDE):
        print("".join("*" if pixel else " " for pixel in row))


def _find(folder: Path) -> dict[str, Path]:
    """Return the path of each of the four files; if the folder has none, they are fetched."""
    try:
        present = set(os.listdir(folder))
    except OSError as error:
        raise type(error)(f"cannot read the data folder {folder}: {error.strerror}") from error
    found = _paths(folder, present)
    if not found or ARRIVED in present:
        fetch(folder)
        found = _paths(folder, set(os.listdir(folder)))
    missing = [name for key, name in NAMES.items() if key not in found]
    if missing:
        raise FileNotFoundError(
            f"{folder}: {', '.join(missing)} missing, raw or .gz, where others of the four files"
            f" are present; add what is missing, or remove the others to have MNIST fetched"
        )
    return found


def _paths(folder: Path, present: set[str]) -> dict[str, Path]:
    """Return the paths of those of the four files that are present, raw ahead of gzipped."""
    paths = {}
    for key, name in NAMES.items():
        if name in present:
            paths[key] = folder / name
        elif f"{name}.gz" in present:
            paths[key] = folder / f"{name}.gz"
    return paths


def _check_headers(images: Path, labels: Path) -> None:
    """Raise ValueError unless the headers are those of digits and of as many labels."""
    image_type, image_shape = idx_header(images)
    label_type, label_shape = idx_header(labels)
    if image_type != np.uint8 or image_shape[1:] != (SIDE, SIDE) or image_shape[0] == 0:
        raise ValueError(
            f"{images}: holds {image_type} of shape {image_shape},"
            f" where images are uint8 of shape (n, {SIDE}, {SIDE})"
        )
    if label_type != np.uint8 or len(label_shape) != 1:
        raise ValueError(
            f"{labels}: holds {label_type} of shape {label_shape},"
            f" where labels are uint8 of shape (n,)"
        )
    if image_shape[0] != label_shape[0]:
        raise ValueError(
            f"{images} holds {image_shape[0]} images, {labels} holds {label_shape[0]} labels:"
            f" they do not belong together"
        )
