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
    usual = usual_size(pieces, _frames(pieces))
    longest = np.minimum(4 * usual, 0.8 * np.array(ink.shape))
    _take_out(ink, longest, usual)
    pieces = label(ink)
    box, frames = bounds(pieces), _frames(pieces)  # where lines are not straight over the page
    sides = box[:, 2:] - box[:, :2]
    for number in np.flatnonzero(frames | (sides.max(1) > longest.min())).tolist():
        top, left, bottom, right = box[number].tolist()
        shorter = 0.8 * sides[number].clip(1.25 * usual) if frames[number] else longest
        _take_out(ink[top:bottom, left:right], np.minimum(longest, shorter), usual)


def _frames(pieces: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return for each piece whether it is hollow and has a line along three of its sides."""
    frames = []
    for number, place in enumerate(ndimage.find_objects(pieces), 1):
        drawn, band = pieces[place] == number, 1 + min(pieces[place].shape) // 8
        sides = drawn[:band], drawn[-band:], drawn[:, :band].T, drawn[:, -band:].T
        hollow = max(drawn.shape) > 15 and drawn.mean() < 0.5
        frames.append(hollow and sum(side.any(0).mean() > 0.9 for side in sides) > 2)
    return np.array(frames, bool)


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
    if 0 < thickness <= 2 + usual / 8:
        bridged = ndimage.grey_closing(np.where(rule, 0, ink), (thickness + 3, 1))
        ink[rule] = np.maximum(np.minimum(bridged, ink), ink - 1.3 * level)[rule].clip(0)


def _sheared(image: Floats, shifts: NDArray[np.float64]) -> Floats:
    """Return an image, (h, w), with each column moved up by its shift, (w,), round the edge."""
    rows = np.arange(len(image))[:, None] + np.round(shifts).astype(int)
    return np.take_along_axis(image, rows % len(image), axis=0)
