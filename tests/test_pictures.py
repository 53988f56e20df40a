"""Pictures as people have them: each digit is found and brought to MNIST's form."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from common.errors import InputError
from common.mnist import mnist
from common.pictures import find_digits, read_digit, read_picture
from tests.pages import Pixels, page

DATA = mnist()


def enlarged(image: Pixels, factor: int = 4) -> Image.Image:
    side = 28 * factor
    return Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)


def saved(picture: Image.Image, path: Path) -> Pixels:
    """Return what is read of a picture that is saved as a file."""
    picture.save(path)
    return read_digit(path)


def alike(a: Pixels, b: Pixels) -> float:
    """Return the correlation of two images, moved by a pixel if that makes it higher."""
    moves = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    moved = (np.roll(a, move, (0, 1)).ravel() for move in moves)
    return max(float(np.corrcoef(pixels, b.ravel())[0, 1]) for pixels in moved)


def test_form_is_that_of_mnist(tmp_path: Path) -> None:
    likeness = []
    for image in DATA["X"][:30]:
        digit = saved(enlarged(np.pad(image, ((3, 13), (12, 4)))), tmp_path / "digit.png")
        assert digit.shape == (28, 28) and digit.dtype == np.uint8 and digit.max() == 255
        rows, columns = np.nonzero(digit > 25)
        assert 19 <= max(np.ptp(rows), np.ptp(columns)) + 1 <= 20
        for axis in (0, 1):
            centre = (np.indices((28, 28))[axis] * digit.astype(float)).sum() / digit.sum()
            assert abs(centre - 14) <= 0.55
        likeness.append(alike(digit, image))
    assert min(likeness) > 0.8 and np.mean(likeness) > 0.9


def colored(image: Pixels, ink: tuple[int, int, int], sheet: tuple[int, int, int]) -> Image.Image:
    share = np.asarray(enlarged(image))[..., None] / 255
    return Image.fromarray((share * ink + (1 - share) * sheet).round().astype(np.uint8))


def on_nothing(image: Pixels, ink: tuple[int, int, int]) -> Image.Image:
    picture = Image.new("RGBA", (112, 112), (*ink, 0))
    picture.putalpha(enlarged(image))
    return picture


def card(image: Pixels) -> Image.Image:
    """Return a dark digit on a light card with round, transparent corners."""
    picture = colored(image, (20, 20, 60), (240, 235, 220)).convert("RGBA")
    mask = Image.new("L", picture.size, 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, *picture.size), 26, fill=255)
    picture.putalpha(mask)
    return picture


def in_shade(image: Pixels) -> Image.Image:
    """Return a dark digit on noisy paper that the light falls on from one side."""
    paper = np.linspace(110, 230, 112) * (1 - np.asarray(enlarged(image)) / 255 * 0.7)
    noise = np.random.default_rng(0).normal(0, 5, paper.shape)
    return Image.fromarray((paper + noise).clip(0, 255).astype(np.uint8))


def floats(image: Pixels) -> Image.Image:
    pixels = np.asarray(enlarged(image)).astype(np.float32) / 127.5 - 1
    pixels[0, :2] = np.inf, np.nan
    return Image.fromarray(pixels)


FORMS: dict[str, tuple[Callable[[Pixels], Image.Image], str]] = {
    "as MNIST has it": (lambda image: Image.fromarray(image), "png"),
    "blue on white": (lambda image: colored(image, (40, 60, 170), (250, 250, 245)), "jpg"),
    "red on as bright a green": (lambda image: colored(image, (200, 0, 0), (0, 102, 0)), "png"),
    "yellow on blue": (lambda image: colored(image, (250, 240, 90), (20, 30, 120)), "bmp"),
    "black on nothing": (lambda image: on_nothing(image, (0, 0, 0)), "png"),
    "white on nothing": (lambda image: on_nothing(image, (255, 255, 255)), "png"),
    "palette": (lambda image: on_nothing(image, (200, 30, 30)).quantize(), "png"),
    "card": (card, "png"),
    "shade and noise": (in_shade, "png"),
    "16 bits": (lambda i: Image.fromarray(np.asarray(enlarged(i)).astype(np.uint16) * 257), "png"),
    "floats": (floats, "tiff"),
    "cmyk": (lambda image: enlarged(255 - image).convert("CMYK"), "jpg"),
    "2800 pixels": (lambda image: enlarged(image, 100), "jpg"),
}


@pytest.mark.parametrize("form", FORMS)
def test_any_picture_gives_the_same_digit(form: str, tmp_path: Path) -> None:
    change, ending = FORMS[form]
    for image in DATA["X"][: 1 if form == "2800 pixels" else 8]:
        plain = saved(enlarged(image), tmp_path / "plain.png")
        assert alike(saved(change(image), tmp_path / f"digit.{ending}"), plain) > 0.9


def test_turned_by_its_orientation(tmp_path: Path) -> None:
    upright = enlarged(255 - DATA["X"][0])
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by a quarter, clockwise
    upright.rotate(90).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(read_digit(tmp_path / "turned.png"), saved(upright, tmp_path / "a.png"))


@pytest.mark.parametrize(("side", "width"), [(500, 1), (500, 12), (2000, 5), (60, 1)])
def test_fine_pens_become_as_bold_as_mnists(side: int, width: int, tmp_path: Path) -> None:
    picture = Image.new("L", (side, side), 255)
    line = [(side * x, side * y) for x, y in ((0.31, 0.3), (0.6, 0.3), (0.4, 0.7))]
    ImageDraw.Draw(picture).line(line, 0, width, joint="curve")
    digit = saved(picture, tmp_path / "seven.png")
    assert 28 <= (digit > 127).sum() <= 100
    assert np.ptp(np.nonzero(digit > 127)[0]) >= 18


BAD = {
    "text.txt": (b"a digit", "not a picture"),
    "empty.png": (b"", "not a picture"),
    "photo.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
    "large.png": (None, "too large"),
    "half.png": (None, "damaged"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_no_picture_is_one_line(name: str, tmp_path: Path) -> None:
    content, told = BAD[name]
    enlarged(DATA["X"][0]).save(tmp_path / "good.png")
    good = (tmp_path / "good.png").read_bytes()
    if name == "half.png":
        content = good[: len(good) // 2]
    if name == "large.png":
        header = b"IHDR" + struct.pack(">2I", 20_000, 20_000) + good[24:29]  # other sides
        content = good[:12] + header + struct.pack(">I", zlib.crc32(header)) + good[33:]
    assert content is not None
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=told) as caught:
        read_picture(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_a_blank_picture_is_one_line(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(200, 4, (300, 200)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "blank.png")
    with pytest.raises(InputError, match="nothing is drawn"):
        read_digit(tmp_path / "blank.png")
    assert find_digits(read_picture(tmp_path / "blank.png")) == []


PAGES = {
    "small": {"size": 20},
    "large": {"size": 90},
    "blue": {"ink": (40, 60, 170)},
    "slanting": {"slant": 0.15},
    "slanting up": {"slant": -0.15},
    "light from one side": {"light": "ramp"},
    "a shadow": {"light": "shadow"},
    "ruled": {"rules": (150, 180, 220)},
    "ruled in black": {"rules": (60, 60, 60)},
    "a fold": {"fold": True},
    "on a table": {"table": True},
    "specks": {"specks": 60},
    "chalk": {"inverted": True},
}


@pytest.mark.parametrize("kind", PAGES)
def test_every_digit_on_a_page_is_found_in_order(kind: str) -> None:
    made = page(np.arange(60), **PAGES[kind])  # type: ignore[arg-type]
    found = find_digits(np.asarray(made.picture.convert("RGBA")))
    assert [len(line) for line in found] == [10] * 6
    boxes = np.array([digit.box for line in found for digit in line])
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    assert np.abs(centres - made.centres).max() < 0.35 * made.size
    sides = (boxes[:, 2:] - boxes[:, :2]).max(1)
    assert np.abs(sides - made.size).max() < 0.3 * made.size


@pytest.mark.parametrize("gap", [2, 6, 10])
def test_the_detached_bar_of_a_five_belongs_to_it(gap: int) -> None:
    picture = Image.new("L", (300, 120), 255)
    pen = ImageDraw.Draw(picture)
    for left in (20, 110, 200):
        pen.line(
            [(left + 5, 40), (left + 5, 60), (left + 35, 68), (left + 30, 100), (left, 100)], 0, 7
        )
        pen.line([(left + 15, 34 - gap), (left + 50, 30 - gap)], 0, 7)
    [line] = find_digits(np.asarray(picture.convert("RGBA")))
    assert [digit.box[1] < 35 and digit.box[3] > 95 for digit in line] == [True] * 3
