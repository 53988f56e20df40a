"""Anybody's data: each form that people have it in, read by a script; what does not fit."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from common.data import load
from common.errors import InputError
from common.mnist import mnist, write_idx
from mnist import logit
from tests.conftest import ROOT

Arrays = Sequence[NDArray[Any]]
PLAIN = "{part}-{kind}-idx{n}-ubyte"


def small(labels: int = 10, shape: tuple[int, ...] = (28, 28), first: int = 0) -> Arrays:
    """Return two training images and a test image of every label, and their labels."""
    y = np.arange(first, first + labels).astype(np.uint8)
    noise = np.random.default_rng(first)
    x = noise.integers(0, 256, (3 * labels, *shape), np.uint8)
    return x[:-labels], np.tile(y, 2), x[-labels:], y


def write(folder: Path, pattern: str, data: Arrays) -> None:
    """Write IDX files; in the names `part` is train or t10k, `test` is train or test."""
    for number, array in enumerate(data):
        part, kind, n = ("train", "t10k")[number // 2], ("images", "labels")[number % 2], array.ndim
        test = "test" if part == "t10k" else part
        write_idx(folder / pattern.format(part=part, test=test, kind=kind, n=n), array)


def write_npz(path: Path, data: Arrays) -> None:
    """Write a file with Keras's names."""
    x_train, y_train, x_test, y_test = data
    np.savez_compressed(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)


def train(path: Path, out: Path) -> str:
    """Train logit for an epoch, in `out`, and return its log."""
    logit.main(["--epochs", "1", "--device", "cpu", "--data", str(path), "--out", str(out)])
    return (out / "logit.log").read_text()


def check(path: Path, expected: Arrays, out: Path) -> None:
    """The data at a path is what was expected, and logit trains with it."""
    found = load(path, (1, 28, 28), 10)
    assert found.x_train.dtype == torch.uint8 and found.y_train.dtype == torch.int64
    for tensor, array in zip(found[:4], expected, strict=True):
        assert np.array_equal(tensor.reshape(array.shape), array)
    assert "images: 20 to train on, 10 test images" in train(path, out)


@pytest.mark.parametrize(
    "pattern",
    [
        PLAIN,
        f"{PLAIN}.gz",
        "{part}-{kind}.idx{n}-ubyte",
        f"{PLAIN}/{PLAIN}",
        f"FashionMNIST/raw/{PLAIN}",
        "gzip/some-set-{test}-{kind}-idx{n}-ubyte.gz",
    ],
)
def test_idx_files(tmp_path: Path, pattern: str) -> None:
    if not pattern.endswith(".gz"):
        write(tmp_path / "d", f"{pattern}.gz", small(first=1))  # raw files are preferred
    write(tmp_path / "d", pattern, small())
    check(tmp_path / "d", small(), tmp_path / "out")


def test_emnist(tmp_path: Path) -> None:
    """One of several sets is taken by its name; images come out upright, labels are numbered."""
    x, y, x_test, y_test = small(26, (28, 28), first=1)
    transposed = x.swapaxes(1, 2), y, x_test.swapaxes(1, 2), y_test
    write(tmp_path, "emnist-letters-{test}-{kind}-idx{n}-ubyte", transposed)
    write(tmp_path, "emnist-digits-{test}-{kind}-idx{n}-ubyte", small())
    found = load(tmp_path / "emnist-letters", classes=26)
    assert found.x_train[:, 0].tolist() == x.tolist()
    assert found.y_train.tolist() == (y - 1).tolist()
    assert found.classes == tuple(map(str, range(1, 27)))
    with pytest.raises(InputError, match=r"emnist-digits, .*emnist-letters"):
        load(tmp_path)


def write_pictures(folder: Path, data: Arrays, names: Sequence[str]) -> None:
    for part, x, y in (("train", data[0], data[1]), ("test", data[2], data[3])):
        for number, label in enumerate(y):
            (folder / part / names[label]).mkdir(parents=True, exist_ok=True)
            Image.fromarray(x[number]).save(folder / part / names[label] / f"{number:02}.png")


def test_npz_and_pictures_of_the_wanted_size(tmp_path: Path) -> None:
    x, y, x_test, _ = small()
    write_npz(tmp_path / "d.npz", small())
    check(tmp_path / "d.npz", small(), tmp_path / "out")
    write_pictures(tmp_path / "d", small(), "0123456789")
    (tmp_path / "d/train/3/.DS_Store").write_text("no picture")
    found = load(tmp_path / "d")
    assert len(set(found.y_train[:10].tolist())) > 5  # --limit takes them from all classes
    order = [x.tolist().index(image) for image in found.x_train.squeeze(1).tolist()]
    digits = found.y_test.numpy()
    check(tmp_path / "d", (x[order], y[order], x_test[digits], digits), tmp_path / "out")


