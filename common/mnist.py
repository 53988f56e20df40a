"""The digits, and the ways to look at them."""

import math
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.data import read
from common.flags import ROOT
from common.grid import digits, makegrid, mismatch_grid, mismatches

__all__ = ["digits", "makegrid", "mismatch_grid", "mismatches", "mnist", "showdigit"]


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

    Images are (n, h, w), (n, c, h, w), or (n, pixels) of square images, labels (n,). Without an
    index, one is shown at random.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    index = random.randrange(len(labels)) if index is None else index
    side = math.isqrt(images[index].size)
    height, width = images.shape[-2:] if images.ndim > 2 else (side, side)
    image = images[index].reshape(-1, height, width)  # channels first
    print(labels[index])
    for row in image.any(0):
        print("".join("*" if pixel else " " for pixel in row))
