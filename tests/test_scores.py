"""The scores of generated digits, and the pictures of a GAN's course."""

import importlib
import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from common.course import course_picture, gif
from common.mnist import mnist
from common.run import Run, argument_parser
from common.scores import (
    Judge,
    frechet_distance,
    gaussian,
    inception_score,
    smallest_share,
    trained_judge,
)
from common.weights import load_weights
from mnist.conv import ConvNet

linalg = importlib.import_module("scipy.linalg")  # which has no type hints

Data = tuple[Tensor, Tensor, Tensor, Tensor]


@pytest.fixture(scope="module")
def data() -> Data:
    """x_train, y_train, x_test, y_test; 2000 of each, for speed."""
    arrays = {key: torch.from_numpy(array[:2000]) for key, array in mnist().items()}
    return (
        arrays["x"].unsqueeze(1),
        arrays["y"].long(),
        arrays["X"].unsqueeze(1),
        arrays["Y"].long(),
    )


@pytest.fixture(scope="module")
def judge(trained_conv: Path, data: Data) -> Judge:
    x_train, _, x_test, y_test = data
    return Judge(load_weights(ConvNet, trained_conv), x_train, x_test, y_test)


def correlated(n: int, d: int, seed: int) -> Tensor:
    """Return n vectors of d features, correlated, of different spreads and means."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator, dtype=torch.double)
    mixing = torch.randn(d, d, generator=generator, dtype=torch.double)
    return x @ mixing + 3 * torch.randn(d, generator=generator, dtype=torch.double)


def with_sqrtm(a: Tensor, b: Tensor) -> float:
    """Return the Fréchet distance as its formula stands."""
    means = [x.double().numpy().mean(0) for x in (a, b)]
    covariances = [np.cov(x.double().numpy(), rowvar=False) for x in (a, b)]
    root = linalg.sqrtm(covariances[0] @ covariances[1])
    difference = means[0] - means[1]
    return float(difference @ difference + np.trace(sum(covariances) - 2 * root).real)


@pytest.mark.parametrize("d", [1, 2, 30, 200])
def test_distance_agrees_with_sqrtm(d: int) -> None:
    a, b = correlated(1000, d, 1), correlated(700, d, 2)
    if d == 1:
        a, b = a.reshape(-1, 1), b.reshape(-1, 1)
        expected = (a.mean() - b.mean()) ** 2 + (a.std() - b.std()) ** 2
        assert frechet_distance(gaussian(a), gaussian(b)) == pytest.approx(expected.item())
        return
    ours = frechet_distance(gaussian(a), gaussian(b))
    assert ours == pytest.approx(with_sqrtm(a, b), rel=1e-6)
    assert ours == pytest.approx(frechet_distance(gaussian(b), gaussian(a)), rel=1e-9)


def test_distance_of_real_digits_agrees_with_sqrtm(judge: Judge, data: Data) -> None:
    """In the judge's features, of those units that fire often enough for sqrtm."""
    train, test = (judge.look(images)[0] for images in (data[0], data[2]))
    alive = (train > 0).double().mean(0).minimum((test > 0).double().mean(0)) > 0.2
    assert alive.sum() > 50
    ours = frechet_distance(gaussian(train[:, alive]), gaussian(test[:, alive]))
    assert ours == pytest.approx(with_sqrtm(train[:, alive], test[:, alive]), rel=1e-6)


def test_distance_of_equal_sets_is_zero() -> None:
    a = correlated(500, 40, 3)
    assert abs(frechet_distance(gaussian(a), gaussian(a.flip(0)))) < 1e-9 * a.var(0).sum()
    a[:, 7:] = 0  # features that never fire: a singular covariance
    assert abs(frechet_distance(gaussian(a), gaussian(a))) < 1e-9 * a.var(0).sum()
    few = a[:5]  # fewer vectors than features
    assert abs(frechet_distance(gaussian(few), gaussian(few))) < 1e-9 * a.var(0).sum()


def test_distance_of_a_shift_is_its_square() -> None:
    a, shift = correlated(500, 40, 4), torch.linspace(-1, 1, 40, dtype=torch.double)
    distance = frechet_distance(gaussian(a), gaussian(a + shift))
    assert distance == pytest.approx(shift.square().sum().item(), rel=1e-9)


def test_inception_score_of_perfect_digits_is_ten() -> None:
    labels = torch.arange(10).repeat(10)
    certain = torch.nn.functional.one_hot(labels, 10).double()
    assert inception_score(certain) == pytest.approx(10)
    assert 9.9 < inception_score(0.999 * certain + 0.0001) < 10
    # The worst: always the same digit, or never anything clear.
    assert inception_score(certain[:1].expand(100, 10)) == pytest.approx(1)
    assert inception_score(torch.full((100, 10), 0.1)) == pytest.approx(1)
    # Half of the digits are missing.
    assert inception_score(certain[labels < 5]) == pytest.approx(5)


def test_inception_score_is_its_formula() -> None:
    p = (3 * correlated(200, 10, 5)).softmax(1)
    divergences = [
        sum(q * math.log(q / m) for q, m in zip(row, p.mean(0), strict=True)) for row in p
    ]
    assert inception_score(p) == pytest.approx(math.exp(sum(divergences) / 200))