def test_pictures_in_colour_and_names_of_classes(tmp_path: Path) -> None:
    x, y, x_test, y_test = small(3, (20, 30, 3))
    write_pictures(tmp_path, (x, y, x_test, y_test), ["ant", "bee", "cat"])
    found = load(tmp_path, classes=4)
    assert found.classes == ("ant", "bee", "cat", "unused")
    assert found.x_test.tolist() == np.moveaxis(x_test, 3, 1)[found.y_test].tolist()
    assert sorted(found.y_train.tolist()) == [0, 0, 1, 1, 2, 2]


def test_photos_of_digits(tmp_path: Path) -> None:
    """Pictures of another size, dark on light, come out as the digits of which they were made."""
    digits, labels = mnist()["x"][7:8], mnist()["y"][7:8]
    photos = np.asarray(Image.fromarray(240 - digits[0] // 2).resize((280, 280)))[None]
    write_pictures(tmp_path, (photos, labels, photos, labels), "0123456789")
    found = load(tmp_path, (1, 28, 28), 10)
    assert found.y_train.tolist() == [3]
    assert np.corrcoef(found.x_test.flatten(), digits.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("shape", [(28, 28), (3, 28, 28), (28, 28, 3)])
def test_arrays_in_a_program(kind: Any, dtype: Any, shape: tuple[int, ...]) -> None:
    x, y, x_test, y_test = small(10, shape)
    found = load([kind(array) for array in (x.astype(dtype), y, x_test.astype(dtype), y_test)])
    assert found.x_train.dtype == (torch.uint8 if dtype == np.uint8 else torch.float32)
    pixels = found.x_train.movedim(1, 3) if shape[-1] == 3 else found.x_train
    assert np.array_equal(pixels.reshape(x.shape), x)


X, Y, X_TEST, Y_TEST = small()


@pytest.mark.parametrize(
    ("data", "both_sides"),
    [
        (small(shape=(32, 32)), ["(1, 32, 32)", "(1, 28, 28)"]),
        (small(shape=(3, 28, 28)), ["(3, 28, 28)", "(1, 28, 28)"]),
        (small(47), ["47 classes", "10"]),
        ((X, Y[:-1], X_TEST, Y_TEST), ["y_train uint8 (19,)", "(20, 28, 28)"]),
        ((X, Y, X_TEST[:, :27], Y_TEST), ["(20, 28, 28)", "(10, 27, 28)"]),
        ((X.astype(np.int32), Y, X_TEST, Y_TEST), ["x_train int32"]),
        ((X, Y, X_TEST[:0], Y_TEST[:0]), ["x_test uint8 (0, 28, 28)"]),
        ((X, Y, X_TEST), ["t10k-labels missing"]),
    ],
)
def test_what_does_not_fit(tmp_path: Path, data: Arrays, both_sides: list[str]) -> None:
    write(tmp_path / "d", PLAIN, data)
    with pytest.raises(SystemExit) as caught:
        train(tmp_path / "d", tmp_path / "out")
    message = str(caught.value.code)
    assert message.startswith(f"logit: {tmp_path / 'd'}: ") and "\n" not in message
    assert all(side in message for side in both_sides)


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "d.npz", "train/3/a.png", "d.zip"])
def test_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    write_pictures(tmp_path, small(), "0123456789")
    if "idx" in name:
        write(tmp_path, PLAIN, small())
    (tmp_path / name).write_bytes(b"\0\0\x08\x03\0\0")
    path = tmp_path if "/" in name or "idx" in name else tmp_path / name
    with pytest.raises(SystemExit, match=f"^logit: {tmp_path}.*{name}.*$"):
        train(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_copy_of_conv_for_other_data(tmp_path: Path) -> None:
    script = (ROOT / "mnist/conv.py").read_text()
    for old, new in (
        ("load((1, 28, 28), classes=10)", "load((3, 32, 32), classes=47)"),
        ("nn.Conv2d(1, 20, 5)", "nn.Conv2d(3, 20, 5)"),
        ("nn.Linear(800, 500)", "nn.Linear(1250, 500)"),
        ("nn.Linear(500, 10)", "nn.Linear(500, 47)"),
    ):
        assert script.count(old) == 1
        script = script.replace(old, new)
    (tmp_path / "mine.py").write_text(script)
    write_npz(tmp_path / "d.npz", small(47, (3, 32, 32)))
    flags = ["--epochs", "1", "--data", str(tmp_path / "d.npz"), "--out", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, str(tmp_path / "mine.py"), *flags], env=environment, check=True)
    run = json.loads((tmp_path / "mine.json").read_text())
    assert (run["header"]["shape"], len(run["header"]["classes"])) == ([3, 32, 32], 47)
    assert Image.open(tmp_path / "mine.png").mode == "RGB"  # of digits that were misread
