"""Pictures of people's own, read by the classifiers that they have trained."""

import csv
import json
import re
from collections.abc import Callable
from difflib import SequenceMatcher
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import cross_entropy

from common.batches import predict
from common.classifiers import load_classifiers
from common.mnist import mnist
from common.reading import set_upright
from mnist.predict import main
from tests.conftest import Finished, copy, figures, run_script
from tests.pages import page, varied

Read: TypeAlias = Callable[..., list[str]]


@pytest.fixture
def out(trained_conv: Path, tmp_path: Path) -> Path:
    """A folder with a trained conv, which is unsure of nothing."""
    folder = tmp_path / "out"
    copy(trained_conv, folder)
    change(folder / "conv.json", "final", unsure=0.0)
    return folder


def change(path: Path, part: str, **figures: object) -> None:
    """Change figures in a run's `NAME.json`."""
    run = json.loads(path.read_text())
    run[part] |= figures
    path.write_text(json.dumps(run))


def save_digit(number: int, path: Path) -> Path:
    """Save a test image as an own picture: larger, dark on light."""
    Image.fromarray(255 - mnist()["X"][number]).resize((112, 112)).save(path)
    return path


@pytest.fixture
def read(out: Path, capsys: pytest.CaptureFixture[str]) -> Read:
    """A function that calls predict.py's main and returns the lines that it prints."""

    def run(*flags: str | Path) -> list[str]:
        capsys.readouterr()
        main([*map(str, flags), "--device", "cpu", "--out", str(out)])
        return capsys.readouterr().out.splitlines()

    return run


