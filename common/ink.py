"""The ink on a picture of handwriting: what is drawn, without shade and ruled lines."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from scipy.stats import skew

from common.lines import take_out_lines
from common.pieces import Floats, label, usual_size

LEAST_CONTRAST = 24  # of 255, between ink and sheet


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
        take_out_lines(ink)
        pieces = label(ink)
        digit = usual_size(pieces)
        window = min(1.2 * digit, *dark.shape)
    return ink, pieces, scale


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
