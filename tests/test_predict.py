"""Pictures of one's own: brought to MNIST's form, read, and told with calibrated probabilities."""

import math
import re
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from common.own_digits import mnist_form, read_digit
from common.weights import load_weights
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import nn

from common.batches import predict
from common.calibration import calibration_error, error_by_chance, fit_temperature
from common.mnist import mnist
from mnist.conv import ConvNet
from mnist.logit import Logit
from mnist.predict import opinions
from tests.conftest import run_script, run_unread

Pixels = NDArray[np.uint8]
CPU = ("--device", "cpu")


@pytest.fixture(scope="module")
def data() -> dict[str, Pixels]:
    return mnist()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two classifiers, trained for an epoch on all but 10,000 training images."""
    out = tmp_path_factory.mktemp("out")
    for name in ("logit", "conv"):
        done = run_script(name, "--epochs", "1", "--validate", *CPU, "--out", str(out))
        assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def conv(trained: Path) -> nn.Module:
    return load_weights(ConvNet, trained / "conv.pt")


def reading(model: nn.Module, images: Pixels) -> NDArray[np.int64]:
    """Return what the model reads images, (n, 28, 28), as."""
    return predict(model, torch.from_numpy(images).unsqueeze(1)).argmax(1).numpy()


def enlarged(image: Pixels, factor: int = 6) -> Image.Image:
    height, width = image.shape
    return Image.fromarray(image).resize(
        (width * factor, height * factor), Image.Resampling.BICUBIC
    )


def moved(image: Pixels, down: int, right: int) -> Pixels:
    """Return an image somewhere on a sheet of 44 x 44 pixels."""
    return np.pad(image, ((down, 16 - down), (right, 16 - right)))


def saved(picture: Image.Image, path: Path) -> Pixels:
    """Return what is read of a picture that is saved as a file."""
    picture.save(path)
    return read_digit(path)


def alike(a: Pixels, b: Pixels) -> float:
    """Return the correlation of two images."""
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


# The forms that a test image is given, and the type of the file.
FORMS: dict[str, tuple[Callable[[Pixels, int, int], Image.Image], str]] = {
    "enlarged": (lambda image, down, right: enlarged(image, 4), "png"),
    "inverted": (lambda image, down, right: Image.fromarray(255 - image), "png"),
    "shifted": (lambda image, down, right: Image.fromarray(moved(image, down, right)), "jpg"),
    "all three": (lambda image, down, right: enlarged(255 - moved(image, down, right), 3), "jpg"),
}


@pytest.mark.parametrize("form", FORMS)
def test_test_images_are_read_as_well_as_before(
    form: str, data: dict[str, Pixels], conv: nn.Module, tmp_path: Path
) -> None:
    images, labels = data["X"][::5], data["Y"][::5]  # 2,000, of both halves of the test set
    change, ending = FORMS[form]
    places = np.random.default_rng(0).integers(0, 17, (len(images), 2)).tolist()
    path = tmp_path / f"digit.{ending}"
    returned = np.stack(
        [saved(change(image, *place), path) for image, place in zip(images, places, strict=True)]
    )
    before, after = (np.sum(reading(conv, x) != labels) for x in (images, returned))
    assert before < len(images) / 50
    assert after <= before + len(images) / 100
    assert len(np.unique(returned, axis=0)) > 0.99 * len(images)


def test_form_is_that_of_mnist(data: dict[str, Pixels], tmp_path: Path) -> None:
    likeness = []
    for image in data["X"][:50]:
        digit = saved(enlarged(moved(image, 3, 12)), tmp_path / "digit.png")
        assert digit.shape == (28, 28) and digit.dtype == np.uint8 and digit.max() == 255
        rows, columns = np.nonzero(digit > 25)
        assert 19 <= max(np.ptp(rows), np.ptp(columns)) + 1 <= 20
        for axis in (0, 1):
            centre = (np.indices((28, 28))[axis] * digit.astype(float)).sum() / digit.sum()
            assert abs(centre - 14) <= 0.55
        likeness.append(alike(digit, image))
    assert min(likeness) > 0.6  # a pixel aside is enough to lose a thin stroke
    assert np.mean(likeness) > 0.8


def colored(image: Pixels, ink: tuple[int, int, int], ground: tuple[int, int, int]) -> Pixels:
    share = np.asarray(enlarged(image))[..., None] / 255
    return (share * ink + (1 - share) * ground).round().astype(np.uint8)


def layered(image: Pixels, ink: tuple[int, int, int]) -> Image.Image:
    """Return a digit drawn in a colour on nothing."""
    alpha = enlarged(image)
    picture = Image.new("RGBA", alpha.size, (*ink, 0))
    picture.paste(ink, mask=alpha)
    picture.putalpha(alpha)
    return picture


def card(image: Pixels) -> Image.Image:
    """Return a dark digit on a light card with round, transparent corners."""
    picture = Image.fromarray(colored(image, (20, 20, 60), (240, 235, 220))).convert("RGBA")
    mask = Image.new("L", picture.size, 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, *picture.size), 40, fill=255)
    picture.putalpha(mask)
    return picture


def in_shade(image: Pixels) -> Image.Image:
    """Return a dark digit on paper that the light falls on from one side, with noise."""
    paper = np.linspace(110, 230, 28 * 6) * (1 - np.asarray(enlarged(image)) / 255 * 0.7)
    noise = np.random.default_rng(0).normal(0, 5, paper.shape)
    return Image.fromarray((paper + noise).clip(0, 255).astype(np.uint8))


def with_specks(image: Pixels) -> Image.Image:
    picture = Image.fromarray(255 - np.asarray(enlarged(image)))
    draw = ImageDraw.Draw(picture)
    for x, y in ((8, 12), (150, 6), (160, 155), (14, 140)):
        draw.ellipse((x, y, x + 3, y + 3), fill=0)
    return picture


def deep(image: Pixels) -> Image.Image:
    return Image.fromarray(np.asarray(enlarged(image)).astype(np.uint16) * 257)


def from_minus_one(image: Pixels) -> Image.Image:
    floats = np.asarray(enlarged(image)).astype(np.float32) / 127.5 - 1
    floats[0, :2] = np.inf, np.nan
    return Image.fromarray(floats)


@pytest.mark.parametrize(
    ("form", "ending"),
    [
        (lambda image: Image.fromarray(colored(image, (200, 0, 0), (0, 102, 0))), "png"),
        (lambda image: Image.fromarray(colored(image, (250, 240, 90), (20, 30, 120))), "jpg"),
        (lambda image: Image.fromarray(colored(image, (0, 0, 0), (255, 255, 255))), "bmp"),
        (lambda image: layered(image, (0, 0, 0)), "png"),
        (lambda image: layered(image, (255, 255, 255)), "png"),
        (card, "png"),
        (lambda image: layered(image, (200, 30, 30)).quantize(), "png"),
        (in_shade, "png"),
        (with_specks, "png"),
        (deep, "png"),
        (from_minus_one, "tiff"),
        (lambda image: enlarged(255 - image).convert("CMYK"), "jpg"),
        (lambda image: enlarged(255 - image).convert("P"), "gif"),
        (lambda image: enlarged(image, 100), "jpg"),
    ],
    ids=[
        *("red on as bright a green", "yellow on blue", "bitmap"),
        *("black on nothing", "white on nothing", "card", "palette with transparency"),
        *("shade and noise", "specks", "16 bits", "floats", "cmyk", "gif", "2800 pixels"),
    ],
)
def test_any_picture_gives_the_same_digit(
    form: Callable[[Pixels], Image.Image], ending: str, data: dict[str, Pixels], tmp_path: Path
) -> None:
    for image in data["X"][:10]:
        plain = saved(enlarged(image), tmp_path / "plain.png")
        digit = saved(form(image), tmp_path / f"digit.{ending}")
        shifted = [
            alike(np.roll(digit, (i, j), (0, 1)), plain) for i in (-1, 0, 1) for j in (-1, 0, 1)
        ]
        assert max(shifted) > 0.9


def test_turned_by_its_orientation(data: dict[str, Pixels], tmp_path: Path) -> None:
    upright = enlarged(255 - data["X"][0])
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by a quarter, clockwise
    upright.rotate(90).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(read_digit(tmp_path / "turned.png"), saved(upright, tmp_path / "a.png"))


@pytest.mark.parametrize(("side", "width"), [(500, 1), (500, 12), (3000, 5), (60, 1)])
def test_fine_pens_are_read(side: int, width: int, conv: nn.Module, tmp_path: Path) -> None:
    strokes = {
        1: [(50, 10), (50, 90)],
        2: [(25, 28), (35, 12), (55, 8), (72, 20), (70, 38), (25, 90), (78, 90)],
        4: [(60, 92), (62, 8), (20, 62), (80, 62)],
        7: [(22, 12), (76, 12), (45, 92)],
    }
    digits = []
    for corners in strokes.values():
        picture = Image.new("L", (side, side), 255)
        line = [(side * (20 + 0.5 * x) / 100, side * (25 + 0.5 * y) / 100) for x, y in corners]
        ImageDraw.Draw(picture).line(line, 0, width, joint="curve")
        digits.append(saved(picture, tmp_path / "digit.png"))
    assert reading(conv, np.stack(digits)).tolist() == list(strokes)
    # As bold as the finest of MNIST's.
    assert min(int((digit > 127).sum()) for digit in digits) >= 18


def test_temperature_is_found_again() -> None:
    torch.manual_seed(0)
    logits = torch.randn(20_000, 10, dtype=torch.double) * 2
    y = torch.multinomial(logits.softmax(1), 1).squeeze(1)
    assert fit_temperature(logits * 3, y) == pytest.approx(3, rel=0.03)
    assert fit_temperature(logits.float() / 4, y) == pytest.approx(0.25, rel=0.03)
    with pytest.raises(ValueError, match="none of 20000 images is misread"):
        fit_temperature(logits, logits.argmax(1))


def test_calibration_error_by_hand() -> None:
    # Three images at 0.9, two of them right; one at 0.6, wrong; they are in different bins.
    probabilities = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.6, 0.4]])
    y = torch.tensor([0, 1, 1, 1])
    expected = 3 / 4 * abs(0.9 - 2 / 3) + 1 / 4 * 0.6
    assert calibration_error(probabilities, y) == pytest.approx(expected, abs=1e-6)
    # In a single bin too much here makes up for too little there.
    assert calibration_error(probabilities, y, bins=1) == pytest.approx(abs(3.3 / 4 - 1 / 2))
    assert calibration_error(torch.tensor([[1.0, 0.0]]), torch.tensor([0])) == 0


def test_calibration_error_by_chance_alone() -> None:
    # Of n coins, all in one bin, the share of heads is off by sqrt(2 / pi) / 2 / sqrt(n) in the
    # mean of many sets of labels.
    coins = torch.full((1000, 2), 0.5)
    expected = math.sqrt(2 / math.pi) / 2 / math.sqrt(1000)
    assert error_by_chance(coins, draws=2000) == pytest.approx(expected, rel=0.05)
    assert error_by_chance(torch.tensor([[1.0, 0.0]] * 7)) == 0


def test_probabilities_mean_what_they_say(trained: Path, tmp_path: Path) -> None:
    """The temperature fitted on held-out images, and the one that predict.py goes by."""
    done = run_script("predict", "--calibration", *CPU, "--out", str(trained))
    assert done.returncode == 0, done.stderr
    line = (
        r"^conv +temperature: ([\d.]+), {}  calibration error on 10,000 test images: ([\d.]+)%"
        r" \(([\d.]+)% without, ([\d.]+)% by chance alone\)$"
    )
    fitted = re.search(line.format("fitted on 10,000 held-out training images"), done.stdout, re.M)
    assert fitted is not None, done.stdout
    assert float(fitted[2]) < 0.5
    assert float(fitted[3]) > 5
    assert 0.02 < float(fitted[4]) < 0.3

    # Of a run that has not ended the log is there, but the weights are an older run's.
    shutil.copy(trained / "conv.pt", tmp_path)
    log = (trained / "conv.log").read_text()
    (tmp_path / "conv.log").write_text(log.partition("\nweights: ")[0])
    done = run_script("predict", "--calibration", *CPU, "--out", str(tmp_path))
    given = re.search(line.format("as in predict.py"), done.stdout, re.M)
    assert given is not None, done.stdout
    # Fitted to a network that was trained for far longer, it still mends most of the modesty.
    assert float(given[2]) < float(given[3]) / 2
    assert given[3] == fitted[3]


def test_what_is_said_of_a_picture(trained: Path, data: dict[str, Pixels], tmp_path: Path) -> None:
    seven, two = tmp_path / "seven.png", tmp_path / "two.jpg"
    enlarged(255 - data["X"][0]).save(seven)
    enlarged(data["X"][1]).save(two)
    done = run_script("predict", str(seven), "--show", str(two), *CPU, "--out", str(trained))
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) == 2 * (1 + 28 + 3)
    for path, digit, image, block in (
        (seven, 7, data["X"][0], lines[:32]),
        (two, 2, data["X"][1], lines[32:]),
    ):
        assert block[0] == str(path)
        shown = np.array([[character != " " for character in line] for line in block[1:29]])
        assert shown.shape == (28, 28)
        assert alike(shown.astype(np.uint8), (image > 25).astype(np.uint8)) > 0.8
        assert [line.split()[0] for line in block[29:]] == ["logit", "conv", "verdict"]
        shares = [float(share) for share in re.findall(r" ([\d.]+)%", block[30])]
        digits = [int(one) for one in re.findall(r" (\d) ", block[30])]
        assert shares == sorted(shares, reverse=True) and sum(shares) <= 100
        assert len(set(digits)) == len(shares) == 3
        assert digits[0] == digit
        assert shares[0] > 90  # without its temperature conv would say 82 on the average
    assert lines[31] == "  verdict 7, by 2 of 2 models"


def test_verdict_is_the_majoritys() -> None:
    def sure(digit: int, share: float) -> torch.Tensor:
        rest = torch.full((10,), (1 - share) / 9, dtype=torch.double)
        return rest.index_fill(0, torch.tensor(digit), share)

    votes = {"logit": sure(3, 0.99), "linear": sure(5, 0.4), "conv": sure(5, 0.4)}
    assert opinions(votes)[-1] == "  verdict 5, by 2 of 3 models"
    # Of two with as many votes, the one that they are surer of together.
    votes = {"logit": sure(3, 0.6), "conv": sure(5, 0.9)}
    assert opinions(votes)[-1] == "  verdict 5, by 1 of 2 models"
    assert len(opinions({"conv": sure(5, 0.9)})) == 1


def test_bad_pictures_are_a_line_each(
    trained: Path, data: dict[str, Pixels], tmp_path: Path
) -> None:
    good = tmp_path / "good.png"
    enlarged(data["X"][0]).save(good)
    content = good.read_bytes()
    rng = np.random.default_rng(0)
    header = b"IHDR" + struct.pack(">2I", 20_000, 20_000) + content[24:29]  # other sides
    large = content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]
    told = {
        "text.png": (b"a digit", "no picture"),
        "large.png": (large, "too large: make it 178,956,970 pixels or less"),
        "empty.png": (b"", "an empty file"),
        "half.png": (content[: len(content) // 2], "damaged"),
        "none.png": (None, "cannot read {}: No such file"),
    }
    for name, (bytes_, _) in told.items():
        if bytes_ is not None:
            (tmp_path / name).write_bytes(bytes_)
    blank = {
        "white.png": np.full((40, 30), 255, np.uint8),
        "noise.png": rng.normal(200, 6, (400, 300)).clip(0, 255).astype(np.uint8),
        "shade.png": np.tile(np.linspace(90, 200, 300), (200, 1)).astype(np.uint8),
        "dot.png": np.zeros((1, 1), np.uint8),
        "nothing.png": np.zeros((30, 30, 4), np.uint8),
    }
    for name, pixels in blank.items():
        Image.fromarray(pixels).save(tmp_path / name)
    names = [*told, *blank]
    paths = [str(tmp_path / name) for name in names]
    done = run_script("predict", *paths, str(tmp_path), str(good), *CPU, "--out", str(trained))
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) == len(names) + 1
    for name, line in zip(names, lines, strict=False):
        message = told[name][1] if name in told else "nothing is drawn on it"
        assert line.startswith("predict: ") and message.format(tmp_path / name) in line
        assert str(tmp_path / name) in line
    assert lines[-1] == f"predict: cannot read {tmp_path}: Is a directory"
    # The good one among them is read all the same.
    assert done.stdout.startswith(f"{good}\n  logit ")


def test_no_weights_or_damaged_ones_are_one_line(data: dict[str, Pixels], tmp_path: Path) -> None:
    good = tmp_path / "good.png"
    enlarged(data["X"][0]).save(good)
    done = run_script("predict", str(good), "--out", str(tmp_path), *CPU)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(
        f"predict: no trained classifier in {tmp_path};"
        f" python mnist/conv.py --epochs 1 --out {tmp_path} trains one"
    )
    (tmp_path / "conv.pt").write_bytes(b"PK")
    done = run_script("predict", str(good), "--out", str(tmp_path), *CPU)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"predict: {tmp_path / 'conv.pt'} is damaged")
    assert done.stderr.count("\n") == 1
    # Another's weights, if they are good, are asked all the same.
    torch.save(Logit().state_dict(), tmp_path / "logit.pt")
    done = run_script("predict", str(good), "--out", str(tmp_path), *CPU)
    assert done.returncode == 1
    assert done.stdout.startswith(f"{good}\n  logit ") and done.stdout.count("\n") == 2
    assert done.stderr.startswith(f"predict: {tmp_path / 'conv.pt'} is damaged")
    assert done.stderr.count("\n") == 1


def test_weights_of_any_precision_and_none_that_are_not_finite(tmp_path: Path) -> None:
    path, states = tmp_path / "logit.pt", Logit().state_dict()
    torch.save({name: tensor.double() for name, tensor in states.items()}, path)
    loaded = load_weights(Logit, path).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in states.items())
    torch.save({**states, "1.bias": torch.full((10,), math.nan)}, path)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))} is damaged, or holds other"):
        load_weights(Logit, path)


def test_marks_lighter_and_darker_than_the_background() -> None:
    """As much of the one as of the other: the drawing is whatever stands out the most."""
    grey = np.full((40, 40, 4), (128, 128, 128, 255), np.uint8)
    grey[8:32, 8:12, :3] = 228  # a bar on the left, and one as strong on the right
    grey[8:32, 28:32, :3] = 28
    digit = mnist_form(grey)
    assert digit[:, 10:18].sum() == digit.sum() > 0


def test_a_line_along_the_edge_is_read(tmp_path: Path) -> None:
    """A scan of an almost empty sheet: Pillow leaves such a line out unless told."""
    grey = np.full((508, 508), 255, np.uint8)
    grey[-1] = 40
    Image.fromarray(grey).save(tmp_path / "edge.png")
    assert read_digit(tmp_path / "edge.png").max() > 100


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="there is no /proc/self/mem")
def test_a_log_that_cannot_be_read_is_one_clear_line(trained: Path, tmp_path: Path) -> None:
    shutil.copy(trained / "logit.pt", tmp_path)
    (tmp_path / "logit.log").symlink_to("/proc/self/mem")
    told = f"cannot read {tmp_path / 'logit.log'}: Input/output error\n"
    done = run_script("predict", "--calibration", *CPU, "--out", str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"predict: {told}")
    done = run_script("report", "--out", str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"report: {told}report: no run in {tmp_path} to report; ")


def test_output_that_nobody_reads_any_more_is_one_clear_line(
    data: dict[str, Pixels], trained: Path, tmp_path: Path
) -> None:
    good = tmp_path / "good.png"
    enlarged(data["X"][0]).save(good)
    done = run_unread("predict", str(good), *CPU, "--out", str(trained))
    assert done == (1, "predict: cannot print: Broken pipe\n")


def test_help_is_complete() -> None:
    text = run_script("predict", "--help").stdout
    for word in ("python mnist/predict.py my-seven.jpg", "IMAGE", "--show", "--calibration",
                 "--device NAME", "--data DIR", "--out DIR"):  # fmt: skip
        assert word in text
    done = run_script("predict")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("error: give a picture of a digit")
