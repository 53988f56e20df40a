"""Digits on demand, from weights as the GANs leave them."""

import csv
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from common.batches import draw
from common.classifiers import load_classifiers
from common.mnist import mnist
from mnist import cgan, gan
from mnist.sample import main, write_pictures
from tests.conftest import Capsys, Finished, Patch, copy, run_script
from tests.test_predict import change


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder with the weights of both generators."""
    torch.manual_seed(1)
    weights = cgan.Generator().state_dict()
    weights["embedding.0.weight"] *= 5  # what is asked for counts more than the latent vector
    torch.save(weights, tmp_path / "cgan.pt")
    torch.save(gan.Generator().state_dict(), tmp_path / "gan.pt")
    return tmp_path


def cells(path: Path) -> NDArray[np.uint8]:
    """Return the images of a grid, (rows, columns, 28, 28)."""
    pixels = np.asarray(Image.open(path))
    assert (pixels[[0, 1, -2, -1]] == 255).all() and pixels.dtype == np.uint8
    rows, columns = (side // 30 for side in pixels.shape)
    return pixels[2:, 2:].reshape(rows, 30, columns, 30).swapaxes(1, 2)[:, :, :28, :28]


def sample(out: Path, *flags: str) -> NDArray[np.uint8]:
    main([*flags, "--out", str(out), "--device", "cpu"])
    return cells(out / "sample.png")


def test_draws_the_digits_asked_for(out: Path) -> None:
    done = run_script("sample", "20260", "--seed", "7", "--out", str(out), "--device", "cpu")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{out / 'sample.png'}: 20260, --seed 7\n"
    torch.manual_seed(7)
    latent, asked = torch.randn(5, 100, 1, 1), torch.tensor([2, 0, 2, 6, 0])
    generator = cgan.Generator()
    generator.load_state_dict(torch.load(out / "cgan.pt"))
    expected = draw(generator, torch.autocast("cpu", enabled=False), latent, asked)
    difference = cells(out / "sample.png").astype(int) - expected.squeeze(1).numpy()
    assert np.abs(difference).max() <= 1  # rounding


def test_different_each_time_and_repeated_by_the_seed_it_tells(out: Path, capsys: Capsys) -> None:
    first = sample(out, "22")
    seed = capsys.readouterr().out.split()[-1]
    assert not np.array_equal(sample(out, "22"), first)
    assert np.array_equal(sample(out, "22", "--seed", seed), first)


def test_pictures_and_labels(out: Path) -> None:
    digits, folder = "2026", out / "new" / "pictures"
    grid = sample(out, digits, "--count", "60", "--pictures", str(folder))
    assert grid.shape == (12, 20, 28, 28)
    with open(folder / "labels.csv", newline="") as file:
        labels = list(csv.DictReader(file))
    assert "".join(row["digit"] for row in labels) == digits * 60
    assert {row["file"] for row in labels} == {path.name for path in folder.glob("*.png")}
    pictures = [np.asarray(Image.open(folder / row["file"])) for row in labels]
    assert np.array_equal(np.stack(pictures).reshape(grid.shape), grid)


def test_a_gan_without_classes(out: Path) -> None:
    grid = sample(out, "--network", "gan", "--count", "30", "--pictures", str(out / "new"))
    assert grid.shape == (2, 20, 28, 28)  # the second row is half empty
    assert (grid[1, 10:] == 0).all() and not (grid[1, 9] == 0).all()
    assert len(list((out / "new").iterdir())) == 30  # and no labels: they are not known


def test_digits_are_those_of_the_data_that_trained_the_network(
    finished: Finished, tmp_path: Path
) -> None:
    """With the labels 1 to 10, for instance, class 7 has the digit 8."""
    shutil.copytree(finished("cgan"), tmp_path, dirs_exist_ok=True)
    plain = sample(tmp_path, "8", "--seed", "1")
    change(tmp_path / "cgan.json", "header", classes=[str(i) for i in range(1, 11)])
    assert np.array_equal(sample(tmp_path, "9", "--seed", "1"), plain)
    with pytest.raises(SystemExit, match=r"cgan\.pt was trained on .*: it draws no 0"):
        sample(tmp_path, "90")


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["2²"], "2"),
        (["7", "--network", "gan"], "2"),
        (["7", "--pictures", "."], r"sample: \. is not empty"),
        (["7"], "sample: .*cgan.pt"),
        (["7", "--count", "100000000000"], "2"),
    ],
)
def test_what_cannot_be_drawn(flags: list[str], told: str, out: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr("common.weights.PUBLISHED", out)  # nothing is published
    (out / "cgan.pt").unlink()
    with pytest.raises(SystemExit, match=rf"^{told}.*$"):
        sample(out, *flags)
    assert not (out / "sample.png").exists()


def test_scores_of_a_folder(trained_conv: Path, tmp_path: Path, capsys: Capsys) -> None:
    data, folder = mnist(), tmp_path / "new"
    write_pictures(folder, data["X"][:300], [])
    flags = ["--score", str(folder), "--out", str(trained_conv.parent), "--device", "cpu"]
    main(flags)
    line = capsys.readouterr().out
    assert re.search(r"new: 300 pictures  Frechet distance: [\d.]+ .* rarest digit: [\d.]+%", line)
    write_pictures(folder, data["X"][:300], data["Y"][:300].tolist())
    main(flags)
    found = re.search(r"digit as asked: ([\d.]+)%", capsys.readouterr().out)
    assert found and float(found[1]) > 90
    labels = folder / "labels.csv"
    labels.write_text(labels.read_text().replace(",", ";"))
    with pytest.raises(SystemExit, match="only 0 of 300 pictures say what was asked"):
        main(flags)
    for path in list(folder.glob("*1.png")):
        path.rename(path.with_suffix(".PNG"))
    labels.unlink()
    main(flags)
    assert "new: 300 pictures" in capsys.readouterr().out
    for side, mode in ((29, "L"), (28, "I;16")):
        Image.new(mode, (28, side)).save(folder / "other.png")
        with pytest.raises(SystemExit, match=r"^sample: \S+other\.png: .*$"):
            main(flags)


def test_published_networks_where_there_are_none(
    trained_conv: Path, out: Path, monkeypatch: Patch, capsys: Capsys
) -> None:
    copy(trained_conv, out / "conv", "seed-0")
    (out / "cgan").mkdir()
    (out / "cgan.pt").rename(out / "cgan/seed-0.pt")
    for module in ("common.weights", "common.classifiers"):
        monkeypatch.setattr(f"{module}.PUBLISHED", out)
    assert sample(out / "new", "2026").shape == (1, 4, 28, 28)
    assert "cgan/seed-0.pt is used\n" in capsys.readouterr().err
    [conv] = load_classifiers(out / "new", torch.device("cpu"))
    assert conv.name == "conv"
    assert capsys.readouterr().err.endswith("published ones read (conv)\n")
