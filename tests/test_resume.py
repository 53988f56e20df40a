"""Runs that are stopped: by kill -9, by Ctrl-C, by a loss that is not finite; and what goes on."""

import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from common.run import Run, argument_parser
from mnist import cgan, conv, gan, logit
from tests.conftest import ROOT, run_script

RUNS = [  # long enough to be killed in the middle, and short enough for a test; GANs: test_gan.py
    ("logit", ["--epochs", "10", "--batch-size", "2"], 1),
    ("linear", ["--epochs", "10", "--batch-size", "5"], 1),
    ("conv", ["--epochs", "10", "--batch-size", "20"], 2),
    ("swa", ["--epochs", "8", "--batch-size", "20"], 1),
    ("simple", ["--epochs", "4", "--limit", "80", "--batch-size", "30"], 1),
    ("wsimple", ["--epochs", "4", "--limit", "80", "--batch-size", "30"], 1),
    ("lstm", ["--epochs", "6", "--batch-size", "20"], 1),
]


def start(name: str, flags: list[str], cwd: Path | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(ROOT / "mnist" / f"{name}.py"), *flags],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_epoch(process: subprocess.Popen[str], epoch: int) -> None:
    """Return as soon as the process has printed the line of an epoch."""
    assert process.stdout is not None and process.stderr is not None
    for line in process.stdout:
        if line.startswith(f"{epoch:3}."):
            return
    raise AssertionError(process.stderr.read())


def lines(log: Path) -> list[str]:
    """Return a log's lines but for those that hold a date, a time or where its files are."""
    varying = ("command:", "date:", "seconds:", "grid of mismatches:", "weights:")
    return [line for line in log.read_text().splitlines() if not line.startswith(varying)]


@pytest.mark.parametrize(("name", "flags", "kills"), RUNS, ids=[name for name, *_ in RUNS])
def test_killed_at_random_and_resumed_is_as_never_stopped(
    name: str, flags: list[str], kills: int, few_digits: Path, tmp_path: Path
) -> None:
    epochs = int(flags[1])
    flags = [*flags, "--data", str(few_digits), "--device", "cpu"]
    never, killed = tmp_path / "never stopped", tmp_path / "killed"
    done = run_script(name, *flags, "--out", str(never))
    assert done.returncode == 0, done.stderr
    seconds = re.search(r"^seconds: [\d.]+ in all, ([\d.]+) an epoch", done.stdout, re.M)
    assert seconds is not None

    resume: list[str] = []
    for epoch in sorted(random.sample(range(1, epochs), kills)):
        delay = random.uniform(0, 1.5 * float(seconds[1]))
        print(f"killed {delay:.3f} s after the line of epoch {epoch}")  # shown if the test fails
        with start(name, [*flags, "--out", str(killed), *resume]) as process:
            wait_for_epoch(process, epoch)
            time.sleep(delay)
            process.kill()
        resume = ["--resume"]
    done = run_script(name, *flags, "--out", str(killed), "--resume")
    assert done.returncode == 0, done.stderr

    assert lines(killed / f"{name}.log") == lines(never / f"{name}.log")
    assert done.stdout == (killed / f"{name}.log").read_text()
    ours, theirs = (
        torch.load(folder / f"{name}.pt", weights_only=True) for folder in (killed, never)
    )
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert (killed / f"{name}.png").read_bytes() == (never / f"{name}.png").read_bytes()
    assert sorted(path.name for path in killed.iterdir()) == sorted(
        path.name for path in never.iterdir()
    )


