"""Pictures as people have them: each digit is found and brought to MNIST's form."""

import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from common.errors import InputError
from common.mnist import mnist
from common.pictures import decode, find_digits, read_digit, read_picture
from tests.pages import Pixels, page, varied

IMAGES = mnist()["X"]


def enlarged(image: Pixels, factor: int = 4) -> Image.Image:
    side = 28 * factor
    return Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)


def saved(picture: Image.Image, path: Path) -> Pixels:
    picture.save(path)
    return read_digit(path)


def alike(a: Pixels, b: Pixels) -> float:
    """Return the correlation of two images, moved by a pixel if that makes it higher."""
    moves = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    moved = (np.roll(a, move, (0, 1)).ravel() for move in moves)
    return max(float(np.corrcoef(pixels, b.ravel())[0, 1]) for pixels in moved)


def colored(image: Pixels, ink: tuple[int, int, int], sheet: tuple[int, int, int]) -> Image.Image:
    share = np.asarray(enlarged(image))[..., None] / 255
    return Image.fromarray((share * ink + (1 - share) * sheet).round().astype(np.uint8))


def on_nothing(image: Pixels) -> Image.Image:
    picture = Image.new("RGBA", (112, 112), "black")
    picture.putalpha(enlarged(image))
    return picture


FORMS: dict[str, tuple[Callable[[Pixels], Image.Image], str]] = {
    "as MNIST has it": (lambda image: Image.fromarray(image), "png"),
    "blue on white": (lambda image: colored(image, (40, 60, 170), (250, 250, 245)), "jpg"),
    "red on as bright a green": (lambda image: colored(image, (200, 0, 0), (0, 102, 0)), "png"),
    "black on nothing": (on_nothing, "png"),
    "cmyk": (lambda image: enlarged(255 - image).convert("CMYK"), "jpg"),
}


@pytest.mark.parametrize("form", FORMS)
def test_any_picture_is_brought_to_mnists_form(form: str, tmp_path: Path) -> None:
    change, ending = FORMS[form]
    for image in IMAGES[:6]:
        digit = saved(change(image), tmp_path / f"digit.{ending}")
        assert digit.shape == (28, 28) and digit.dtype == np.uint8 and digit.max() == 255
        assert alike(digit, image) > 0.8
        assert 19 <= max(np.ptp(places) + 1 for places in np.nonzero(digit > 25)) <= 20
        weights = digit / digit.sum()
        assert np.abs((np.indices((28, 28)) * weights).sum((1, 2)) - 14).max() <= 0.55


def test_turned_by_its_orientation(tmp_path: Path) -> None:
    upright = enlarged(255 - IMAGES[0])
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by a quarter, clockwise
    upright.rotate(90).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(read_digit(tmp_path / "turned.png"), saved(upright, tmp_path / "a.png"))


@pytest.mark.parametrize(("side", "width"), [(500, 1), (500, 12), (60, 1)])
def test_fine_pens_become_as_bold_as_mnists(side: int, width: int, tmp_path: Path) -> None:
    picture = Image.new("L", (side, side), 255)
    seven = [(side * x, side * y) for x, y in ((0.31, 0.3), (0.6, 0.3), (0.4, 0.7))]
    ImageDraw.Draw(picture).line(seven, 0, width, joint="curve")
    assert 28 <= (saved(picture, tmp_path / "seven.png") > 127).sum() <= 100


@pytest.mark.parametrize("kept", [0, 500])
def test_a_damaged_picture_is_one_line(kept: int, tmp_path: Path) -> None:
    path = tmp_path / "digit.png"
    enlarged(IMAGES[0]).save(path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=f"^{path}: .*$"):
        read_picture(path)


@pytest.mark.parametrize("ending", ["tif", "gif"])
def test_a_scan_of_two_pages_is_not_read_as_one(ending: str, tmp_path: Path) -> None:
    pages = [enlarged(image) for image in IMAGES[:2]]
    pages[0].save(tmp_path / f"scan.{ending}", save_all=True, append_images=pages[1:])
    with pytest.raises(InputError, match="several pictures"):
        read_picture(tmp_path / f"scan.{ending}")


