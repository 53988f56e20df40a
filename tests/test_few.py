"""few.py: what it learns from the labels that it draws, and from images without labels."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from common.data import load
from common.errors import InputError
from common.folders import IDX_PARTS
from common.mnist import mnist, write_idx
from mnist.few import draw_labels, mutual_information
from tests.conftest import SHORT, Finished, Train, figures, run_copy, write_npz


def test_the_draw_has_so_many_of_each_class() -> None:
    y = torch.tensor([2, 0, 0, -1, 2, 0, 0, -1, 2, 0])
    torch.manual_seed(0)
    draws = [draw_labels(y, 2).tolist() for _ in range(9)]
    assert all(y[one].tolist() == [0, 0, 2, 2] and len(set(one)) == 4 for one in draws)
    assert len(set(map(tuple, draws))) > 3
    assert len(draw_labels(y, 4)) == 7
    assert sorted(draw_labels(y, 9).tolist()) == [0, 1, 2, 4, 5, 6, 8, 9]


def test_mutual_information_of_the_classes_of_two_views() -> None:
    same, classes = torch.eye(10)[torch.arange(50) % 10], math.log(10)
    assert mutual_information(same, same).item() == pytest.approx(classes, abs=1e-4)
    assert mutual_information(same, torch.full((50, 10), 0.1)).item() == pytest.approx(0, abs=1e-4)
    rare = torch.eye(10)[(torch.arange(50) % 10).clamp(max=1)]  # a class of a tenth, and the rest
    entropy = -0.1 * math.log(0.1) - 0.9 * math.log(0.9)
    assert mutual_information(rare, rare).item() == pytest.approx(entropy, abs=1e-4)


def test_labels_outside_the_draw_are_never_used(
    finished: Finished, few_digits: Path, tmp_path: Path
) -> None:
    """All others are changed: the weights are the same."""
    line = "        x_known, y_known = x_train[known], y_train[known]\n"
    change = "        y_train, y_train[known] = (y_train + 1) % 10, y_known\n"
    flags = ["--data", few_digits, "--labels", "2"]
    ours, theirs = (
        run_copy("few", tmp_path / name, {line: line + text}, *SHORT["few"], *flags)
        for name, text in (("as they are", ""), ("changed", change))
    )
    assert figures(ours, "few")["header"]["labels"] == 20
    assert (ours / "few.pt").read_bytes() == (theirs / "few.pt").read_bytes()
    assert (ours / "few.pt").read_bytes() != (finished("few") / "few.pt").read_bytes()  # 10 each


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """40 pictures to train on, 20 to test, 30 without labels, half of those one folder deeper."""
    folder, (x, y) = tmp_path / "mine", (mnist()[key][:90] for key in "xy")
    for number, image in enumerate(x):
        part = ("train", "test")[number // 40] if number < 60 else "unlabelled"
        place = folder / part / (str(y[number]) if number < 60 else "more" * (number % 2))
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number}.png")
    return folder


def test_a_folder_unlabelled(mine: Path, train: Train, tmp_path: Path) -> None:
    """few learns from its pictures with all labels of the others; conv does not use them."""
    texts = {}
    for name, flags in (("few", ()), ("few", ("--labels", "1")), ("conv", ())):
        train(name, "--data", mine, "--epochs", "1", "--batch-size", "10", *flags)
        texts[name, *flags] = (tmp_path / f"{name}.log").read_text()
    assert "\ndata: 30 pictures without labels are used\n" in texts["few",]
    assert "\ndata: labels of 40 training images are used\nimages: 70 " in texts["few",]
    assert "\ndata: labels of 10 training images are used\n" in texts["few", "--labels", "1"]
    assert "\ndata: 30 pictures without labels are not used\nimages: 40 " in texts["conv",]
    told = train("few", "--data", mine, "--epochs", "1", "--batch-size", "10", "--resume")
    assert "belongs to a run with labels 10, not 40" in str(told)


@pytest.mark.parametrize("layout", ["beside train", "in train", "classes", "npz", "raw"])
def test_pictures_without_labels(layout: str, mine: Path) -> None:
    """They are beside the parts, the classes or the file, or in train, and of no class."""
    alone = load(mine)
    if layout == "in train":
        (mine / "unlabelled").rename(mine / "train/unlabelled")
    if layout == "classes":
        for number in range(10):
            (mine / f"train/{number}").rename(mine / f"{number}")
        (mine / "train").rmdir()
        (mine / "test").rename(mine.parent / "other")
    data = mine
    if layout == "npz":
        data = mine / "d.npz"
        write_npz(data, *(part.numpy() for part in alone[:4]))
    if layout == "raw":  # beside IDX files, in a folder below
        data = mine.parent / "idx"
        for part, array in zip(IDX_PARTS, alone[:4], strict=True):
            array = array.squeeze().to(torch.uint8)  # n x 28 x 28, or n
            write_idx(data / f"raw/{part}-idx{array.ndim}-ubyte", array.numpy())
        (mine / "unlabelled").rename(data / "raw/unlabelled")
    few = load(data, unlabelled=True)
    paths = sorted(mine.parent.glob("**/unlabelled/**/*.png"))
    assert few.classes == alone.classes and few.y_train[-30:].eq(-1).all()
    assert few.x_train[-30:, 0].tolist() == [np.asarray(Image.open(x)).tolist() for x in paths]
    usual, few_10 = load(data), load(data, limit=10, unlabelled=True)
    assert few.x_train[:-30].equal(usual.x_train) and few.y_train[:-30].equal(usual.y_train)
    assert few_10.y_train.eq(-1).tolist() == [False] * 10 + [True] * 10
    assert few.about["hash"] == usual.about["hash"]  # the classifiers of both are of the same data
    paths[0].unlink()
    assert load(data).about["hash"] != usual.about["hash"]


def test_pictures_without_labels_that_do_not_fit(
    mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x_train, y_train, x_test, y_test = (part.numpy() for part in load(mine)[:4])
    write_npz(mine / "inverted.npz", 255 - x_train, y_train, 255 - x_test, y_test)
    load(mine / "inverted.npz", unlabelled=True)
    assert "only the unlabelled images are light on dark" in capsys.readouterr().err
    write_npz(mine / "floats.npz", x_train / 255, y_train, x_test / 255, y_test)
    with pytest.raises(InputError, match=r"floats\.npz: its images are floats"):
        load(mine / "floats.npz", unlabelled=True)