def test_ctrl_c_says_how_to_go_on(few_digits: Path, tmp_path: Path) -> None:
    flags = ["--data", str(few_digits), "--epochs", "20", "--batch-size", "4", "--out", "my out"]
    with start("conv", flags, cwd=tmp_path) as process:
        wait_for_epoch(process, 2)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        errors = process.stderr.read()
    assert process.returncode == 130
    command = f"python {ROOT / 'mnist/conv.py'} {shlex.join(flags)} --resume"
    assert errors == f"\nstopped; to go on: {command}\n"
    # What the line says works as it stands, from the same folder.
    done = subprocess.run(
        [sys.executable, *shlex.split(command)[1:]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.findall(r"^ *(\d+)\.  lr", done.stdout, re.M) == [str(x) for x in range(1, 21)]
    assert re.search(r"^\d+\.\d\d% test accuracy", done.stdout, re.M)


def test_ctrl_c_while_a_file_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is finished first: in its middle torch.save would abort the process."""

    class Interrupting(dict[str, Any]):
        """A state that has Ctrl-C come while it is written."""

        def __reduce__(self) -> tuple[Any, ...]:
            os.kill(os.getpid(), signal.SIGINT)
            return dict, ({"weight": 1.0},)

    monkeypatch.setattr("sys.argv", ["mnist/conv.py", "--out", str(tmp_path)])
    args = argument_parser("", epochs=1, batch_size=1, lr=1.0).parse_args()
    with pytest.raises(SystemExit) as stop, Run("conv", args) as run:
        run._save_states(tmp_path / "conv.pt", Interrupting())
        raise AssertionError("Ctrl-C was lost")
    assert stop.value.code == 130
    assert "stopped; to go on: python " in capsys.readouterr().err
    assert torch.load(tmp_path / "conv.pt", weights_only=False) == {"weight": 1.0}
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_output_that_nobody_reads_any_more_is_one_clear_line(
    few_digits: Path, tmp_path: Path
) -> None:
    flags = ["--data", str(few_digits), "--epochs", "100", "--out", str(tmp_path)]
    with start("logit", flags) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
    assert process.returncode == 1
    assert errors == (
        "logit: cannot print: Broken pipe; to go on:"
        f" python {ROOT / 'mnist/logit.py'} {shlex.join(flags)} --resume\n"
    )


def test_a_full_disk_is_one_clear_line_and_loses_nothing(few_digits: Path, tmp_path: Path) -> None:
    """No file may grow over a megabyte, as if the disk were full then."""
    flags = ("--data", str(few_digits), "--epochs", "1", "--out", str(tmp_path))
    assert run_script("conv", *flags).returncode == 0
    good = (tmp_path / "conv.pt").read_bytes()
    command = [sys.executable, str(ROOT / "mnist/conv.py"), *flags]
    limited = f"ulimit -f 1000; exec {shlex.join(command)}"
    done = subprocess.run(["bash", "-c", limited], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"conv: cannot write to {tmp_path}: [Errno 27] File too large\n"
    assert (tmp_path / "conv.pt").read_bytes() == good
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["conv.log", "conv.png", "conv.pt"]


def test_a_run_that_cannot_start_loses_nothing(few_digits: Path, tmp_path: Path) -> None:
    flags = ("--data", str(few_digits), "--epochs", "1", "--out", str(tmp_path))
    assert run_script("logit", *flags).returncode == 0
    good = (tmp_path / "logit.resume.pt").read_bytes()
    (tmp_path / "logit.log").unlink()
    (tmp_path / "logit.log").mkdir()
    done = run_script("logit", *flags)
    assert done.returncode == 1
    assert done.stderr.startswith(f"logit: cannot write to {tmp_path}: ")
    assert done.stderr.count("\n") == 1
    assert (tmp_path / "logit.resume.pt").read_bytes() == good


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_run_that_cannot_print_loses_nothing(few_digits: Path, tmp_path: Path) -> None:
    flags = ("--data", str(few_digits), "--epochs", "1", "--out", str(tmp_path))
    assert run_script("logit", *flags).returncode == 0
    good = {path: path.read_bytes() for path in tmp_path.iterdir()}
    command = shlex.join([sys.executable, str(ROOT / "mnist/logit.py"), *flags])
    full = ["bash", "-c", f"exec {command} > /dev/full"]
    done = subprocess.run(full, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("logit: cannot print: No space left on device; to go on: ")
    assert done.stderr.count("\n") == 1
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == good


def test_a_run_without_output_writes_its_log(few_digits: Path, tmp_path: Path) -> None:
    flags = ("--data", str(few_digits), "--epochs", "2", "--out", str(tmp_path))
    command = shlex.join([sys.executable, str(ROOT / "mnist/logit.py"), *flags])
    closed = ["bash", "-c", f"exec {command} >&- 2>&-"]
    assert subprocess.run(closed, check=False).returncode == 0
    without = lines(tmp_path / "logit.log")
    assert run_script("logit", *flags).returncode == 0
    assert without == lines(tmp_path / "logit.log")


def test_a_checkpoint_whose_name_is_too_long_is_one_clear_line(few_digits: Path) -> None:
    out = "a" * 300
    done = run_script("logit", "--data", str(few_digits), "--out", out, "--resume")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"logit: cannot read {out}/logit.resume.pt: File name too long\n"


def test_several_processes_are_refused_before_they_write(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")  # as torchrun does
    done = run_script("conv", "--data", str(few_digits), "--out", str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("conv: runs in one process: ") and done.stderr.count("\n") == 1
    assert not any(tmp_path.iterdir())


def test_a_core_by_its_number_is_the_cpu(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one process is one, if torchrun's variable is there and empty."""
    monkeypatch.setenv("WORLD_SIZE", "")
    flags = ("--data", str(few_digits), "--epochs", "1", "--out", str(tmp_path))
    assert run_script("logit", *flags, "--device", "cpu:0").returncode == 0
    done = run_script("logit", *flags, "--device", "cpu", "--resume")
    assert (done.returncode, done.stderr) == (0, "")


def test_names_that_are_no_text(few_digits: Path, tmp_path: Path) -> None:
    data = tmp_path / os.fsdecode(b"digits \xff")
    try:
        data.symlink_to(few_digits)
    except OSError:  # macOS
        pytest.skip("this file system has no such names")
    done = run_script("logit", "--data", str(data), "--epochs", "1", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    command = (tmp_path / "logit.log").read_text().splitlines()[0]
    assert f"--data '{tmp_path}/digits \\udcff'" in command


def test_a_new_run_forgets_the_checkpoint_of_the_last(few_digits: Path, tmp_path: Path) -> None:
    """A run that is killed in its first epoch does not go on from an older one's last."""
    flags = ["--data", str(few_digits), "--out", str(tmp_path)]
    assert run_script("conv", *flags, "--epochs", "1").returncode == 0
    assert (tmp_path / "conv.resume.pt").exists()
    with start("conv", [*flags, "--epochs", "1", "--batch-size", "1"]) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("epochs:"):
                process.kill()
    assert not (tmp_path / "conv.resume.pt").exists()


def test_a_checkpoint_that_does_not_fit_is_one_clear_line(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ["--data", str(few_digits), "--epochs", "1", "--out", str(tmp_path)]
    done = run_script("logit", *flags)
    assert done.returncode == 0
    path = tmp_path / "logit.resume.pt"
    good = path.read_bytes()

    other_rate = (
        f"logit: {path} is of a run with --lr 0.1, not 0.5: give the same flags,"
        " or leave out --resume"
    )
    refused = run_script("logit", *flags, "--lr", "0.5", "--resume")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == other_rate + "\n"

    other = tmp_path / "other digits"
    shutil.copytree(few_digits, other)
    labels = other / "train-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-1] + b"\0")
    refused = run_script("logit", *flags, "--data", str(other), "--resume")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert re.fullmatch(
        rf"logit: {re.escape(str(path))} is of a run with data of check sum \w{{8}}, not \w{{8}}:"
        r" give the same flags, or leave out --resume\n",
        refused.stderr,
    )

    damaged = rf"logit: {re.escape(str(path))} is damaged \(.+\): leave out --resume"
    weights = (tmp_path / "logit.pt").read_bytes()
    for content in (good[: len(good) // 2], b"", b"not a checkpoint at all", weights):
        path.write_bytes(content)
        assert re.fullmatch(damaged, last_words(monkeypatch, logit, *flags, "--resume"))
        assert path.read_bytes() == content

    # A checkpoint of the same flags but of another network, as when the script has been changed.
    path.write_bytes(good)
    checkpoint = torch.load(path, weights_only=True)
    right = checkpoint["states"]["model"]
    wrong = {"1.weight": torch.zeros(3, 784), "1.bias": torch.zeros(3)}
    # The second differs in nothing that a state dict holds, dropout for instance.
    for state, printed in ((wrong, str(logit.Logit())), (right, "Logit(dropout of a half)")):
        checkpoint["states"]["model"], checkpoint["networks"]["model"] = state, printed
        torch.save(checkpoint, path)
        assert last_words(monkeypatch, logit, *flags, "--resume") == (
            f"logit: {path} is of another network or optimizer: leave out --resume"
        )
    assert (tmp_path / "logit.log").read_text() == done.stdout  # nothing is lost


def test_a_loss_that_is_not_finite_stops_the_run(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One step an epoch: the first loss is good, and the step of it leads astray."""
    flags = ["--data", str(few_digits), "--limit", "100", "--epochs", "6", "--lr", "1e30"]
    path = tmp_path / "conv.resume.pt"
    assert last_words(monkeypatch, conv, *flags, "--out", str(tmp_path)) == (
        "conv: the loss is no longer finite; try a lower --lr"
        f" (the last good epoch is in {path} until a new run starts)"
    )
    checkpoint = torch.load(path, weights_only=True)
    assert checkpoint["epoch"] == 1
    assert all(tensor.isfinite().all() for tensor in checkpoint["states"]["model"].values())
    log = (tmp_path / "conv.log").read_text()
    assert re.findall(r"^ *(\d+)\.  lr", log, re.M) == ["1"]


def test_weights_that_are_not_finite_are_not_saved(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The only step of the second epoch leads astray, after which no loss is taken."""
    flags = ["--data", str(few_digits), "--limit", "100", "--epochs", "2", "--out", str(tmp_path)]
    assert run_script("conv", *flags).returncode == 0
    path = tmp_path / "conv.resume.pt"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["epoch"] = checkpoint["states"]["schedule"]["last_epoch"] = 1
    checkpoint["states"]["optimizer"]["param_groups"][0]["lr"] = 1e45
    torch.save(checkpoint, path)
    good = path.read_bytes()
    assert last_words(monkeypatch, conv, *flags, "--resume") == (
        "conv: the loss is no longer finite; try a lower --lr"
        f" (the last good epoch is in {path} until a new run starts)"
    )
    assert path.read_bytes() == good


@pytest.mark.parametrize("script", [gan, cgan])
def test_a_gan_that_diverges_ends_in_one_line(
    script: ModuleType, few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ["--limit", "240", "--epochs", "1", "--lr", "1e30", "--precision", "float32"]
    folders = ["--data", str(few_digits), "--out", str(tmp_path)]
    name = script.__name__.removeprefix("mnist.")
    told = f"{name}: the loss is no longer finite; try a lower --lr"
    assert last_words(monkeypatch, script, *flags, *folders) == told


def last_words(monkeypatch: pytest.MonkeyPatch, script: ModuleType, *flags: str) -> str:
    """Return the line that a script ends with, whose exit status is then 1."""
    monkeypatch.setattr("sys.argv", [str(script.__file__), *flags])
    with pytest.raises(SystemExit) as caught:
        script.main()
    assert isinstance(caught.value.code, str) and "\n" not in caught.value.code
    return caught.value.code
