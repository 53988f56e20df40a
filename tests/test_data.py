"""Anybody's data: each form that people have it in, read by a script; what does not fit."""

import io
import re
import shutil
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
from tests.conftest import Array, Capsys, write_npz

Arrays = Sequence[Array]
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
        names = {"part": part, "kind": kind, "n": n, "xy": "Xy"[number % 2]}
        names["test"] = "test" if part == "t10k" else part
        write_idx(folder / pattern.format(**names), array)


def train(path: Path, out: Path, *flags: str) -> str:
    """Train logit for an epoch, in `out`, and return its log."""
    logit.main(["--epochs", "1", "--device", "cpu", "--data", str(path), "--out", str(out), *flags])
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
        "{xy}_kannada_MNIST_{test}-idx{n}-ubyte",
        "qmnist{test}-{kind}-idx{n}-int",
        "{test}_{kind}.idx{n}",
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
    table = np.c_[y, x.swapaxes(1, 2).reshape(len(x), -1)]
    np.savetxt(tmp_path / "emnist-letters-train.csv", table, "%d", ",")
    read = load(tmp_path / "emnist-letters-train.csv", classes=26).x_train[:, 0].tolist()
    assert all(image in x.tolist() for image in read)


def write_pictures(folder: Path, data: Arrays, names: Sequence[str]) -> None:
    for part, x, y in (("train", data[0], data[1]), ("test", data[2], data[3])):
        for number, label in enumerate(y):
            (folder / part / names[label]).mkdir(parents=True, exist_ok=True)
            Image.fromarray(x[number]).save(folder / part / names[label] / f"{number:02}.png")


def test_npz_and_pictures_of_the_wanted_size(tmp_path: Path) -> None:
    x, y, x_test, _ = small()
    write_npz(tmp_path / "d.npz", *small())
    check(tmp_path / "d.npz", small(), tmp_path / "out")
    write_pictures(tmp_path / "d", small(), "0123456789")
    (tmp_path / "d/train/3/.DS_Store").write_text("no picture")
    found = load(tmp_path / "d")
    assert len(set(found.y_train[:10].tolist())) > 5  # --limit takes them from all classes
    order = [x.tolist().index(image) for image in found.x_train.squeeze(1).tolist()]
    digits = found.y_test.numpy()
    check(tmp_path / "d", (x[order], y[order], x_test[digits], digits), tmp_path / "out")


def test_names_of_classes_and_colour(tmp_path: Path) -> None:
    x, y, x_test, y_test = small(3, (20, 30, 3))
    names = np.array(["ant", "bee", "cat"])
    write_pictures(tmp_path / "d", (x, y, x_test, y_test), names.tolist())
    packed = write_npz(tmp_path / "d.npz", x, names[y][:, None], x_test, names[y_test])
    packed.rename(tmp_path / "d.NPZ")
    for path in (tmp_path / "d", tmp_path / "d.NPZ"):
        found = load(path, classes=4)
        assert found.classes == ("ant", "bee", "cat", "unused")
        assert found.x_test.tolist() == np.moveaxis(x_test, 3, 1)[found.y_test].tolist()
        assert sorted(found.y_train.tolist()) == [0, 0, 1, 1, 2, 2]


THREE = np.array([3])


