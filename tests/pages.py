"""Pages of test digits, as people photograph and scan them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage
from scipy.spatial import cKDTree

from common.mnist import mnist

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Lines = list[list[tuple[float, float]]]
SIGNS: list[Lines] = [  # through x and y in a box of 1 x 1
    [[(0.1, 0.5), (0.9, 0.55)], [(0.5, 0.1), (0.48, 0.9)]],  # plus
    [[(0.1, 0.5), (0.9, 0.45)]],
    [[(0.2, 0.25), (0.8, 0.8)], [(0.8, 0.2), (0.2, 0.8)]],
    [[(0.1, 0.35), (0.9, 0.3)], [(0.1, 0.65), (0.9, 0.65)]],
    [[(0.9, -0.15), (0.1, 1.15)]],  # slash
    [[(0.6, -0.15), (0.4, 0.1), (0.32, 0.5), (0.4, 0.9), (0.6, 1.15)]],
    [[(0.4, -0.15), (0.6, 0.1), (0.68, 0.5), (0.6, 0.9), (0.4, 1.15)]],
    [[(0.1, 0.5), (0.9, 0.5)], [(0.5, 0.15), (0.5, 0.2)], [(0.5, 0.8), (0.5, 0.85)]],  # divided by
    [[(0.5, 0.92), (0.42, 1.12)]],  # comma
    [[(0.5, 0.95), (0.5, 0.99)]],
]


class Page(NamedTuple):
    """A picture of digits in rows."""

    picture: Image.Image
    text: str  # row by row, a sign as "?"
    centres: NDArray[np.float64]  # (n, 2), x and y
    size: int


def page(
    count: int,
    size: int = 40,
    ink: tuple[int, int, int] = (30, 30, 40),
    paper: int = 245,
    slant: float = 0,
    light: str = "",
    rules: tuple[int, int, int] | None = None,
    grid: str = "",
    table: int = 0,
    desk: bool = False,
    specks: int = 0,
    inverted: bool = False,
    turn: float = 0,
    blur: float = 0,
    noise: float = 3,
    first: int = 0,
    seed: int = 0,
    **writing: Any,
) -> Page:
    """Return a page of test digits from the first on, each in a box of `size` pixels.

    The rows rise by a slope, slant. The grid has "cells" or "boxes". The page is turned by
    degrees, counterclockwise.
    """
    random = np.random.default_rng(seed)
    pitch = (1.9 if grid else 1.1 if writing.get("group", 1) > 1 else 1.7) * size
    drawn, lines, centres = _written(
        range(first, first + count), size, pitch, slant, random, **writing
    )
    for top, left in random.integers(0, np.array(drawn.shape) - 3, (specks, 2)):
        drawn[top : top + 3, left : left + 3] = 1
    pixels = np.full((*drawn.shape, 3), float(paper))
    if rules:
        pixels[size // 2 :: size] = pixels[size // 2 + 1 :: size] = rules  # also through digits
    if grid:
        forms = _grid(grid, count, size, pitch, drawn.shape, random)
        pixels -= forms[..., None] * random.uniform(80, 200, 3)
    pixels += drawn[..., None] * (np.array(ink) - pixels)
    pixels = np.pad(pixels, ((table, table), (table, table), (0, 0)), constant_values=55)
    picture = Image.fromarray((255 - pixels if inverted else pixels).clip(0, 255).astype(np.uint8))
    if desk:
        picture = _on_desk(picture, turn, random)
    elif turn:
        picture = picture.rotate(turn, Image.Resampling.BICUBIC, True, fillcolor=(paper,) * 3)
    noisy = np.array(picture.filter(ImageFilter.GaussianBlur(blur)), np.float32)
    across, down = np.meshgrid(*(np.linspace(0, 1, n) for n in picture.size))
    shade = {
        "": 0 * across,
        "ramp": 0.5 * across,
        "shadow": 0.45 / (1 + np.exp(-60 * (across + 0.6 * down - 0.75))),
    }
    shaded = noisy * (1 - shade[light][..., None]) + random.normal(0, noise, noisy.shape)
    picture = Image.fromarray(shaded.clip(0, 255).astype(np.uint8))
    return Page(picture, "\n".join(lines), np.array(centres) + table, size)


def _written(
    numbers: range,
    size: int,
    pitch: float,
    slant: float,
    random: np.random.Generator,
    vary: float = 0,  # share of the size
    pen: int = 1,  # pixels, 1 is as MNIST's
    group: int = 1,  # digits that touch
    joined: float = 0,  # share of these that a stroke joins
    signs: float = 0,  # share of the odd places that have a sign
    empty: float = 0,  # share of places without a digit
) -> tuple[Floats, list[str], list[tuple[float, float]]]:
    """Return ink from 0 to 1, the text of each row of 10, and the digits' centres."""
    data, rows = mnist(), -(-len(numbers) // 10)
    shape = round((2 * rows + 1 + abs(slant) * 17) * size), round(10 * pitch + 2 * size)
    strokes = Image.new("L", shape[::-1])
    draw = ImageDraw.Draw(strokes)
    drawn, lines, centres = np.zeros(shape, np.float32), [""] * rows, []
    for place, number in enumerate(numbers):
        row, column = divmod(place, 10)
        x = (column + 0.5) * pitch + size + (group == 1) * random.uniform(-0.12, 0.12) * size
        y = (2 * row + 1.5 + max(-slant, 0) * 17 + vary * random.uniform(-1, 1)) * size + slant * x
        if column % 2 and random.random() < signs:
            corner = np.array((x, y)) - size / 2
            for line in SIGNS[random.integers(len(SIGNS))]:
                ends = (corner + np.array(line) * size).ravel().tolist()
                draw.line(ends, 255, max(size // 10 + pen - 1, 2), joint="curve")
            lines[row] += "?"
            continue
        if random.random() < empty:
            continue
        side = round(1.4 * size * random.uniform(1 - vary, 1 + vary))
        big = Image.fromarray(data["X"][number]).resize((side, side))
        digit = ndimage.grey_dilation(np.asarray(big) / np.float32(255), (pen, pen))
        digit = digit[ndimage.find_objects((digit > 0.25).astype(int))[0]]
        height, width = digit.shape
        top, left = max(round(y - height / 2), 0), round(x - width / 2)
        if column % group:  # as far left as it can be without overlap
            rest = drawn[top : top + height, :left]
            reached = [
                r.nonzero()[0][-1:].sum() - d.nonzero()[0][0]
                for r, d in zip(rest > 0.5, digit > 0.5, strict=True)
                if r.any() and d.any()
            ]
            left = int(max(reached, default=left))
            if random.random() < joined:
                left += round(0.2 * size)
                begin = np.argwhere(rest > 0.5)[:, ::-1] + (0, top)
                goal = np.argwhere(digit > 0.5)[:, ::-1] + (left, top)
                apart, nearest = cKDTree(begin).query(goal)
                bridge = np.append(begin[nearest[apart.argmin()]], goal[apart.argmin()])
                draw.line(bridge.tolist(), 255, max(size // 10 + pen - 1, 2))
        part = drawn[top : top + height, left : left + width]
        np.maximum(part, digit, out=part)
        centres.append((left + width / 2, top + height / 2))
        lines[row] += str(data["Y"][number])
    return np.maximum(drawn, np.asarray(strokes) / np.float32(255)), lines, centres


def _grid(
    kind: str, count: int, size: int, pitch: float, shape: Any, random: np.random.Generator
) -> Floats:
    """Return the lines of cells, or of a box for each digit, from 0 to 1."""
    lines = Image.new("L", shape[::-1])
    pen, width = ImageDraw.Draw(lines), int(random.integers(1, 2 + size // 15))
    for place in range(count):
        x, y = (place % 10 + 0.5) * pitch + size, (2 * (place // 10) + 1.5) * size
        half = (pitch / 2, size) if kind == "cells" else (0.75 * size,) * 2
        pen.rectangle((x - half[0], y - half[1], x + half[0], y + half[1]), None, 255, width)
    return np.asarray(np.asarray(lines) / 255, np.float32)


def _on_desk(sheet: Image.Image, turn: float, random: np.random.Generator) -> Image.Image:
    """Return a sheet, turned, on wood, cloth or stone, with other things beside it."""
    sheet = sheet.convert("RGBA").rotate(turn, Image.Resampling.BICUBIC, True)
    width, height = (round(random.uniform(1.15, 1.6) * length) for length in sheet.size)
    rough = random.normal(0, random.uniform(5, 30), (height, width))
    rough = ndimage.gaussian_filter(rough, random.uniform(0.5, 20, 2)) * 20 ** random.uniform(0, 1)
    color = random.uniform(30, 150) * random.uniform(0.6, 1.2, 3)
    desk = Image.fromarray((color + rough[..., None]).clip(0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(desk)
    for _ in range(random.integers(4)):
        ends = (random.random((2, 2)) * desk.size).ravel().tolist()
        pen.line(ends, tuple(random.integers(20, 256, 3).tolist()), int(random.integers(3, 25)))
    left, top = random.integers(np.subtract(desk.size, sheet.size) + 1).tolist()
    desk.paste(sheet, (left, top), sheet)
    return desk


KINDS: dict[str, Callable[[np.random.Generator], dict[str, Any]]] = {
    "apart": lambda _: {},
    "slanting": lambda random: {"slant": random.uniform(-0.15, 0.15)},
    "ruled": lambda random: {"rules": [(60, 60, 60), (150, 180, 220)][random.integers(2)]},
    "specks": lambda _: {"specks": 60},
    "chalk": lambda _: {"inverted": True},
    "on a table": lambda _: {"table": 80},
    "two touch": lambda _: {"group": 2, "joined": 0.3},
    "three touch": lambda _: {"group": 3, "joined": 0.3},
    "turned": lambda random: {"turn": 90 * random.integers(1, 4)},
    "askew": lambda random: {"turn": random.uniform(-15, 15)},
    "desk": lambda random: {"desk": True, "turn": random.uniform(-8, 8)},
    "cells": lambda _: {"grid": "cells", "empty": 0.5},
    "boxes": lambda _: {"grid": "boxes"},
    "signs": lambda _: {"signs": 0.7},
}


def varied(kind: str, number: int) -> Page:
    """Return a page of a kind; pen, paper and light vary with its number.

    Its 60 digits are test images in their order. They are those of the page 166 numbers before.
    """
    random = np.random.default_rng(number)
    size = int(random.integers(26, 64))
    options = {
        "size": size,
        "pen": int(random.integers(1, 3 + size // 40)),
        "ink": random.integers(10, 90, 3),
        "paper": int(random.integers(190, 254)),
        "light": random.choice(["", "ramp", "shadow"]),
        "blur": random.uniform(0, 1),
        "noise": random.uniform(0, 6),
        "vary": 0.12,
    }
    return page(60, first=60 * (number % 166), seed=number, **options, **KINDS[kind](random))
