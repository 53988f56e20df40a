"""Ruled lines, the grids of tables and the frames of boxes, taken out of the ink."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from common.pieces import Floats, bounds, label, usual_size


def take_out_lines(ink: Floats) -> None:
    """Take lines that are longer than a stroke, nearly level or upright, out of the ink, in place.

    Ink is (h, w) of 0 to 1. Where a stroke crosses a line, the gap is closed. A frame, which has
    lines along three sides or more, is taken out however short these are.
    """
    pieces = label(ink)
    frames = _frames(pieces)
    usual = usual_size(pieces, frames)
    longest = np.minimum(4 * usual, 0.8 * np.array(ink.shape))
    if (_sides(label(ink, 0.1)) > longest).any():
        _take_out(ink, longest, usual)
        pieces = label(ink)
        frames = _frames(pieces)
    sides = _sides(pieces)
    if frames.any():
        framed = ndimage.maximum_filter(np.append(False, frames)[pieces], 3)
        shorter = 0.8 * np.percentile(sides[frames], 10, axis=0).clip(1.25 * usual)
        without = np.where(framed, ink, 0)
        _take_out(without, np.minimum(longest, shorter), usual)
        ink[framed] = without[framed]
    # Where lines are not straight over the page. The largest suffice, and time is bounded.
    box, areas = bounds(pieces), sides.prod(1)
    large = np.argsort(-areas)[:50]
    large = large[(areas[large].cumsum() < 2 * ink.size) & (sides[large] > longest.min()).any(1)]
    for top, left, bottom, right in box[large].tolist():
        _take_out(ink[top:bottom, left:right], longest, usual)


def _sides(pieces: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return height and width of each piece: (n, 2)."""
    box = bounds(pieces)
    return box[:, 2:] - box[:, :2]


def _frames(pieces: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return for each piece whether it is hollow and has a line along three of its sides."""
    sides, box, areas = _sides(pieces), bounds(pieces), np.bincount(pieces.ravel())[1:]
    hollow = (sides.max(1) > 15) & (areas < 0.5 * sides.prod(1))
    place = np.argwhere(np.append(False, hollow)[pieces])  # k x 2: row, column
    number = pieces[tuple(place.T)] - 1
    band, lined = (1 + sides.min(1) // 8)[number], np.zeros(len(box))
    for axis in range(2):
        start, end = place[:, axis] - box[number, axis], box[number, axis + 2] - place[:, axis]
        for near in (start < band, end <= band):
            first = number[near].astype(np.int64) * max(pieces.shape)
            along = np.unique(first + place[near, 1 - axis])
            covered = np.bincount(along // max(pieces.shape), minlength=len(box))
            lined += covered > 0.9 * sides[:, 1 - axis]
    return lined > 2


def _take_out(part: Floats, longest: NDArray[np.float64], usual: float) -> None:
    """Take lines out of a part of the ink, in place: upright and level ones of these lengths."""
    for ink, length in ((part, round(longest[1])), (part.T, round(longest[0]))):
        if ink.shape[1] >= length:
            _take_out_level(ink, length, usual)


def _take_out_level(ink: Floats, length: int, usual: float) -> None:
    """Take lines that are nearly level and at least `length` pixels long out of the ink."""
    width = ink.shape[1]
    if ink.any(0).sum() < length:
        return
    across = np.arange(width) - width // 2
    thick = ndimage.maximum_filter1d(ink, 3, axis=0)
    # Most lines have one slope: the one along which the sums of ink differ most.
    few = thick[::2, :: width // 32 + 1]
    slopes = np.linspace(-0.28, 0.28, 4 * min(width // 40, 25) + 1)
    sums = [_sheared(few, slope / 2 * across[:: width // 32 + 1]).sum(1) for slope in slopes]
    usual_slope, level = slopes[np.argmax(np.var(sums, axis=1))], np.zeros_like(ink)
    for slope in usual_slope + np.array((0, -2, 2)) / length:
        line = ndimage.minimum_filter1d(_sheared(thick, slope * across), length, axis=1)
        line = ndimage.maximum_filter1d(line, length, axis=1)
        np.maximum(level, _sheared(line, -slope * across), out=level)
        rule = level > 0.1
        if not rule.any():
            return
    starts = np.diff(rule.astype(np.int8), axis=0, prepend=0) == 1
    thickness = round(rule.sum() / max(starts.sum(), 1))
    if 0 < thickness <= 4 + usual / 6:
        bridged = ndimage.grey_closing(np.where(rule, 0, ink), (thickness + 3, 1))
        ink[rule] = np.maximum(np.minimum(bridged, ink), ink - 1.3 * level)[rule].clip(0)


def _sheared(image: Floats, shifts: NDArray[np.float64]) -> Floats:
    """Return an image, (h, w), with each column moved up by its shift, (w,), round the edge."""
    rows = np.arange(len(image))[:, None] + np.round(shifts).astype(int)
    return np.take_along_axis(image, rows % len(image), axis=0)
