"""Numbers of digits that touch: made, read from a network's outputs, trained on."""

import json
from itertools import groupby, product
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from common.batches import scaled
from common.checkpoint import save
from common.classifiers import load_classifiers, load_reader
from common.files import file_hash
from common.mnist import mnist
from common.numbers import HEIGHT, make_numbers, read_numbers
from tests.conftest import ROOT, Capsys, Finished, Train, copy, figures, write_npz


def test_numbers_are_of_one_piece_and_as_high_as_a_digit() -> None:
    torch.manual_seed(0)
    data = mnist()
    images = scaled(torch.from_numpy(data["X"][:300, None]))
    labels = torch.from_numpy(data["Y"][:300]).long()
    made, digits, lengths = make_numbers(images, labels, 3, 64)
    assert made.shape == (300, 1, 28, 64) and made.min() >= -1 and made.max() <= 1
    assert torch.equal(digits[:, 0], labels) and digits.shape == (300, 3)
    assert lengths.unique().tolist() == [1, 2, 3]
    ink = (made[:, 0] > -0.5).numpy()
    high = ink.any(2).sum(1)
    assert abs(high - HEIGHT).max() <= 4 and not ink[:, :, :1].any()
    wide = torch.from_numpy(ink.any(1).sum(1)).double()
    means = [wide[lengths == n].mean().item() for n in (1, 2, 3)]
    assert means[0] + 6 < means[1] and means[1] + 6 < means[2]
    pieces = [ndimage.label(one, [[1] * 3] * 3)[1] for one in ink[(lengths > 1).numpy()]]
    assert pieces.count(1) > 0.75 * len(pieces)  # some have a gap


def test_a_number_has_the_probability_of_all_ways_to_it() -> None:
    torch.manual_seed(0)
    logits = 2 * torch.randn(5, 4, 3)  # two classes, and none
    for number, shares in zip(read_numbers(logits), logits.double().softmax(2), strict=True):
        total = 0.0
        for way in product(range(3), repeat=4):
            runs = [one for one, _ in groupby(way) if one < 2]
            if runs == number.digits:
                total += torch.stack([shares[i, one] for i, one in enumerate(way)]).prod().item()
        assert number.probability == pytest.approx(total)


def test_a_digit_is_where_its_run_is() -> None:
    best = torch.tensor([10, 7, 7, 7, 10, 7, 10, 10, 1, 1])
    [number] = read_numbers(9 * torch.nn.functional.one_hot(best, 11).float().unsqueeze(0))
    assert (number.digits, number.columns) == ([7, 7, 1], [2, 5, 9])
    [nothing] = read_numbers(9 * torch.nn.functional.one_hot(best[:1], 11).float().unsqueeze(0))
    assert nothing.digits == [] and nothing.probability > 0.9


def test_a_run_leaves_log_figures_picture_and_weights(finished: Finished) -> None:
    out = finished("number")
    run, log = figures(out, "number"), (out / "number.log").read_text()
    form = "{epoch:3}.  lr: {lr:.4f}  training loss: {loss:8.6f}  "
    form += "test numbers read right: {read:5.2f}%"
    for epoch in run["epochs"]:
        assert f"\n{form.format(**epoch)}\n" in log
    assert f"\n{run['final']['read']:.2f}% of the test numbers read right, " in log
    assert (out / "number.png").exists() and "temperature" not in run["final"]


@pytest.mark.parametrize("form", ["dark on light", "floats"])
def test_digits_are_joined_if_they_are_light_on_dark(
    form: str, train: Train, tmp_path: Path
) -> None:
    x, y = (mnist()[name][:30] for name in "XY")
    x = 255 - x if form == "dark on light" else (x / 255).astype(np.float32)
    data = write_npz(tmp_path / "d.npz", x, y, x, y)
    assert "light digits on dark" in str(train("number", "--data", data, "--epochs", "1"))


def test_of_two_networks_the_one_that_reads_more_reads_pages(
    tmp_path: Path, capsys: Capsys
) -> None:
    copy(ROOT / "mnist/results/number/seed-0.pt", tmp_path, "number")
    own, run = tmp_path / "number.pt", figures(tmp_path, "number")
    save(own, {name: torch.zeros_like(x) for name, x in torch.load(own).items()})
    [like] = [x for x in load_classifiers(tmp_path, torch.device("cpu")) if x.name == "conv"]
    for read, is_own in ((5.0, False), (99.0, True)):
        run["final"] |= {"read": read, "weights": file_hash(own)}
        (tmp_path / "number.json").write_text(json.dumps(run))
        reader = load_reader(tmp_path, like)
        assert reader and is_own == all(not x.any() for x in reader.model.state_dict().values())
    assert load_reader(tmp_path, like._replace(data={"hash": "of other images"})) is None

    capsys.readouterr()
    own.write_bytes(b"damaged")
    assert load_reader(tmp_path, like)
    assert capsys.readouterr().err.startswith("number is left out: ")
