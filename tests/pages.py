"""Pages of test digits, as people photograph and scan them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from common.mnist import mnist

Pixels = NDArray[np.uint8]


class Page(NamedTuple):
    """A picture of digits in rows of 10."""

    picture: Image.Image
    text: str
    centres: NDArray[np.float64]  # (n, 2), x and y
    size: int


def page(
    count: int,
    size: int = 40,
    ink: tuple[int, int, int] = (30, 30, 40),
    slant: float = 0,
    light: str = "",
    rules: tuple[int, int, int] | None = None,
    table: int = 0,
    specks: int = 0,
    inverted: bool = False,
) -> Page:
    """Return a page of the first test digits, each in a box of `size` pixels."""
    data, random = mnist(), np.random.default_rng(0)
    shape = round((count / 5 + 2.5 + abs(slant) * 17) * size), 19 * size
    drawn, centres = np.zeros(shape, np.float32), []
    for place, image in enumerate(data["X"][:count]):
        row, column = divmod(place, 10)
        left = round((1.7 * column + 0.8) * size) + random.integers(size // 4)
        top = round((2 * row + 0.8 + max(-slant, 0) * 17) * size + slant * left)
        big = np.asarray(Image.fromarray(image).resize((round(1.4 * size),) * 2)) / 255
        drawn[top : top + len(big), left : left + len(big)] += big
        ys, xs = np.nonzero(big > 0.25)
        centres.append((left + (xs.min() + xs.max()) / 2, top + (ys.min() + ys.max()) / 2))
    for top, left in random.integers(0, np.array(shape) - 3, (specks, 2)):
        drawn[top : top + 3, left : left + 3] = 1
    pixels = np.full((*shape, 3), 245.0)
    if rules:
        pixels[size // 2 :: size] = pixels[size // 2 + 1 :: size] = rules  # also through digits
    pixels += drawn.clip(0, 1)[..., None] * (np.array(ink) - pixels)
    across, down = np.meshgrid(np.linspace(0, 1, shape[1]), np.linspace(0, 1, shape[0]))
    shade = {
        "": np.zeros(shape),
        "ramp": 0.5 * across,
        "shadow": 0.45 / (1 + np.exp(-60 * (across + 0.6 * down - 0.75))),
    }
    pixels *= 1 - shade[light][..., None]
    pixels = np.pad(pixels, ((table, table), (table, table), (0, 0)), constant_values=55)
    pixels += random.normal(0, 3, pixels.shape)
    picture = Image.fromarray((255 - pixels if inverted else pixels).clip(0, 255).astype(np.uint8))
    text = "".join(map(str, data["Y"][:count]))
    return Page(picture, text, np.array(centres) + table, size)
