"""Digits on demand, from weights as cgan.py leaves them; and how weights are loaded."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from common.batches import draw
from common.weights import load_weights
from mnist.cgan import Generator
from mnist.conv import ConvNet
from mnist.sample import main
from tests.conftest import run_script

Sample = Callable[..., tuple[object, str, str]]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder with the weights of a generator that draws each digit in its own way."""
    torch.manual_seed(1)
    generator = Generator()
    weights = generator.state_dict()
    weights["embedding.0.weight"] *= 5  # what is asked for counts more than the latent vector
    torch.save(weights, tmp_path / "cgan.pt")
    return tmp_path


@pytest.fixture
def sample(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Sample:
    """Call the script's `main` with flags; its exit status or message, output and errors."""

    def call(*flags: str) -> tuple[object, str, str]:
        monkeypatch.setattr("sys.argv", ["sample.py", *flags])
        status: object = 0
        try:
            main()
        except SystemExit as stop:
            status = stop.code
        return (status, *capsys.readouterr())

    return call


def cells(path: Path) -> NDArray[np.uint8]:
    """Return the images of a picture of one row, (n, 28, 28), and look at its frame."""
    with Image.open(path) as image:
        assert image.mode == "L"
        pixels = np.asarray(image)
    assert pixels.shape[0] == 32 and pixels.shape[1] % 30 == 2
    assert (pixels[[0, 1, -2, -1]] == 255).all()
    return np.stack([pixels[2:30, x : x + 28] for x in range(2, pixels.shape[1] - 2, 30)])


def test_draws_the_digits_asked_for(out: Path) -> None:
    done = run_script("sample", "20260", "--seed", "7", "--out", str(out), "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{out / 'sample.png'}: 20260, --seed 7\n"
    torch.manual_seed(7)
    latent, asked = torch.randn(5, 100, 1, 1), torch.tensor([2, 0, 2, 6, 0])
    off = torch.autocast("cpu", enabled=False)
    expected = draw(load_weights(Generator, out / "cgan.pt"), off, latent, asked)
    difference = cells(out / "sample.png").astype(int) - expected.squeeze(1).numpy()
    assert np.abs(difference).max() <= 1  # another layout of the weights rounds otherwise
    assert sorted(path.name for path in out.iterdir()) == ["cgan.pt", "sample.png"]


def test_different_each_time_and_repeated_by_the_seed_it_tells(out: Path, sample: Sample) -> None:
    flags = ("2026", "--out", str(out), "--device", "cpu")
    pictures, seeds = [], []
    for _ in range(2):
        seeds.append(re.search(r"--seed (\d+)$", sample(*flags)[1].strip()))
        pictures.append((out / "sample.png").read_bytes())
    assert pictures[0] != pictures[1]
    first = cells(out / "sample.png")
    assert not np.array_equal(first[0], first[2])  # two different twos
    assert seeds[0] is not None
    sample(*flags, "--seed", seeds[0][1])
    assert (out / "sample.png").read_bytes() == pictures[0]


@pytest.mark.parametrize("text", ["abc", "20a6", "", "-5", "2 0", "²", "٣", "1.5"])
def test_what_is_no_digit_is_one_clear_line(text: str, out: Path, sample: Sample) -> None:
    (out / "sample.png").write_text("an older one")
    line = f"sample: {text!r} is not made of digits, as 2026 is\n"
    assert sample(text, "--out", str(out)) == (2, "", line)
    assert (out / "sample.png").read_text() == "an older one"


def test_no_weights_or_damaged_ones_are_one_clear_line(out: Path, sample: Sample) -> None:
    path = out / "cgan.pt"
    content = path.read_bytes()
    torch.save(ConvNet().state_dict(), path)
    others = path.read_bytes()
    for damaged in (content[:-100], content[:100], b"", b"weights", b"a text", b".", others):
        path.write_bytes(damaged)
        line = f"sample: {path} is damaged, or holds other weights than Generator's"
        line += ": train it anew, or remove it"
        assert sample("1", "--out", str(out)) == (line, "", "")
    path.unlink()
    done = run_script("sample", "1", "--out", str(out))
    assert done.returncode == 1
    assert done.stderr == f"sample: no {path}: python mnist/cgan.py --out {out} trains it\n"
    assert not (out / "sample.png").exists()


def test_loading_weights_draws_no_random_numbers(out: Path) -> None:
    torch.manual_seed(2)
    expected = torch.rand(3)
    torch.manual_seed(2)
    generator = load_weights(Generator, out / "cgan.pt")
    assert torch.equal(torch.rand(3), expected)
    assert not generator.training
    saved = torch.load(out / "cgan.pt", weights_only=True)
    loaded = generator.state_dict()
    assert loaded.keys() == saved.keys()
    assert all(torch.equal(loaded[name], saved[name]) for name in saved)
