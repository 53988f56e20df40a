"""The pieces of ink on a page: how large they are, which make up a digit, which are in a line."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from common.errors import InputError

MOST = 5000  # digits on a page
DRAWN = 0.25  # of full ink: where a stroke ends

Floats: TypeAlias = NDArray[np.float32]


def label(ink: Floats, least: float = DRAWN) -> NDArray[np.int32]:
    """Return the number of each pixel's piece, from 1 on, and 0 where nothing is drawn: (h, w)."""
    return ndimage.label(ink > least, np.ones((3, 3)))[0]


def bounds(pieces: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return top, left, bottom and right of each piece: (n, 4)."""
    place = pieces.nonzero()
    number, count = pieces[place] - 1, int(pieces.max(initial=0))
    box = np.zeros((count, 4), np.int64)
    box[:, :2] = max(pieces.shape)
    for axis in range(2):
        np.minimum.at(box[:, axis], number, place[axis])
        np.maximum.at(box[:, axis + 2], number, place[axis] + 1)
    return box


def usual_size(pieces: NDArray[np.int32], frames: NDArray[np.bool_] | None = None) -> float:
    """Return the median of the pieces' longer sides, weighted by their areas, in pixels.

    Frames, (n,), and pieces at the border, for instance a table around the sheet, count only if
    little else is there.
    """
    box, areas = bounds(pieces), np.bincount(pieces.ravel())[1:]
    if not len(box):
        return float(max(pieces.shape))
    sides = (box[:, 2:] - box[:, :2]).max(1)
    inner = (box[:, :2] > 0).all(1) & (box[:, 2:] < pieces.shape).all(1)
    free = np.ones(len(box), bool) if frames is None else ~frames
    kept = free & inner
    if sides[kept].sum() > sides[free].sum() / 10:
        sides, areas = sides[kept], areas[kept]
    order = np.argsort(sides)
    return float(sides[order][np.searchsorted(areas[order].cumsum(), areas.sum() / 2)])


def whole_digits(pieces: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the number of each pixel's digit, (h, w), from that of its piece of ink.

    Parts of a digit are joined. Specks, and lines that are too long for a stroke, become 0. If
    there are more digits than a page can have, InputError is raised.
    """
    usual = usual_size(pieces)
    box = bounds(pieces)
    sides = (box[:, 2:] - box[:, :2]).max(1)
    thin = np.bincount(pieces.ravel(), minlength=len(box) + 1)[1:] < 0.15 * sides**2
    at_border = (box[:, :2] == 0).any(1) | (box[:, 2:] == pieces.shape).any(1)
    line = (sides > 4 * usual) | (at_border & thin & (sides > 1.5 * usual))
    kept = np.flatnonzero((sides > max(0.15 * usual, 2)) & ~line)
    number = np.zeros(len(box) + 1, np.int32)
    # Digits that touch are wide: a digit is not much higher than most pieces are.
    high = 1.2 * float(np.percentile((box[:, 2] - box[:, 0])[kept], 75)) if len(kept) else usual
    number[kept + 1] = _joined(box[kept], min(usual, high)) + 1
    joined = number[pieces]

    box, areas = bounds(joined), np.bincount(joined.ravel())[1:]
    height, width = (box[:, 2:] - box[:, :2]).T
    solid = areas > 0.5 * height * width  # a dash or a point, which is a sign
    digit = np.maximum(height, width) > 0.35 * usual
    digit &= (width < 3 * height) | solid & (width < 1.3 * usual) | (height > high / 2)
    if digit.any() and not digit.all():  # a point is close to the lower end of a digit
        foot = np.stack(((box[:, 1] + box[:, 3]) / 2, 1.5 * box[:, 2]), 1)
        near, _ = cKDTree(foot[digit]).query(foot)
        digit |= solid & (near < 0.9 * usual) & (width < 0.4 * usual) & (height < 0.5 * usual)
    if digit.sum() > MOST:
        text = f"{digit.sum():,} marks are on it, and a page has at most {MOST:,}: crop it"
        raise InputError(text)
    if not digit.any():  # all there is, for instance a dash
        return joined
    return np.append(0, np.cumsum(digit) * digit).astype(np.int32)[joined]


def _joined(box: NDArray[np.int64], usual: float) -> NDArray[np.int32]:
    """Return the number of each piece's digit, from 0 on: (n,).

    Two pieces are parts of a digit if the gap is narrow, the two are not much taller than a digit,
    and one is above the other, beside its upper half as the bar of a 5, or small. A box is top,
    left, bottom, right, (n, 4); the usual size of a piece is in pixels.
    """
    if not len(box):
        return np.zeros(0, np.int32)
    near = cKDTree(box[:, :2] + box[:, 2:]).query_pairs(6 * usual, output_type="ndarray")
    one, other = np.concatenate((near, near[:, ::-1])).T  # the centres are 3 digits apart at most
    (start, end), (starts, ends) = ((box[index, :2], box[index, 2:]) for index in (one, other))
    size, sizes = end - start, ends - starts  # m x 2: down, across
    larger = np.maximum(size, sizes).max(1).clip(max=1.2 * usual)
    gap = np.maximum(start, starts) - np.minimum(end, ends)
    height = (np.maximum(end, ends) - np.minimum(start, starts))[:, 0]
    above = -gap[:, 1] > 0.5 * np.minimum(size, sizes)[:, 1]
    bar = (end[:, 0] < (starts + ends)[:, 0] / 2) & (start[:, 1] > starts[:, 1])
    small = size.max(1) < 0.35 * sizes.max(1)
    overlap = (gap < 0).all(1)  # a 4 without its bar
    close = (gap[:, 0] < 0.3 * larger) & (above | (bar | small) & (gap[:, 1] < 0.15 * larger))
    close |= overlap & (size.max(1) < 0.6 * sizes.max(1))
    # Where there are few pieces, the usual one may be half a digit.
    close &= height < (1.5 if len(box) > 4 else 1.9) * usual
    pairs = coo_array((close[close], (one[close], other[close])), (len(box),) * 2)
    return connected_components(pairs, directed=False)[1]


def in_lines(box: NDArray[np.int64]) -> tuple[list[list[int]], float]:
    """Return the numbers of boxes in lines, top to bottom and left to right, and the lines' slope.

    Boxes are left, top, right and bottom: (n, 4).
    """
    if len(box) < 2:
        return [[number] for number in range(len(box))], 0.0
    centre, height = (box[:, :2] + box[:, 2:]) / 2, float(np.median(box[:, 3] - box[:, 1]))
    # The lines' slope is that from most digits to their right neighbour.
    count, flat = min(len(box), 12), centre * (1, 2)
    _, near = cKDTree(flat).query(flat, count, p=1, distance_upper_bound=6 * height)
    across, down = np.moveaxis(np.append(centre, [[-np.inf, 0]], 0)[near] - centre[:, None], 2, 0)
    right = across > 2 * np.abs(down)
    first = np.flatnonzero(right.any(1)), right.argmax(1)[right.any(1)]  # by cost, the nearest
    slope = float(np.median(down[first] / across[first])) if len(first[0]) else 0.0
    level = centre[:, 1] - slope * centre[:, 0]

    lines: list[list[int]] = []
    ends = np.zeros(0)  # each line's level at its last digits
    for number in np.argsort(centre[:, 0]).tolist():
        off = np.abs(ends - level[number])
        if len(off) and off.min() < 0.6 * height:
            lines[off.argmin()].append(number)
            ends[off.argmin()] = level[lines[off.argmin()][-3:]].mean()
        else:
            lines.append([number])
            ends = np.append(ends, level[number])
    return sorted(lines, key=lambda line: float(level[line].mean())), slope
