"""Ways to cut digits that touch: paths from top to bottom that cross little ink."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from common.pieces import Floats

ROWS = 40  # of the picture in which the paths are looked for
MOST = 10  # paths


class Part(NamedTuple):
    """What is between two of the paths, which the left and the right side of the ink end."""

    ends: tuple[int, int]  # the numbers of the paths
    drawn: NDArray[np.bool_]  # (h, w)
    crossed: float  # the ink that the right path crosses, as a share of the height


def find_parts(ink: Floats, drawn: NDArray[np.bool_]) -> list[Part]:
    """Return the parts of what is drawn, (h, w), that may be a digit: of one piece, and not low."""
    height, width = drawn.shape
    paths, crossed = _paths(ink * drawn)
    edges = np.pad(paths, ((1, 1), (0, 0)), constant_values=((0, width), (0, 0)))[..., None]
    parts = []
    for i in range(len(edges) - 1):
        for j in range(i + 1, len(edges)):
            part = drawn & (np.arange(width) >= edges[i]) & (np.arange(width) < edges[j])
            pieces, _ = ndimage.label(part, np.ones((3, 3)))
            areas = np.append(np.bincount(pieces.ravel())[1:], 0)
            one = pieces == areas.argmax() + 1
            rows, columns = (np.ptp(index) + 1 if areas.any() else 0 for index in one.nonzero())
            if (
                areas.max() > max(0.85 * areas.sum(), 0.08 * drawn.sum())
                and rows > height / 2
                and columns < 1.3 * height
                and j - i < len(edges) - 1
            ):
                parts.append(Part((i, j), one, crossed[j - 1] if j <= len(crossed) else 0.0))
    return parts


def _paths(ink: Floats) -> tuple[NDArray[np.int64], list[float]]:
    """Return each path's columns, (k, h), from left to right, and the ink that it crosses, (k,).

    Near each of several columns, it is the path that crosses the least ink of (h, w).
    """
    height, width = ink.shape
    small = np.asarray(Image.fromarray(ink).resize((max(round(width * ROWS / height), 2), ROWS)))
    columns = np.arange(small.shape[1])
    starts = np.arange(ROWS // 5, small.shape[1] - ROWS // 5, 3)[:, None, None]
    away = np.minimum(((columns - starts) / (ROWS / 5)) ** 2, 4)  # of which some paths may be more
    cost = small + 0.02 + np.concatenate((0.15 * away, 1.5 * away))  # k x rows x columns
    for row in range(1, ROWS):
        cost[:, row] += ndimage.minimum_filter1d(cost[:, row - 1], 3, axis=1)
    paths = np.empty(cost.shape[:2], np.int64)
    every, paths[:, -1] = np.arange(len(cost)), cost[:, -1].argmin(1)
    for row in range(ROWS - 2, -1, -1):  # back up
        near = (paths[:, row + 1, None] + (0, -1, 1)).clip(0, len(columns) - 1)
        paths[:, row] = near[every, cost[every[:, None], row, near].argmin(1)]
    crossed = small[np.arange(ROWS), paths].sum(1) / ROWS
    left = (small * (columns < paths[..., None])).sum((1, 2)) / small.sum()  # share of the ink
    kept: list[int] = []
    for number in np.argsort(crossed).tolist():
        if 0.1 < left[number] < 0.9 and all(abs(left[number] - left[kept]) > 0.06):
            kept.append(number)
    kept = sorted(kept[:MOST], key=lambda number: left[number])
    rows = np.arange(height) * ROWS // height
    return paths[kept][:, rows] * width // len(columns), crossed[kept].tolist()