PAGES = {
    "small": {"size": 20},
    "large": {"size": 70},
    "blue": {"ink": (40, 60, 170)},
    "slanting": {"slant": 0.15},
    "slanting up": {"slant": -0.15},
    "light from one side": {"light": "ramp"},
    "a shadow": {"light": "shadow"},
    "ruled": {"rules": (150, 180, 220)},
    "ruled in black": {"rules": (60, 60, 60)},
    "on a table": {"table": 80},
    "specks": {"specks": 60},
    "chalk": {"inverted": True},
}


@pytest.mark.parametrize("kind", PAGES)
def test_every_digit_on_a_page_is_found_in_order(kind: str) -> None:
    made = page(60, **PAGES[kind])  # type: ignore[arg-type]
    found = find_digits(np.asarray(made.picture.convert("RGBA")))
    assert [len(line) for line in found] == [10] * 6
    boxes = np.array([digit.box for line in found for digit in line])
    assert np.abs((boxes[:, :2] + boxes[:, 2:]) / 2 - made.centres).max() < 0.35 * made.size
    assert np.abs((boxes[:, 2:] - boxes[:, :2]).max(1) - made.size).max() < 0.3 * made.size


@pytest.mark.parametrize("number", [36, 81])
def test_a_shadow_on_a_sheet_is_not_its_edge(number: int) -> None:
    found = find_digits(np.asarray(varied("desk", number).picture.convert("RGBA")))
    assert [len(line) for line in found if len(line) > 1] == [10] * 6


def test_three_digits_that_touch_are_no_dash() -> None:
    found = find_digits(np.asarray(varied("three touch", 20).picture.convert("RGBA")))
    assert not any(digit.sign for line in found for digit in line)


@pytest.mark.parametrize("gap", [2, 10])
def test_the_detached_bar_of_a_five_belongs_to_it(gap: int) -> None:
    picture = Image.new("L", (330, 120), 255)
    for x in (10, 100, 190):
        pen = ImageDraw.Draw(picture)
        pen.line([(x + 5, 40), (x + 5, 60), (x + 35, 68), (x + 30, 100), (x, 100)], 0, 7)
        pen.line([(x + 30, 34 - gap), (x + 65, 30 - gap)], 0, 7)
    pen.rectangle((280, 90, 296, 106), 0)  # a full stop
    [line] = find_digits(np.asarray(picture.convert("RGBA")))
    assert [digit.box[1] < 35 and digit.box[3] > 95 for digit in line] == [True] * 3


def test_a_page_of_dots_is_refused_before_it_takes_long() -> None:
    dots = np.zeros((1400, 1400), np.uint8)
    dots[::14, ::14] = 1
    pixels = np.where(ndimage.binary_dilation(dots, np.ones((8, 8))), 20, 240).astype(np.uint8)
    with pytest.raises(InputError, match="10,000 marks"):
        find_digits(np.asarray(Image.fromarray(pixels).convert("RGBA")))


def test_a_large_picture_is_refused_before_it_is_decoded() -> None:
    content = io.BytesIO()
    Image.new("1", (5001, 5000)).save(content, "png")
    with pytest.raises(InputError, match="more than 25 million pixels"):
        decode(content.getvalue(), most_pixels=25_000_000)


def test_a_drawing_on_nothing_has_no_sheet() -> None:
    picture = Image.new("RGBA", (800, 400))
    for left in (100, 400):
        ImageDraw.Draw(picture).ellipse((left, 100, left + 140, 300), outline="black", width=16)
    assert [len(line) for line in find_digits(np.asarray(picture))] == [2]


def test_a_page_of_rings_takes_time_by_its_pixels() -> None:
    picture = Image.new("L", (1600, 1600), 240)
    pen = ImageDraw.Draw(picture)
    for place in range(1024):
        x, y = 50 * (place % 32) + 5, 50 * (place // 32) + 5
        pen.ellipse((x, y, x + 33, y + 33), outline=30, width=4)
    began = time.process_time()
    assert sum(map(len, find_digits(np.asarray(picture.convert("RGBA"))))) == 1024
    assert time.process_time() - began < 6  # CPU seconds, of all threads