def dark(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return a digit as a pen writes it on paper."""
    return np.asarray(Image.fromarray(240 - image // 2).resize((side, side)))


def test_pictures_of_any_size_and_form_follow_one_rule(tmp_path: Path) -> None:
    digit = mnist()["x"][7]
    for name, side in (("28", 28), ("56", 56), ("large", 560)):
        write_pictures(tmp_path / name, (dark(digit, side)[None], THREE) * 2, "0123456789")
        x = load(tmp_path / name, (1, 28, 28), 10).x_train[0, 0].int()
        assert np.abs(x.numpy() - dark(digit, 28)).mean() < 2  # light and dark as they are
        x = load(tmp_path / name, (1, 28, 28), 10, ink=True).x_train
        assert np.corrcoef(x.flatten(), digit.ravel())[0, 1] > 0.9
    wide = np.full((1, 20, 40, 3), (200, 100, 0), np.uint8)
    wide[:, 5:15, 10:30] = 0, 0, 255
    write_pictures(tmp_path / "wide", (wide, THREE) * 2, "0123456789")
    x = load(tmp_path / "wide", (3, 28, 28), 10).x_train[0]
    assert x[:, :9, 14].T.tolist() == [[200, 100, 0]] * 9  # above the picture, and at its border
    assert x[:, 14, 14].tolist() == [0, 0, 255] and 6 * 14 <= (x[2] > 128).sum() <= 8 * 14
    seen = Image.new("RGBA", (28, 28), (0, 0, 0, 0))
    seen.paste((0, 0, 0, 255), (8, 4, 12, 24))
    seen.save(tmp_path / "wide/train/3/00.png")  # black where it is not transparent
    x = load(tmp_path / "wide", (1, 28, 28), 10).x_train[0, 0]
    assert x[10, 10] == 0 and x[0, 0] == 255


def test_the_weights_of_light_digits_and_dark_ones(tmp_path: Path, capsys: Capsys) -> None:
    data = mnist()["x"][:20], mnist()["y"][:20]
    write_pictures(tmp_path / "light", data * 2, "0123456789")
    paper = np.stack([dark(image, 28) for image in data[0]])
    write_pictures(tmp_path / "dark", (paper, data[1]) * 2, "0123456789")
    Image.new("L", (28, 28), 255).save(tmp_path / "dark/train/1/blank.png")
    train(tmp_path / "light", tmp_path / "a")
    assert "warning" not in capsys.readouterr().err
    weights = "--weights", str(tmp_path / "a/logit.pt")
    train(tmp_path / "dark", tmp_path / "b", *weights)
    [line] = capsys.readouterr().err.splitlines()
    assert "dark on light" in line and "--ink" in line
    x, y = data[0] / 255, data[1]
    train(write_npz(tmp_path / "d.npz", x, y, x, y), tmp_path / "d", *weights)
    [line] = capsys.readouterr().err.splitlines()
    assert "gets 0 to 1 of these images, in training -1 to 1" in line
    log = train(tmp_path / "dark", tmp_path / "c", *weights, "--ink")
    [line] = capsys.readouterr().err.splitlines()
    assert "left out" in line and "blank.png" in line
    assert "images: 20 to train on" in log and "1 of 21 pictures are left out" in log


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("training", "testing"), (20, 10)),
        (("Train", "val"), (20, 10)),
        (("train", ""), (10, 10)),  # a sixth of each class, at least one picture
        (("", ""), (10, 10)),
    ],
)
def test_parts_of_pictures(
    tmp_path: Path, names: tuple[str, str], expected: tuple[int, int]
) -> None:
    write_pictures(tmp_path / "d", small(), [f"class {i}" for i in range(10)])
    if not names[1]:
        shutil.rmtree(tmp_path / "d/test")
    for old, new in zip(("train", "test"), names, strict=True):
        if new:
            (tmp_path / "d" / old).rename(tmp_path / "d" / new)
    place = tmp_path / "d" if any(names) else tmp_path / "d/train"
    (place / "Thumbs.db").write_bytes(b"no picture")
    found = load(place)
    assert (len(found.x_train), len(found.x_test)) == expected
    assert sorted(found.y_test.tolist()) == list(range(10))
    assert bool(found.about["notes"]) == (not names[1])
    log = train(place, tmp_path / "out")
    assert ("a sixth of each class" in log) == (not names[1])


def test_a_test_part_beside_the_classes(tmp_path: Path) -> None:
    """As when the pictures of some writers were moved there, and the others left."""
    write_pictures(tmp_path / "d", small(), "0123456789")
    for folder in (tmp_path / "d/train").iterdir():
        folder.rename(tmp_path / "d" / folder.name)
    (tmp_path / "d/train").rmdir()
    found = load(tmp_path / "d")
    assert (len(found.x_train), len(found.x_test)) == (20, 10) and not found.about["notes"]
    (tmp_path / "d/3").rename(tmp_path / "d/4/deeper")
    assert "folders in those of the classes" in load(tmp_path / "d").about["notes"][0]
    (tmp_path / "d/test/9").rename(tmp_path / "d/loose")
    for file in (tmp_path / "d/loose").iterdir():
        file.rename(tmp_path / "d/test" / file.name)
    with pytest.raises(InputError, match="in no folder of a class"):
        load(tmp_path / "d")


def test_the_folder_of_runs_is_no_class(tmp_path: Path) -> None:
    write_pictures(tmp_path, small(), "0123456789")
    folder = tmp_path / "train"
    hashes = [re.findall("hash .*", train(folder, folder / "out")) for _ in range(2)]
    assert hashes[0] == hashes[1] and (folder / "out/logit.png").exists()


def test_what_is_no_picture_is_passed_over_and_what_is_damaged_named(
    tmp_path: Path, capsys: Capsys
) -> None:
    write_pictures(tmp_path, small(), "0123456789")
    (tmp_path / "train/3/README.txt").write_text("no picture")
    (tmp_path / "train/3/more").mkdir()
    (tmp_path / "test/4/bad.png").write_bytes(b"damaged")
    found = load(tmp_path, (1, 28, 28), 10, limit=11)
    before = capsys.readouterr().err
    for path in tmp_path.glob("train/*/*.png"):  # all that were not read
        if np.asarray(Image.open(path)).tolist() not in found.x_train[:, 0].tolist():
            path.write_bytes(b"damaged")
    again = load(tmp_path, (1, 28, 28), 10, limit=11)
    assert capsys.readouterr().err == before and torch.equal(again.x_train, found.x_train)
    assert again.about["hash"] != found.about["hash"]  # it has the sizes of all files
    assert load(tmp_path, (1, 28, 28), 10).about["notes"] == [
        "9 of 20 pictures are left out",
        "1 of 11 pictures are left out",
    ]
    assert "test/4/bad.png" in capsys.readouterr().err
    for path in tmp_path.glob("test/*/*.png"):
        path.write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"11 of 11 pictures cannot be read"):
        load(tmp_path, (1, 28, 28), 10)


@pytest.mark.parametrize(
    "titles", ["", "label,pixel0\n", "\ufefflabel,pixel0\n", ",".join(map(str, range(785))) + "\n"]
)
@pytest.mark.parametrize("test", ["labels", "no labels", "no test part"])
def test_csv(tmp_path: Path, titles: str, test: str, capsys: Capsys) -> None:
    x, y, x_test, y_test = small()
    rows = np.c_[y, x.reshape(20, -1)], np.c_[y_test, x_test.reshape(10, -1)]
    for name, table in zip(("mnist_train.csv", "mnist_test.csv"), rows, strict=True):
        table = table[:, 1:] if test == "no labels" and "test" in name else table
        if "train" in name or test != "no test part":
            text = "".join(",".join(map(str, row)) + "\n" for row in table.tolist())
            (tmp_path / name).write_text(titles + text, encoding="utf-8")
    (tmp_path / "sample_submission.csv").write_text("ImageId,Label\n1,0\n")
    for path in (tmp_path, tmp_path / "mnist_train.csv"):
        if test == "labels":
            check(path, small(), tmp_path / "out")
        else:
            assert len(load(path, (1, 28, 28), 10).x_test) == 10  # one of the two of each class
            assert ("mnist_test.csv" in capsys.readouterr().err) == (test == "no labels")


@pytest.mark.parametrize("labels", [("1", "0.5"), ("1", "nan"), ("0", "0")])
def test_a_csv_file_without_labels_in_its_first_column(
    tmp_path: Path, labels: tuple[str, ...]
) -> None:
    rows = [",".join([first, *["0"] * 783, str(i)]) for i, first in enumerate(labels)]
    for name in ("d_train.csv", "d_test.csv"):
        (tmp_path / name).write_text("\n".join(rows * 9))
    with pytest.raises(InputError, match="the first column holds no labels"):
        load(tmp_path / "d_train.csv")


def test_labels_in_runs_are_mixed() -> None:
    y = np.repeat(np.arange(10), 30)
    x = np.tile((25 * y).astype(np.uint8)[:, None, None], (1, 28, 28))
    for validate in (False, True):
        found = load([x, y, x, y], limit=30, validate=validate)
        assert len(set(found.y_train.tolist())) > 7 and len(set(found.y_test.tolist())) > 7
        assert (found.x_train[:, 0, 0, 0] == 25 * found.y_train).all()
    data = list(mnist().values())
    found = load(data)
    assert all(np.array_equal(a.reshape(b.shape), b) for a, b in zip(found[:4], data, strict=True))
    assert load([x, y, x, y]).about["hash"] != load([x, y, x, np.roll(y, 30)]).about["hash"]


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
INK = np.pad(X[:, 4:-4, 4:-4], ((0, 0), (4, 4), (4, 4)))  # on black


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
        ((X // 16, Y, X_TEST // 16, Y_TEST), ["x_train is uint8 of 0 to 15", "by 17"]),
        ((X, Y, X_TEST // 255, Y_TEST), ["x_test is uint8 of 0 to 1"]),
        ((X, Y, X_TEST / 255, Y_TEST), ["x_train uint8", "x_test float64"]),
        ((np.where(X == 7, np.nan, X / 255), Y, X_TEST / 255, Y_TEST), ["x_train[0]", "finite"]),
    ],
)
def test_what_does_not_fit(tmp_path: Path, data: Arrays, both_sides: list[str]) -> None:
    write(tmp_path / "d", PLAIN, data)
    with pytest.raises(SystemExit) as caught:
        train(tmp_path / "d", tmp_path / "out")
    message = str(caught.value.code)
    assert message.startswith(f"logit: {tmp_path / 'd'}: ") and "\n" not in message
    assert all(side in message for side in both_sides)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ((X / 1.0, Y, X_TEST / 1.0, Y_TEST), "of 0 to 255"),
        ((X / 255, Y, X_TEST / 127.5 - 1, Y_TEST), "x_test is float32 of -1 to 1"),
        ((INK, Y, 255 - INK[:10], Y_TEST), "only the training images"),
        ((X, Y, X_TEST[:9], Y_TEST[:9]), "no test image of 9"),
        ((X[:9], Y[:9], X_TEST, Y_TEST), "no training image of 9"),
    ],
)
def test_what_may_mislead(tmp_path: Path, data: Arrays, text: str, capsys: Capsys) -> None:
    write_npz(tmp_path / "d.npz", *data)
    train(tmp_path / "d.npz", tmp_path / "out")
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: ") and text in line


def test_digits_that_no_image_shows(tmp_path: Path, capsys: Capsys) -> None:
    load(write_npz(tmp_path / "d.npz", *small(3, first=4)), (1, 28, 28), 10)
    assert "no training image of 0, 1, 2, 3, 7, 8, 9" in capsys.readouterr().err


def test_two_names_of_one_number(tmp_path: Path) -> None:
    write_pictures(tmp_path, small(), ["0", "1", "2", "3", "03", "5", "6", "7", "8", "9"])
    with pytest.raises(InputError, match=r"classes 03, 3 "):
        load(tmp_path)


@pytest.mark.parametrize(
    "name", ["train-images-idx3-ubyte", "d.npz", "d.npy.npz", "d.csv", "d.zip"]
)
def test_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    file = io.BytesIO(b"\0\0\x08\x03\0\0")
    write(tmp_path, PLAIN, small())
    if "npy" in name:
        np.save(file, X)
    (tmp_path / name).write_bytes(file.getvalue())
    path = tmp_path if "idx" in name else tmp_path / name
    with pytest.raises(SystemExit, match=f"^logit: {tmp_path}.*{name}.*$"):
        train(path, tmp_path / "out")
    assert not list((tmp_path / "out").glob("[!.]*"))
