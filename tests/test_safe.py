"""Nobody's run is lost: earlier runs are kept, two never mix, a copy may be edited."""

import os
import re
import shutil
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from common.files import write_whole
from mnist.logit import Logit
from tests.conftest import (
    SHORT,
    Capsys,
    Finished,
    Train,
    figures,
    files_in,
    run_copy,
    start_script,
    wait_for_epoch,
    write_npz,
)

COLOUR = {  # gan.py for images of three colours
    "run.load((1,": "run.load((3,",
    "nn.ConvTranspose2d(64, 1, 4": "nn.ConvTranspose2d(64, 3, 4",
    "nn.Conv2d(1, 64, 4": "nn.Conv2d(3, 64, 4",
}


def test_an_earlier_run_is_moved_as_a_whole(
    finished: Finished, train: Train, tmp_path: Path, capsys: Capsys
) -> None:
    shutil.copytree(finished("gan"), tmp_path, dirs_exist_ok=True)
    earlier, date = files_in(tmp_path), figures(tmp_path, "gan")["header"]["date"]
    others = {"gan2.json": b"{}", "gan2.png": b"of a run gan2", "ganymede.pt": b"", "conv.pt": b""}
    for file in ("gan20.png", "gan21.png"):  # of epochs 20 and 21 of gan, not of a run gan2
        (tmp_path / file).write_bytes(b"")
        earlier[file] = b""
    for file, content in others.items():
        (tmp_path / file).write_bytes(content)
    (tmp_path / "gan-mine.png").write_bytes(b"")  # as a copied script may write it
    for count in (1, 2):
        train("gan", "--epochs", "1", "--limit", "10")
        assert capsys.readouterr().err.count("gan: the files of the earlier run are now in ") == 1
        assert len(list(tmp_path.glob("earlier/*"))) == count
    folder = tmp_path / "earlier" / f"gan-{'-'.join(re.findall('[0-9]+', date))}"
    assert files_in(folder) == {**earlier, "gan-mine.png": b""}
    now = files_in(tmp_path)
    assert others.items() <= now.items() and "gan02.png" not in now
    assert figures(tmp_path, "gan")["final"]


def test_files_without_figures_are_kept_too(train: Train, tmp_path: Path) -> None:
    """Of the same second, as an archive may have them."""
    for content in (b"one", b"another"):
        (tmp_path / "logit.pt").write_bytes(content)
        os.utime(tmp_path / "logit.pt", (0, 0))
        train("logit", "--limit", "9", "--epochs", "1")
        for file in tmp_path.glob("logit.*"):
            file.unlink()
    kept = {path.read_bytes() for path in tmp_path.glob("earlier/*/logit.pt")}
    assert kept == {b"one", b"another"}


@pytest.mark.parametrize("moved", [1, 3])
@pytest.mark.parametrize("resume", [True, False])
def test_half_a_move_is_completed_or_undone(
    moved: int, resume: bool, finished: Finished, train: Train, tmp_path: Path
) -> None:
    """As when a new run was killed while it moved the files of a finished one."""
    shutil.copytree(finished("logit"), tmp_path, dirs_exist_ok=True)
    whole, date = files_in(tmp_path), figures(tmp_path, "logit")["header"]["date"]
    folder = tmp_path / "earlier" / f"logit-{'-'.join(re.findall('[0-9]+', date))}"
    folder.mkdir(parents=True)
    for file in [file for file in sorted(whole) if file != "logit.json"][:moved]:
        (tmp_path / file).rename(folder / file)
    train("logit", *SHORT["logit"], *(["--resume"] if resume else ["--limit", "9"]))
    assert files_in(tmp_path if resume else folder) == whole


def test_weights_of_one_run_and_figures_of_another(
    finished: Finished, train: Train, few_digits: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished("logit"), tmp_path, dirs_exist_ok=True)
    torch.save(Logit().state_dict(), tmp_path / "logit.pt")
    assert "logit.json, are those of other weights" in str(train("logit", "--evaluate"))
    # A new run that is interrupted leaves no older weights beside its figures.
    flags = ["--data", few_digits, "--batch-size", "1", "--epochs", "50", "--out", tmp_path]
    with start_script("logit", *flags) as process:
        wait_for_epoch(process, 1)
        process.kill()
    assert "logit.pt" in str(train("logit", "--evaluate"))
    assert not (tmp_path / "logit.pt").exists()


def test_weights_are_not_tested_on_other_classes(train: Train, tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (30, 28, 28), np.uint8)
    y = np.array(["eight", "five", "four"])[np.arange(30) % 3]
    data = write_npz(tmp_path / "a.npz", x, y, x, y)
    fewer = write_npz(tmp_path / "b.npz", x[y != "five"], y[y != "five"], x[:1], y[:1])
    assert train("logit", "--epochs", "1", "--data", data) is None
    assert train("logit", "--evaluate", "--data", data) is None
    assert "trained on classes eight five" in str(train("logit", "--evaluate", "--data", fewer))


def test_one_process_a_name_and_folder(train: Train, few_digits: Path, tmp_path: Path) -> None:
    flags = ["--data", few_digits, "--batch-size", "1", "--epochs", "500", "--out", tmp_path]
    with start_script("logit", *flags) as first:
        while not (tmp_path / "logit.json").exists():
            time.sleep(0.01)
        before = figures(tmp_path, "logit")["header"]
        assert f"process {first.pid} " in str(train("logit"))
        assert train("linear", "--limit", "9", "--epochs", "1") is None  # another name
        assert figures(tmp_path, "logit")["header"] == before
        first.kill()
    assert first.returncode == -signal.SIGKILL
    assert train("logit", "--limit", "9") is None  # the lock has ended with its process
    assert len(list(tmp_path.glob("earlier/*/logit.json"))) == 1


