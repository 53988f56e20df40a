"""Signs between digits, which a classifier that knows only digits reads as one of these."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Drawn = NDArray[np.bool_]


def is_sign(drawn: Drawn, usual: float) -> bool:
    """Return whether a shape, (h, w), is a sign: + - x = a slash, a bracket, a point.

    A slash and brackets are higher than digits, whose usual height is in pixels, or bent.
    """
    height, width = drawn.shape
    pieces, count = ndimage.label(drawn, np.ones((3, 3)))
    if count > 1:  # bars and dots, one above another
        return max(rows.stop - rows.start for rows, _ in ndimage.find_objects(pieces)) < height / 2
    dash = width > 2.2 * height and height < 0.6 * usual  # higher, it is digits that touch
    if dash or max(width, height) < 0.35 * usual:
        return True
    if 0.6 < width / height < 1.6:
        turned = ndimage.rotate(drawn.astype(np.uint8), 45, order=0)
        if _is_cross(drawn) or _is_cross(turned[ndimage.find_objects(turned)[0]] > 0):
            return True
    if width > 0.9 * height:
        return False
    # One stroke from top to bottom: the middle of each row, and how far it is off the chord.
    first, last = drawn.argmax(1), width - 1 - drawn[:, ::-1].argmax(1)
    middle, thick = (first + last) / 2, last - first + 1
    if np.percentile(thick, 97) > 0.3 * height or (drawn.sum(1) < thick).mean() > 0.1:
        return False
    chord = np.linspace(middle[: height // 8 + 1].mean(), middle[-height // 8 :].mean(), height)
    bend = float(np.abs((middle - chord)[height // 4 : -height // 4].mean()))
    return height > 1.2 * usual or bend > 0.09 * height


def _is_cross(drawn: Drawn) -> bool:
    """Return whether a shape, (h, w), is a level and an upright bar, both through its middle."""
    inside = drawn
    for axis, (length, other) in enumerate((drawn.shape, drawn.shape[::-1])):
        sums = ndimage.uniform_filter1d(drawn.sum(1 - axis).astype(float), 3)
        bar = int(sums.argmax())
        if not 0.25 < (bar + 0.5) / length < 0.75 or sums[bar] < 0.75 * other:
            return False
        far = np.abs(np.arange(length) - bar) > 0.16 * length
        inside = inside & (far[:, None] if axis == 0 else far)
    return bool(inside.sum() < 0.07 * drawn.sum())
