"""The scores of generated digits, and what a GAN leaves behind."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import linalg
from torch import Tensor

from common import scores
from common.flags import parse_flags
from common.mnist import mnist
from common.run import Run
from mnist import cgan
from mnist.conv import ConvNet

CERTAIN = torch.eye(10).double().repeat(10, 1)  # probabilities of 100 images


@pytest.fixture(scope="module")
def arrays() -> list[Tensor]:
    """x_train, y_train, x_test, y_test; 2000 of each, for speed."""
    data = mnist()
    return [torch.from_numpy(data[key][:2000]) for key in ("x", "y", "X", "Y")]


@pytest.fixture
def out(trained_conv: Path, tmp_path: Path) -> Path:
    shutil.copy(trained_conv, tmp_path)
    return tmp_path


def started(out: Path, *flags: str) -> Run:
    argv = ["--out", str(out), "--device", "cpu", *flags]
    return Run("mnist/gan.py", parse_flags(argv, None, epochs=3, batch_size=60, lr=0.1))


def judge_in(out: Path, arrays: list[Tensor]) -> scores.Judge | None:
    run = started(out)
    x_train, _, x_test, y_test = run.load((1, 28, 28), 10, arrays)
    random_state = torch.get_rng_state()
    judge = scores.trained_judge(run, ConvNet, x_train, x_test, y_test)
    assert torch.equal(torch.get_rng_state(), random_state)  # or the run would be another
    return judge


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
    assert distance(b, a) == pytest.approx(expected, rel=1e-6)


def test_distance_of_singular_covariances() -> None:
    mean = torch.zeros(4).double()
    a, b = torch.tensor([[3.0, 2.0, 0.0, 0.0], [1.0, 0.0, 5.0, 0.0]]).double()  # deviations
    found = scores.frechet_distance((mean, a.square().diag()), (mean + 1, b.square().diag()))
    assert found == pytest.approx(4 + (a - b).square().sum().item())
    few = vectors(5, 40, 3)  # fewer vectors than features
    assert distance(few, few + 1) == pytest.approx(40, rel=1e-5)


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [
        (CERTAIN, 10),
        (CERTAIN[CERTAIN[:, :5].sum(1) == 1], 5),  # half of the digits are missing
        (CERTAIN[:1].expand(100, 10), 1),  # always the same
        (torch.full((100, 10), 0.1).double(), 1),  # nothing is clear
    ],
)
def test_inception_score(probabilities: Tensor, expected: float) -> None:
    assert scores.inception_score(probabilities) == pytest.approx(expected)


def test_scores_of_real_digits(out: Path, arrays: list[Tensor]) -> None:
    x_train, y_train, x_test, y_test = arrays
    x_train, x_test = x_train.unsqueeze(1), x_test.unsqueeze(1)
    judge = judge_in(out, arrays)
    assert judge
    test = judge.rate(x_test, y_test)
    assert test["distance"] == pytest.approx(0, abs=1e-6)
    assert {**test, "distance": 1} == judge.reference
    assert 90 < test["asked"] <= 100
    assert 7 < test["inception"] < 10  # without a temperature: about 5
    training = judge.rate(x_train, torch.full((2000,), 8))
    assert training["distance"] == pytest.approx(1)
    assert training["asked"] < 15  # all digits in place of eights
    eights = judge.rate(x_train[y_train == 8])
    assert eights["rarest"] == 0 and eights["distance"] > 5 and eights["inception"] < 2
    assert "asked" not in eights and judge.rate(x_train[1:2])["rarest"] == 0  # of one zero


@pytest.mark.parametrize("weights", ["missing", "damaged", "blind"])
def test_no_judge_without_useful_weights(
    weights: str, out: Path, arrays: list[Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    path = out / "conv.pt"
    path.write_bytes(path.read_bytes()[:1000])
    if weights == "missing":
        path.unlink()
    elif weights == "blind":
        torch.save({name: 0 * w for name, w in ConvNet().state_dict().items()}, path)
    assert judge_in(out, arrays) is None
    told = capsys.readouterr().err
    assert told.startswith("gan: no scores of the digits: ") and told.count("\n") == 1


@pytest.mark.parametrize("judged", [True, False])
def test_what_a_gan_leaves_behind(judged: bool, out: Path, arrays: list[Tensor]) -> None:
    inputs = torch.randn(200, 100, 1, 1), torch.arange(10).repeat(20)
    if not judged:
        (out / "conv.pt").unlink()
    for evaluate in (False, True):
        with started(out, *["--evaluate"] * evaluate) as run:
            x_train, _, x_test, y_test = run.load((1, 28, 28), 10, arrays)
            generator = run.place(cgan.Generator())
            judge = scores.trained_judge(run, ConvNet, x_train, x_test, y_test)
            for epoch in run.epochs(generator=generator):
                run.log("losses", epoch=epoch, discriminator_loss=0.7, generator_loss=2.0)
                if epoch != 2:  # its picture is lost
                    run.save_picture(f"{epoch:02}.png", np.full((32, 62), 60 * epoch, np.uint8))
                if judge:
                    judge.log_scores(generator, *inputs)
            scores.finish_gan(run, generator, judge, *inputs)

    with Image.open(out / "gan.gif") as gif:
        assert (getattr(gif, "n_frames", 1), gif.info["loop"], gif.size) == (2, 0, (62, 32))
        for frame, grey in enumerate((60, 180)):
            gif.seek(frame)
            assert gif.info["duration"] == 1000  # milliseconds
            assert np.asarray(gif.convert("L")).max() == grey
    width, height = Image.open(out / "gan-course.png").size
    assert (height > width) == judged  # a panel for each score
    trained = json.loads((out / "gan.json").read_text())
    evaluated = json.loads((out / "gan-evaluated.json").read_text())
    names = {"asked", "distance", "rarest", "inception"} if judged else set()
    assert set(trained["final"]) == {"seconds", "peak_mb"} | names
    for name in names:
        assert trained["epochs"][-1][name] == trained["final"][name] == evaluated["final"][name]
    if judged:
        log, read = (out / "gan.log").read_text(), trained["final"]["asked"]
        assert log.count(f"\n          digit as asked: {read:.2f}%  Frechet distance: ") == 3
        assert f"judge: {out / 'conv.pt'}, 9" in log
    assert Image.open(out / "gan-evaluated.png").size == (302, 302)
