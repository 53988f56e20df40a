"""The sheet of paper on a picture: what is around it is painted over."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from scipy.cluster.vq import kmeans2
from scipy.spatial import ConvexHull

SIDE = 200  # pixels, the longer side of the picture on which the sheet is looked for


def only_sheet(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture, (h, w, 4), on which what is not the sheet has the colour of its edge.

    The sheet is the largest region of one colour that is convex, apart from the picture's edge and
    has a sharp edge itself. Without such a region, it is all that is not transparent.
    """
    height, width, _ = rgba.shape
    if min(height, width) < SIDE:
        return rgba
    scale = SIDE / max(height, width)
    size = round(width * scale), round(height * scale)
    small = np.asarray(Image.fromarray(rgba).resize(size, Image.Resampling.BOX))
    inside = (small[..., 3] > 250) & _region(small[..., :3])
    if inside.all() or (small[..., 3] > 250).mean() < 0.5:  # a drawing on nothing
        return rgba
    inside = ndimage.binary_erosion(inside, iterations=2)
    nearest = ndimage.distance_transform_edt(~inside, return_distances=False, return_indices=True)
    plain = ndimage.median_filter(small, (9, 9, 1))  # without ink
    around = Image.fromarray(plain[tuple(nearest)]).resize((width, height))
    mask = Image.fromarray(inside).resize((width, height))
    return np.asarray(Image.composite(Image.fromarray(rgba), around, mask.convert("L")))


def _region(rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return where the sheet is, (h, w): everywhere if none is found."""
    if np.ptp(_colors(rgb.astype(float)), axis=0).max() < 30:
        return np.ones(rgb.shape[:2], bool)
    window = SIDE // 12
    plain = ndimage.median_filter(rgb, (window, window, 1)).astype(float)  # without ink
    hues = 150 * plain / plain.mean(2, keepdims=True).clip(10)  # the same in a shadow
    spread = ndimage.maximum_filter(plain, (9, 9, 1)) - ndimage.minimum_filter(plain, (9, 9, 1))
    found = []
    for colors, least in ((plain, 30), (hues, 10)):
        region = _differs(colors, least)
        edge = region ^ ndimage.binary_erosion(region, border_value=1)
        if edge.any() and np.percentile(spread.max(2)[edge], 10) > 15:  # not where it gets dark
            found.append(region)
    # A shadow may halve the region of one colour.
    return max(found, key=np.sum, default=np.ones(rgb.shape[:2], bool))


def _colors(plain: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the median colours of a picture's edge and middle: (2, 3)."""
    middle = plain[tuple(slice(n // 4, -n // 4) for n in plain.shape[:2])]
    edge = np.concatenate((plain[0], plain[-1], plain[:, 0], plain[:, -1]))
    return np.stack([np.median(part.reshape(-1, 3), axis=0) for part in (edge, middle)])


def _differs(plain: NDArray[np.float64], least: float) -> NDArray[np.bool_]:
    """Return where the sheet is by its colour, (h, w): everywhere if none is found."""
    everywhere, colors = np.ones(plain.shape[:2], bool), _colors(plain)
    if np.ptp(colors, axis=0).max() < least:
        return everywhere
    _, nearest = kmeans2(plain.reshape(-1, 3), colors, minit="matrix")
    pieces, _ = ndimage.label(nearest.reshape(everywhere.shape))
    sheet = pieces == np.append(np.bincount(pieces.ravel())[1:], 0).argmax() + 1
    sheet = ndimage.binary_opening(ndimage.binary_fill_holes(sheet), iterations=3)
    if not 0.15 < sheet.mean() < 0.97:
        return everywhere
    convex = sheet.sum() / ConvexHull(np.argwhere(sheet)).volume
    at_edge = np.concatenate((sheet[0], sheet[-1], sheet[:, 0], sheet[:, -1])).mean()
    return sheet if convex > 0.9 and at_edge < 0.4 else everywhere
