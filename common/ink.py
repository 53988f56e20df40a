"""The ink on a picture of handwriting: what is drawn, without shade and ruled lines."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from scipy.stats import skew

LEAST_CONTRAST = 24  # of 255, between ink and sheet
DRAWN = 0.25  # of full ink: where a stroke ends

Floats: TypeAlias = NDArray[np.float32]


def find_ink(rgba: NDArray[np.uint8]) -> tuple[Floats, NDArray[np.int32], float]:
    """Return the ink, (h, w) of 0 to 1, the number of each pixel's piece of ink, and the scale.

    A piece is what is connected; numbers begin at 1, and 0 is the sheet. Ink may be darker or
    lighter than the sheet, and of any colour. The picture is (h / scale, w / scale, 4) uint8; the
    scale, at most 3, keeps h and w below 2,500.
    """
    height, width, _ = rgba.shape
    scale = min(2500 / max(height, width), max(1, min(500 / max(height, width), 3)))
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    dark = _darkness(opaque(np.asarray(Image.fromarray(rgba).resize(size))))
    # What is wider than a digit belongs to the sheet. The first ink tells how large a digit is.
    window, digit = min(dark.shape) / 2, float(max(dark.shape))
    for _ in range(2):
        ink = _marks(dark - ndimage.grey_opening(dark, 2 * round(window / 2) + 1))
        for lines in (ink, ink.T):
            _take_out_rules(lines, round(min(4 * digit, 0.8 * lines.shape[1])))
        pieces: NDArray[np.int32] = ndimage.label(ink > DRAWN, np.ones((3, 3)))[0]
        digit = usual_size(pieces)
        window = min(1.2 * digit, *dark.shape)
    return ink, pieces, scale


def bounds(pieces: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return top, left, bottom and right of each piece: (n, 4)."""
    ends = [(y.start, x.start, y.stop, x.stop) for y, x in ndimage.find_objects(pieces)]
    return np.array(ends, np.int64).reshape(-1, 4)


def usual_size(pieces: NDArray[np.int32]) -> float:
    """Return the median of the pieces' longer sides, weighted by their areas, in pixels.

    Pieces at the border, for instance a table around the sheet, count only if little else is there.
    """
    box, areas = bounds(pieces), np.bincount(pieces.ravel())[1:]
    if not len(box):
        return float(max(pieces.shape))
    sides = (box[:, 2:] - box[:, :2]).max(1)
    inner = (box[:, :2] > 0).all(1) & (box[:, 2:] < pieces.shape).all(1)
    if sides[inner].sum() > sides.sum() / 10:
        sides, areas = sides[inner], areas[inner]
    order = np.argsort(sides)
    return float(sides[order][np.searchsorted(areas[order].cumsum(), areas.sum() / 2)])


def opaque(rgba: NDArray[np.uint8]) -> Floats:
    """Return a picture without transparency: (h, w, 3), 0 to 255.

    If what is visible has contrast, its median colour continues where nothing is. If not, what is
    visible is the drawing: black on white.
    """
    rgb = rgba[..., :3].astype(np.float32)
    if rgba[..., 3].min() == 255:
        return rgb
    alpha = rgba[..., 3:] / np.float32(255)
    shown = rgb[alpha[..., 0] > 0.5]
    if len(shown) > alpha.size / 2 and np.ptp(shown, axis=0).max() > 2 * LEAST_CONTRAST:
        return (rgb * alpha + np.median(shown, axis=0) * (1 - alpha)).astype(np.float32)
    return np.repeat(255 * (1 - alpha), 3, axis=2)


def _darkness(rgb: Floats) -> Floats:
    """Return one number a pixel, (h, w), in units of 0 to 255, that is higher where ink is."""
    # Along the direction in which the colours differ most.
    colors = (rgb - rgb.mean((0, 1))).reshape(-1, 3)
    grey = (colors @ np.linalg.eigh(colors.T @ colors)[1][:, -1] / 3**0.5).reshape(rgb.shape[:2])
    # Light that falls from one side is a plane through most pixels of the border.
    border = np.ones(grey.shape, bool)
    depth = 1 + min(grey.shape) // 50
    border[depth:-depth, depth:-depth] = False
    position = np.insert(np.argwhere(border), 0, 1, axis=1)  # n x 3: 1, row, column
    plane = np.array([np.median(grey[border]), 0, 0])
    for _ in range(2):
        distance = np.abs(grey[border] - position @ plane)
        near = distance <= max(3 * float(np.median(distance)), 1)
        plane = np.linalg.lstsq(position[near], grey[border][near], rcond=None)[0]
    rows, columns = np.ogrid[: grey.shape[0], : grey.shape[1]]
    grey = (grey - (plane[0] + plane[1] * rows + plane[2] * columns)).astype(np.float32)
    # Strokes are narrow and few: what differs most from its surroundings is ink.
    windows = (max(min(grey.shape) // part, 3) for part in (1, 2, 16))
    lean = sum(skew(grey - ndimage.uniform_filter(grey, size), axis=None) for size in windows)
    return grey if lean > 0 else -grey


def _marks(contrast: Floats) -> Floats:
    """Return how much ink each pixel has, 0 to 1, from its contrast with the sheet, 0 to 255."""
    contrast = contrast - np.median(contrast)
    noise = 4 * float(np.median(np.abs(contrast)))
    strong = contrast[contrast > max(LEAST_CONTRAST, 1.5 * noise)]
    if not strong.size:
        return np.zeros_like(contrast)
    full = float(strong[strong > np.percentile(strong, 95) / 2].mean())  # over 1.5 times the noise
    return ((contrast - noise) / (full - noise)).clip(0, 1)


def _take_out_rules(ink: Floats, length: int) -> None:
    """Take lines that are nearly horizontal and at least `length` pixels long out of the ink.

    Where a stroke crosses a rule, the gap is closed.
    """
    width = ink.shape[1]
    if ink.any(0).sum() < length:
        return
    across = np.arange(width) - width // 2
    thick = ndimage.maximum_filter1d(ink, 3, axis=0)
    # Rules have one slope: the one along which the sums of ink differ most.
    few = slice(None, None, width // 32 + 1)
    slopes = np.linspace(-0.1, 0.1, 2 * min(width // 30, 40) + 1)
    sums = [_sheared(thick[:, few], slope * across[few]).sum(1) for slope in slopes]
    slope = slopes[np.argmax(np.var(sums, axis=1))]
    level = ndimage.minimum_filter1d(_sheared(thick, slope * across), length, axis=1)
    level = _sheared(ndimage.maximum_filter1d(level, length, axis=1), -slope * across)
    rule = level > 0.1
    starts = np.diff(rule.astype(np.int8), axis=0, prepend=0) == 1
    thickness = round(rule.sum() / max(starts.sum(), 1))
    if 0 < thickness <= 2 + length / 40:
        bridged = ndimage.grey_closing(np.where(rule, 0, ink), (thickness + 3, 1))
        ink[rule] = np.maximum(np.minimum(bridged, ink), ink - 1.3 * level)[rule].clip(0)


def _sheared(image: Floats, shifts: NDArray[np.float64]) -> Floats:
    """Return an image, (h, w), with each column moved up by its shift, (w,), round the edge."""
    rows = np.arange(len(image))[:, None] + np.round(shifts).astype(int)
    return np.take_along_axis(image, rows % len(image), axis=0)
