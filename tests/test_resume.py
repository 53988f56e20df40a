"""Runs that are stopped, by kill -9, by Ctrl-C, by a fault, and continued: nothing is lost."""

import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import (
    ROOT,
    SHORT,
    Capsys,
    Finished,
    Train,
    comparable,
    copy,
    figures,
    files_in,
    run_python,
    start_script,
    wait_for_epoch,
)


@pytest.fixture
def unfinished(train: Train, tmp_path: Path) -> Callable[[str], None]:
    """A function that leaves a run with all of its epochs, but without its end, in tmp_path."""

    def run(name: str) -> None:
        (tmp_path / f"{name}.png").mkdir()
        assert f"{name}.png" in str(train(name, *SHORT[name]))
        (tmp_path / f"{name}.png").rmdir()

    return run


@pytest.mark.parametrize("name", SHORT)
def test_killed_and_resumed_is_as_never_stopped(
    name: str, finished: Finished, train: Train, few_digits: Path, tmp_path: Path
) -> None:
    never = finished(name)
    epoch = random.randrange(1, int(SHORT[name][1]))
    event = random.choice(["line", "checkpoint", "figures"])
    print(f"killed at the {event} of epoch {epoch}")  # shown if the test fails
    with start_script(name, "--data", few_digits, "--out", tmp_path, *SHORT[name]) as process:
        wait_for_epoch(process, epoch)
        while event == "checkpoint" and not (tmp_path / f"{name}.resume.pt").exists():
            assert process.poll() is None
        while event == "figures" and not figures(tmp_path, name)["epochs"]:
            assert process.poll() is None
        process.kill()
    assert process.returncode  # not 0: it was killed ahead of its end
    train(name, *SHORT[name], "--resume")

    ours, theirs = files_in(tmp_path), files_in(never)
    assert ours.keys() == theirs.keys()
    for key in (key for key in ours if key.endswith((f"{name}.pt", ".gif", ".png", ".txt"))):
        assert ours[key] == theirs[key], key
    logs = [comparable(files[f"{name}.log"].decode()) for files in (ours, theirs)]
    assert logs[0] == logs[1]


def test_weights_of_an_earlier_run_of_the_same_name(
    finished: Finished, train: Train, few_digits: Path, tmp_path: Path
) -> None:
    """They are moved with that run, and not needed to go on."""
    copy(finished("logit") / "logit.pt", tmp_path)
    flags = [*SHORT["logit"], "--weights", tmp_path / "logit.pt"]
    with start_script("logit", "--data", few_digits, "--out", tmp_path, *flags) as process:
        wait_for_epoch(process, 2)
        process.kill()
    assert train("logit", *flags, "--resume") is None


def test_a_generator_whose_pictures_were_deleted_ends(train: Train, tmp_path: Path) -> None:
    (tmp_path / "gan.gif").mkdir()  # it stops before its end
    flags = ["--epochs", 1, "--limit", 60]
    assert "gan.gif" in str(train("gan", *flags))
    (tmp_path / "gan.gif").rmdir()
    (tmp_path / "gan01.png").unlink()
    assert train("gan", *flags, "--resume") is None


def test_a_finished_run_says_so(finished: Finished, train: Train, capsys: Capsys) -> None:
    before = files_in(finished("gan"))
    assert train("gan", *SHORT["gan"], "--resume", "--out", finished("gan")) == 0
    assert re.search(r"gan: finished .*gan\.log\n$", capsys.readouterr().err)
    assert files_in(finished("gan")) == before


def test_ctrl_c_says_how_to_go_on(few_digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "my out"
    flags = ["--data", few_digits, "--epochs", "5", "--limit", "200", "--batch-size", "4"]
    with start_script("conv", *flags, "--out", out) as process:
        wait_for_epoch(process, 2)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        errors = process.stderr.read()
    assert process.returncode == 130
    command = re.fullmatch(r"\nconv: stopped; to continue: python (.* --resume)\n", errors)
    assert command is not None
    # What the line says works as it is.
    done = run_python(*shlex.split(command[1]))
    assert re.findall(r"^ *(\d+)\.  lr", done.stdout, re.M) == list("12345")
    assert (out / "conv.pt").exists()


def test_a_full_disk_is_one_clear_line_and_loses_nothing(
    unfinished: Callable[[str], None], few_digits: Path, tmp_path: Path
) -> None:
    """No file may grow over a megabyte, as if the disk were full then."""
    unfinished("conv")
    good = files_in(tmp_path)
    flags = [*SHORT["conv"], "--data", str(few_digits), "--out", str(tmp_path), "--resume"]
    command = shlex.join([sys.executable, str(ROOT / "mnist/conv.py"), *flags])
    limited = ["bash", "-c", f"ulimit -f 1000; exec {command}"]
    done = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert re.match(r"conv: .*File too large", done.stderr)
    left = files_in(tmp_path)
    assert left.keys() == good.keys()
    assert all(left[key] == good[key] for key in ("conv.pt", "conv.resume.pt"))


@pytest.mark.parametrize("ending", [".json", ".resume.pt"])
def test_a_run_of_other_settings(
    ending: str, unfinished: Callable[[str], None], finished: Finished, train: Train, tmp_path: Path
) -> None:
    if ending == ".json":
        shutil.copytree(finished("logit"), tmp_path, dirs_exist_ok=True)
    else:
        unfinished("logit")
    before = files_in(tmp_path)
    for flag, value, told in (
        ("--lr", "0.5", "lr 0.1, not 0.5:"),
        ("--seed", "1", "seed 0, not 1:"),
        ("--data", ROOT / "mnist/data", "with data "),
    ):
        line = str(train("logit", *SHORT["logit"], "--resume", flag, value))
        assert line.startswith(f"logit: {tmp_path / 'logit'}{ending} ") and told in line
        assert files_in(tmp_path) == before


def test_a_moved_repository_goes_on(few_digits: Path, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    shutil.copytree(ROOT / "common", here / "common")
    shutil.copytree(few_digits, here / "mnist/data")
    shutil.copy(ROOT / "mnist/logit.py", here / "mnist")
    run_python(here / "mnist/logit.py", "--epochs", "1")
    here.rename(there)
    done = run_python(there / "mnist/logit.py", "--epochs", "1", "--resume")
    assert done.returncode == 0 and "finished" in done.stderr


@pytest.mark.parametrize("kind", ["cut short", "empty", "weights"])
def test_a_damaged_checkpoint(
    kind: str, unfinished: Callable[[str], None], train: Train, tmp_path: Path
) -> None:
    unfinished("logit")
    path = tmp_path / "logit.resume.pt"
    if kind == "weights":
        shutil.copy(tmp_path / "logit.pt", path)
    else:
        path.write_bytes(path.read_bytes()[: 9_000 * (kind == "cut short")])
    before = files_in(tmp_path)
    assert str(train("logit", *SHORT["logit"], "--resume")).startswith(f"logit: {path} ")
    assert files_in(tmp_path) == before


@pytest.mark.parametrize("name", ["conv", "gan"])
@pytest.mark.parametrize("batch_size", [60, 240])  # of 240 images: no loss follows the only step
def test_what_is_not_finite_stops_a_run(
    name: str, batch_size: int, train: Train, tmp_path: Path
) -> None:
    flags = ["--limit", "240", "--batch-size", batch_size, "--lr", "1e45", "--epochs", "1"]
    assert "no longer finite" in str(train(name, *flags))
    assert files_in(tmp_path).keys() - {"gan01.png"} == {f"{name}.log", f"{name}.json"}