def test_smallest_share() -> None:
    digits = torch.arange(10).repeat(100)
    assert smallest_share(digits) == 0.1
    digits[:10] = 3
    assert smallest_share(digits) == 0.099
    assert smallest_share(digits[digits != 8]) == 0


def test_scores_of_test_images_are_the_reference(judge: Judge, data: Data) -> None:
    _, _, x_test, y_test = data
    scores = judge.scores(x_test, y_test)
    assert scores.pop("Frechet distance") == pytest.approx(0, abs=1e-6)
    reference = dict(judge.reference)
    assert reference.pop("Frechet distance") == 1
    assert scores == pytest.approx(reference)
    assert 90 < scores["digit as asked"] <= 100
    # Without a temperature the modest probabilities of ConvNet give 4.4 or so.
    assert 8 < scores["Inception Score"] < 10
    assert 0.2 < judge.temperature < 0.6


def test_scores_of_training_images_and_of_noise(judge: Judge, data: Data) -> None:
    x_train, y_train, _, _ = data
    training = judge.scores(x_train, y_train)
    assert training["Frechet distance"] == pytest.approx(1, rel=1e-9)
    noise = torch.randint(256, x_train.shape, generator=torch.Generator().manual_seed(6)).byte()
    scores = judge.scores(noise)
    assert scores["Frechet distance"] > 20
    assert scores["rarest digit"] < 0.5 * training["rarest digit"]
    assert scores["Inception Score"] < 0.5 * training["Inception Score"]
    assert "digit as asked" not in scores
    # Eights wanted, all kinds given; and eights alone.
    assert judge.scores(x_train, torch.full((2000,), 8))["digit as asked"] < 15
    eights = judge.scores(x_train[y_train == 8])
    assert eights["rarest digit"] == 0 and eights["Frechet distance"] > 5


def test_scores_of_a_single_training_image_are_finite(trained_conv: Path, data: Data) -> None:
    x_train, _, x_test, y_test = data
    judge = Judge(load_weights(ConvNet, trained_conv), x_train[:1], x_test[:100], y_test[:100])
    assert 0 < judge.unit < math.inf


def test_a_judge_that_tells_nothing_apart_is_none(
    data: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x_train, _, x_test, y_test = data
    dead = ConvNet()
    for parameter in dead.parameters():
        torch.nn.init.zeros_(parameter)
    torch.save(dead.state_dict(), tmp_path / "conv.pt")
    args = argument_parser(None, 1, 1, 1.0).parse_args(["--out", str(tmp_path), "--device", "cpu"])
    run = Run("gan", args)
    assert trained_judge(run, ConvNet, x_train[:200], x_test[:100], y_test[:100]) is None
    told = capsys.readouterr().err
    assert told.startswith(
        "gan: no scores of the digits: the classifier sees no difference between"
    )
    assert told.count("\n") == 1 and run.header == []


def test_line(judge: Judge) -> None:
    scores = {
        "digit as asked": 99.234,
        "Frechet distance": 1.206,
        "rarest digit": 9.61,
        "Inception Score": 9.7234,
    }
    of_test_images = f"{judge.reference['Inception Score']:.2f}"
    rest = (
        "Frechet distance: 1.21 (training images: 1)  rarest digit: 9.61%"
        f"  Inception Score: 9.72 (test images: {of_test_images})"
    )
    assert judge.line(scores) == " " * 10 + "digit as asked: 99.23%  " + rest
    del scores["digit as asked"]
    assert judge.line(scores) == " " * 10 + rest


def test_gif_shows_each_picture_a_second_and_leaves_out_lost_ones(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(4)]
    for number, path in enumerate(paths):
        Image.new("L", (32, 62), 60 * number).save(path)
    paths[1].unlink()
    with Image.open(io.BytesIO(gif(paths))) as image:
        assert (
            getattr(image, "n_frames", 1) == 3
            and image.info["loop"] == 0
            and image.size == (32, 62)
        )
        for frame, number in enumerate((0, 2, 3)):
            image.seek(frame)
            assert image.info["duration"] == 1000
            assert np.asarray(image.convert("L")).max() == 60 * number
    with pytest.raises(FileNotFoundError, match="no picture of an epoch is left"):
        gif(paths[1:2])


def test_course_has_a_panel_for_the_losses_and_each_score() -> None:
    losses = {"discriminator loss": 0.7, "generator loss": 2.0}
    history: list[dict[str, float]] = [{"epoch": epoch, **losses} for epoch in (1, 2, 3)]
    heights = [size(course_picture(history, {}))[1]]
    reference = {"Frechet distance": 1.0, "Inception Score": 9.8}
    history[1] |= {"Frechet distance": 3.0}  # as if the judge had been there only for a while
    heights.append(size(course_picture(history, reference))[1])
    history[2] |= {"Frechet distance": 2.0, "Inception Score": 9.1}
    heights.append(size(course_picture(history, reference))[1])
    assert heights[1] - heights[0] == heights[2] - heights[1] > 100


def size(png: bytes) -> tuple[int, int]:
    """Return a PNG's width and height."""
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return image.size