def test_a_page_becomes_text_boxes_and_a_table(out: Path, tmp_path: Path) -> None:
    made = page(100, ink=(40, 60, 170), slant=0.05, light="ramp", rules=(150, 180, 220))
    made.picture.save(tmp_path / "page.jpg", quality=80)
    flags = ["page.jpg", "--csv", "t.csv", "--device", "cpu", "--out", str(out)]
    done = run_script("predict", *flags, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    right = sum(a == b for a, b in zip("\n".join(lines[1:11]), made.text, strict=True))
    assert right >= 94 + 9  # conv has seen 10,000 images once
    assert lines[12].startswith("100 digits, ")

    rows = list(csv.DictReader((tmp_path / "t.csv").open()))
    assert list(rows[0]) == ["picture", "line", "position", "box", "digit", "probability"]
    places = [(int(row["line"]), int(row["position"])) for row in rows]
    assert places == [(line, position) for line in range(1, 11) for position in range(1, 11)]
    assert "".join(row["digit"] for row in rows) == "".join(lines[1:11])
    assert all(0 < float(row["probability"]) <= 1 for row in rows)
    drawn = np.asarray(Image.open(out / "predict.png"))
    for row in rows:
        left, top, _, _ = map(int, row["box"].split())
        colour = [255, 0, 0] if row["digit"] == "?" else [0, 128, 0]  # red where it is unsure
        assert drawn[top - 2, left - 2].tolist() == colour


def test_of_one_digit_each_classifier_says_what_is_likeliest(
    read: Read, out: Path, finished: Finished, tmp_path: Path
) -> None:
    copy(finished("linear") / "linear.pt", out)
    change(out / "linear.json", "header", data=figures(out, "conv")["header"]["data"])
    lines = read(save_digit(0, tmp_path / "seven.png"))
    assert [line.split()[0] for line in lines[1:]] == ["conv", "linear", "verdict"]
    digits, shares = zip(*re.findall(r" (\d) +([\d.]+)%", lines[1]), strict=True)
    assert digits[0] == "7" and len(set(digits)) == 3
    assert list(map(float, shares)) == sorted(map(float, shares), reverse=True)
    assert lines[3].startswith("  verdict 7, by ")
    for name in ("conv", "linear"):
        change(out / f"{name}.json", "final", unsure=1.1)
    assert read(tmp_path / "seven.png")[-1].startswith("  verdict ?")


def test_classes_that_the_data_lacks_are_not_added_up(
    read: Read, out: Path, tmp_path: Path
) -> None:
    names = ["unused"] * 10
    names[7] = "seven"
    change(out / "conv.json", "header", classes=names)
    change(out / "conv.json", "final", temperature=50.0, unsure=1.0)  # all are nearly as likely
    assert float(read(save_digit(0, tmp_path / "7.png"))[-1].split()[-1].rstrip("%")) < 50


@pytest.mark.parametrize("name", ["", "*.png"])
def test_a_folder_and_a_pattern_mean_their_pictures(
    name: str, read: Read, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "scans"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"text")
    Image.new("L", (50, 50), 255).save(folder / "b.png")
    good = [save_digit(number, folder / f"{number}.png") for number in (0, 1)]
    (folder / "labels.csv").write_text("7,2")
    with pytest.raises(SystemExit, match="1"):
        read(folder / name)
    output, errors = capsys.readouterr()
    assert re.findall(r"^/.*", output, re.M) == [str(path) for path in good]
    assert re.findall(r"predict: \S*/(\S+): ", errors) == ["a.png", "b.png"]


def test_calibrate_writes_what_is_fitted_to_the_json(read: Read, out: Path) -> None:
    run = figures(out, "conv")
    read("--calibrate")
    temperature, unsure = (figures(out, "conv")["final"][x] for x in ("temperature", "unsure"))
    change(out / "conv.json", "final", **run["final"])
    assert figures(out, "conv") == run  # nothing else was changed
    [conv] = load_classifiers(out, torch.device("cpu"))
    x, y = (torch.from_numpy(mnist()[key]) for key in "XY")
    logits = predict(conv.model, x.unsqueeze(1)) / temperature
    losses = [cross_entropy(logits / factor, y.long()).item() for factor in (1, 0.9, 1.1)]
    assert losses[0] == min(losses)
    likeliest, found = logits.softmax(1).max(1)
    assert 0.003 < (likeliest[found == y] < unsure).double().mean() < 0.01
    assert (likeliest[found != y] < unsure).double().mean() > 0.1

    # As of other images, of which it may read as many.
    data = {**run["header"]["data"], "hash": "0"}
    for part, changes in (("final", {"accuracy": 50}), ("header", {"data": data})):
        (out / "conv.json").write_text(json.dumps(run))
        change(out / "conv.json", part, **changes)
        before = figures(out, "conv")
        read("--calibrate")
        assert figures(out, "conv") == before


@pytest.mark.parametrize(
    ("kind", "least"),
    [
        ("turned", 55),
        ("askew", 55),
        ("desk", 55),
        ("cells", 24),
        ("boxes", 55),
        ("two touch", 48),
        ("three touch", 30),
    ],
)
def test_pages_as_people_photograph_them(
    kind: str, least: int, read: Read, out: Path, tmp_path: Path
) -> None:
    made, page_file, drawn = varied(kind, 0), tmp_path / "page.png", out / "predict.png"
    made.picture.save(page_file)
    lines = read(page_file)
    found = "".join(lines[1:-2])
    matches = SequenceMatcher(None, made.text.replace("\n", ""), found, False).get_matching_blocks()
    right = sum(match.size for match in matches)
    assert right >= least and sum(map(str.isdigit, found)) <= right + 4
    assert lines[-1] == f"{len(found)} digits, {found.count('?')} unsure"
    assert ("turned by" in lines[0]) or kind != "turned"
    if kind == "desk":  # the picture shows what was read: the sheet, on its own colour
        desk, around = (np.asarray(Image.open(path).convert("L"))[0] for path in (page_file, drawn))
        assert around.mean() > desk.mean() + 50


@pytest.mark.parametrize("number", [227, 233])
def test_a_page_upside_down_that_reads_nearly_as_well(number: int, tmp_path: Path) -> None:
    made, published = varied("turned", number), load_classifiers(tmp_path, torch.device("cpu"))
    assert set_upright(published, np.asarray(made.picture.convert("RGBA")))[2] == -180


def test_signs_are_no_digits(read: Read, tmp_path: Path) -> None:
    made = varied("signs", 1)
    made.picture.save(tmp_path / "page.png")
    found = read(tmp_path / "page.png")[1:-2]
    for line, text in zip(found, made.text.split("\n"), strict=True):
        digits = re.sub(r"\?", "", text)
        assert len(re.sub(r"\?", "", line)) <= len(digits)
