"""The scores of generated digits, and the judge that gives them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import linalg
from torch import Tensor

from common import record, scores
from common.flags import parse_flags
from common.mnist import mnist
from common.run import Run
from mnist import cgan
from mnist.conv import ConvNet
from tests.conftest import Capsys, Finished, Patch, Train, call_main, copy, figures, write_npz


def vectors(n: int, d: int, seed: int) -> Tensor:
    """Return n vectors of d features, correlated, of different spreads and means."""
    torch.manual_seed(seed)
    return (torch.randn(n, d) @ torch.randn(d, d) + 3 * torch.randn(d)).double()


def distance(a: Tensor, b: Tensor) -> float:
    return scores.frechet_distance(scores.moments(a), scores.moments(b))


@pytest.mark.parametrize("d", [2, 100])
def test_distance_agrees_with_the_root_of_the_matrix(d: int) -> None:
    a, b = vectors(1000, d, 1), vectors(700, d, 2)
    covariances = [np.cov(x.numpy(), rowvar=False) for x in (a, b)]
    difference = (a.mean(0) - b.mean(0)).numpy()
    root = linalg.sqrtm(covariances[0] @ covariances[1])
    expected = difference @ difference + np.trace(sum(covariances) - 2 * root).real
    assert distance(a, b) == pytest.approx(expected, rel=1e-6)
    few = vectors(5, 40, 3)  # fewer vectors than features: the covariance is singular
    assert distance(few, few + 1) == pytest.approx(40, rel=1e-5)


def test_scores_of_real_digits(trained_conv: Path) -> None:
    argv = ["--out", str(trained_conv.parent), "--device", "cpu", "--limit", "2000"]  # for speed
    run = Run(parse_flags(argv, cgan.__file__, None, 1, 60, 0.1))
    x_train, y_train, x_test, y_test = run.load((1, 28, 28), 10)
    random_state = torch.get_rng_state()
    judge = scores.Judge(run, ConvNet, x_train, x_test, y_test)
    assert torch.equal(torch.get_rng_state(), random_state)
    test = judge.rate(x_test, y_test)
    assert test["distance"] == pytest.approx(0, abs=1e-6)
    assert 90 < test["asked"] <= 100
    training = judge.rate(x_train, torch.full((2000,), 8))
    assert training["distance"] == pytest.approx(1)
    assert training["asked"] < 15  # all digits in place of eights
    eights = judge.rate(x_train[y_train == 8])
    assert eights["rarest"] == 0 and eights["distance"] > 5
    assert "asked" not in eights and judge.rate(x_train[1:2])["rarest"] == 0  # of one zero
    # Of fewer training images, digits would seem to be nearer only because they are more.
    few = scores.Judge(run, ConvNet, x_train[:500], x_test, y_test)
    assert few.rate(x_train)["distance"] > 0.8
    # Without eights in the data, none is expected.
    train, tested = x_train[y_train != 8], y_test != 8
    judge = scores.Judge(run, ConvNet, train, x_test[tested], y_test[tested])
    without = judge.rate(train, torch.where(y_train == 8, 8, y_train)[y_train != 8])
    assert without["rarest"] > 5
    # What was drawn when eights were asked for does not count.
    assert judge.rate(x_train, y_train) == pytest.approx(without)


def test_a_judge_scores_each_epoch_and_changes_nothing(
    finished: Finished, few_digits: Path, tmp_path: Path
) -> None:
    copy(finished("conv") / "conv.pt", tmp_path)
    flags = ["--limit", "60", "--epochs", "1", "--precision", "float32", "--data", few_digits]
    for out in (tmp_path / "without", tmp_path):
        call_main("cgan", *flags, "--out", out)
    assert (out / "cgan.pt").read_bytes() == (tmp_path / "without/cgan.pt").read_bytes()
    call_main("cgan", *flags, "--out", out, "--evaluate")
    (epoch,) = figures(out, "cgan")["epochs"]
    for name in ("cgan", "cgan-evaluated"):
        final = figures(out, name)["final"]
        for score in ("asked", "distance", "rarest"):
            assert final[score] == epoch[score]


def test_the_published_conv_judges_digits_of_mnist(
    trained_conv: Path, tmp_path: Path, monkeypatch: Patch
) -> None:
    copy(trained_conv, tmp_path / "conv", "seed-0")
    (tmp_path / "conv.pt").write_bytes(b"damaged")
    monkeypatch.setattr(record, "PUBLISHED", tmp_path)
    call_main("cgan", "--limit", "60", "--epochs", "1", "--out", tmp_path)
    assert figures(tmp_path, "cgan")["header"]["judge"].startswith(f"{tmp_path}/conv/seed-0.pt, ")


@pytest.mark.parametrize(
    ("case", "why"),
    [
        ("missing", "No such file"),
        ("damaged", "conv.pt is damaged"),
        ("trained on other data", "conv.pt is of a run on other"),
        ("trained on this", "training and test images are the same"),
        ("for floats", "generators draw -1 to 1"),
    ],
)
def test_no_judge_without_useful_weights_and_images(
    case: str,
    why: str,
    finished: Finished,
    trained_conv: Path,
    train: Train,
    few_digits: Path,
    tmp_path: Path,
    capsys: Capsys,
) -> None:
    shutil.copy(finished("cgan") / "cgan.pt", tmp_path)
    x, y, _, _ = mnist(few_digits).values()
    x = x.astype(np.float32) if case == "for floats" else x
    flags = ["--limit", 60, "--data", write_npz(tmp_path / "same.npz", x, y, x, y)]
    if case == "damaged":
        (tmp_path / "conv.pt").write_bytes(b"damaged")
    if case == "trained on other data":
        copy(trained_conv, tmp_path)
    if case == "trained on this":
        train("conv", *flags, "--epochs", 1)
    capsys.readouterr()  # what training cgan has said
    train("cgan", *flags, "--evaluate")
    told = [line for line in capsys.readouterr().err.splitlines() if "no scores" in line]
    assert len(told) == 1 and why in told[0]
    assert figures(tmp_path, "cgan-evaluated")["final"].keys() == {"seconds", "peak_mb"}