def test_a_file_that_is_held_for_a_moment(tmp_path: Path) -> None:
    """A folder of its name is in the way, as another program's handle is on Windows."""
    path = tmp_path / "conv.log"
    path.mkdir()
    threading.Timer(0.3, path.rmdir).start()
    write_whole(path, b"whole")
    assert files_in(tmp_path) == {"conv.log": b"whole"}


@pytest.mark.parametrize("name", ["gan", "cgan"])
def test_a_second_run_takes_the_discriminator(
    name: str, finished: Finished, train: Train, tmp_path: Path
) -> None:
    weights = finished(name) / f"{name}.pt"
    train(name, "--weights", weights, "--limit", "9", "--epochs", "1", "--lr", "1e-30")
    ending = f"{name}.discriminator.pt"
    ours, theirs = torch.load(tmp_path / ending), torch.load(finished(name) / ending)
    for key in theirs:
        assert "running" in key or "num_batches" in key or torch.equal(ours[key], theirs[key])


def test_generated_digits_in_colour(trained_conv: Path, tmp_path: Path, capsys: Capsys) -> None:
    """With a judge that takes other images."""
    shutil.copy(trained_conv, tmp_path)
    x, y = np.random.default_rng(0).integers(0, 256, (20, 28, 28, 3), np.uint8), np.arange(20) % 10
    data = write_npz(tmp_path / "colour.npz", x, y, x[::-1], y[::-1])
    run_copy("gan", tmp_path, COLOUR, "--epochs", "1", "--data", data, "--out", tmp_path)
    assert "gan: no scores of the digits: " in capsys.readouterr().err
    assert "distance" not in figures(tmp_path, "gan")["final"]


@pytest.mark.parametrize(
    ("edit", "networks"),
    [
        (("run.place(Logit())", 'torch.compile(run.place(Logit()), backend="eager")'), ["model"]),
        (("model=model,", "model=model, teacher=Logit(),"), ["model", "teacher"]),
        # The last batch has one image.
        (("nn.Flatten(),", "nn.Flatten(), nn.BatchNorm1d(784),"), ["model"]),
        (("loss=train_loss", "loss=torch.tensor([train_loss])"), ["model"]),
    ],
)
def test_an_edited_copy(
    edit: tuple[str, str], networks: list[str], few_digits: Path, tmp_path: Path
) -> None:
    flags = ["--limit", "101", "--epochs", "2", "--data", few_digits]
    out = run_copy("logit", tmp_path, dict([edit]), *flags)
    run = figures(out, "logit")
    assert run["header"]["networks"] == dict.fromkeys(networks, "Logit")
    assert run["final"]["network"] == "Logit"
    assert run["epochs"][-1]["loss"] > 0
    assert torch.load(out / "logit.pt").keys() >= Logit().state_dict().keys()


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (('"""A single', '"""Docstrings do not count. A single'), False),
        (("nn.Linear(784, 10),", "nn.Linear(784, 10), nn.Tanh(),"), True),
    ],
)
def test_weights_of_a_script_that_has_changed(
    edit: tuple[str, str], told: bool, few_digits: Path, tmp_path: Path, capsys: Capsys
) -> None:
    flags = ["--limit", "20", "--epochs", "1", "--data", few_digits]
    run_copy("logit", tmp_path, {}, *flags)
    run_copy("logit", tmp_path, dict([edit]), *flags, "--evaluate")
    assert ("logit.py has changed since it trained" in capsys.readouterr().err) == told


def test_held_out_figures_are_called_so(train: Train, tmp_path: Path) -> None:
    for name, count in (("conv", 2), ("logit", 1)):
        train(name, "--validate", "--limit", "60", "--epochs", "1")
        log = (tmp_path / f"{name}.log").read_text()
        assert log.count("held-out accuracy") == count and " test" not in log


@pytest.mark.parametrize(
    ("edits", "line"),
    [
        ({'"""A single': '"""Docstrings do not count. A single'}, None),
        ({"logits.float()": "2 * logits.float()"}, "changed since epoch 1: script"),
        ({"torch.optim.SGD(": "torch.optim.AdamW("}, "fits another network, optimizer"),
    ],
)
def test_a_script_that_was_changed_before_it_is_resumed(
    edits: dict[str, str], line: str | None, few_digits: Path, tmp_path: Path, capsys: Capsys
) -> None:
    stop = tmp_path / "stop"
    stopped = f"if epoch == 2 and Path({str(stop)!r}).exists(): raise KeyboardInterrupt"
    base = {"            losses = []": f"            {stopped}\n            losses = []"}
    flags = ["--limit", "20", "--epochs", "3", "--data", few_digits]
    stop.touch()
    with pytest.raises(SystemExit):
        run_copy("logit", tmp_path, base, *flags)
    stop.unlink()
    capsys.readouterr()
    try:
        out = run_copy("logit", tmp_path, base | edits, *flags, "--resume")
        told = (out / "logit.log").read_text() if line else capsys.readouterr().err
    except SystemExit as error:
        told = str(error.code)
    assert (line in told) if line else told == ""
