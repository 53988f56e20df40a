"""Pages of test digits, as people photograph and scan them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from common.mnist import mnist

Pixels = NDArray[np.uint8]


class Page(NamedTuple):
    """A picture of digits in rows of 10, its text, and where each digit's centre is (n, 2)."""

    picture: Image.Image
    lines: list[str]
    centres: NDArray[np.float64]
    size: int


def page(
    numbers: NDArray[np.int64],
    size: int = 40,
    ink: tuple[int, int, int] = (30, 30, 40),
    slant: float = 0,
    light: str = "",
    rules: tuple[int, int, int] | None = None,
    fold: bool = False,
    table: bool = False,
    specks: int = 0,
    inverted: bool = False,
) -> Page:
    """Return a page of the test digits of these numbers, each in a box of `size` pixels."""
    data, random = mnist(), np.random.default_rng(0)
    rows, side = len(numbers) // 10, round(1.4 * size)
    shape = round((2 * rows + 2.5 + abs(slant) * 17) * size), 19 * size
    drawn, centres = np.zeros(shape, np.float32), []
    for place, image in enumerate(data["X"][numbers]):
        row, column = divmod(place, 10)
        x = (1.7 * column + 0.8) * size + random.integers(size // 4)
        y = (2 * row + 0.8 + max(-slant, 0) * 17) * size + slant * x + random.integers(size // 4)
        left, top = int(x), int(y)
        big = Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)
        drawn[top : top + side, left : left + side] += np.asarray(big) / 255
        ys, xs = np.nonzero(np.asarray(big) > 64)
        centres.append((left + (xs.min() + xs.max()) / 2, top + (ys.min() + ys.max()) / 2))
    for y, x in zip(*(random.integers(0, end - 3, specks) for end in shape), strict=True):
        drawn[y : y + 3, x : x + 3] = 1
    sheet = np.full((*shape, 3), 245, np.float32)
    if rules:
        for y in range(size // 2, shape[0], size):  # through the digits, and a margin
            sheet[y : y + 2] = rules
        sheet[:, size // 2 : size // 2 + 2] = rules
    pixels = sheet + drawn.clip(0, 1)[..., None] * (np.array(ink) - sheet)
    across, down = np.meshgrid(np.linspace(0, 1, shape[1]), np.linspace(0, 1, shape[0]))
    if light == "ramp":
        pixels *= (1 - 0.5 * across)[..., None]
    if light == "shadow":
        pixels *= (1 - 0.45 / (1 + np.exp(-60 * (across + 0.6 * down - 0.75))))[..., None]
    if fold:
        pixels *= (1 - 0.25 * np.exp(-(((across - 0.5) / 0.004) ** 2)))[..., None]
    if table:
        edge = 2 * size
        pixels = np.pad(pixels, ((edge, edge), (edge, edge), (0, 0)), constant_values=55)
        centres = [(x + edge, y + edge) for x, y in centres]
    pixels += random.normal(0, 3, pixels.shape)
    pixels = 255 - pixels if inverted else pixels
    picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    text = "".join(map(str, data["Y"][numbers]))
    lines = [text[start : start + 10] for start in range(0, len(text), 10)]
    return Page(picture, lines, np.array(centres), size)
