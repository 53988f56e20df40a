"""Weight averaging of the convolutional network, and the study of paired trials."""

import importlib
import inspect
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from common.trials import comparison, student_t, table
from mnist import conv, swa
from tests.conftest import ROOT

stats = importlib.import_module("scipy.stats")  # which has no type hints

EPOCH = r"^ *(\d+)\.  lr: \d\.\d{4}  training loss: \d\.\d{6}  test accuracy: [ \d]\d\.\d\d%$"


def test_network_and_training_are_those_of_conv() -> None:
    for name in ("ConvNet", "shifted", "train_epoch"):
        one, other = (inspect.getsource(getattr(script, name)) for script in (conv, swa))
        assert one == other


def test_swa_averages_the_last_two_fifths(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script itself, with a look at the weights after each of its epochs."""
    weights: list[list[Tensor]] = []

    def looking_on(model: nn.Module, *others: Any) -> float:
        loss = train_epoch(model, *others)
        weights.append([parameter.detach().clone() for parameter in model.parameters()])
        return loss

    train_epoch = swa.train_epoch
    monkeypatch.setattr(swa, "train_epoch", looking_on)
    flags = ["--data", str(few_digits), "--epochs", "8", "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["swa.py", *flags])
    swa.main()

    assert len(weights) == 8
    network = swa.ConvNet()
    network.load_state_dict(torch.load(tmp_path / "swa.pt", weights_only=True))
    for average, *last in zip(network.parameters(), *weights[4:], strict=True):
        torch.testing.assert_close(average.data, torch.stack(last).mean(0))

    log = (tmp_path / "swa.log").read_text().splitlines()
    begin = log.index("weight averaging:")
    assert re.match(EPOCH, log[begin - 1]) and log[begin - 1].startswith("  4.")
    assert [line[:4] for line in log[begin + 1 : begin + 5]] == ["  5.", "  6.", "  7.", "  8."]
    assert len({line.split()[2] for line in log[begin + 1 : begin + 5]}) == 1  # the rate is held
    assert log[begin + 5] == "average weights of epochs 5 to 8:"
    assert re.match(r"\d\d\.\d\d% test accuracy, \d+ of 100 misread", log[begin + 7])
    assert "mismatches:" in log[begin + 7 :]
    assert Image.open(tmp_path / "swa.png").mode == "L"


def study(few_digits: Path, out: Path, *flags: str, processes: int = 1) -> list[str]:
    """Run a small study of two trials, and return its log but for command, date, times, paths."""
    program = [sys.executable]
    if processes > 1:
        program += ["-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    done = subprocess.run(
        [*program, *arguments(few_digits, out), *flags],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    log = (out / "swa-trials.log").read_text()
    assert done.stdout == log
    varying = ("command:", "date:", "seconds:", "distributions:")
    return [line for line in log.splitlines() if not line.startswith(varying)]


def arguments(few_digits: Path, out: Path) -> list[str]:
    script = str(ROOT / "mnist" / "swa.py")
    data = ["--data", str(few_digits), "--out", str(out), "--device", "cpu"]
    return [script, "--trials", "2", "--epochs", "5", "--seed", "3", *data]


def test_study_of_two_processes_of_one_and_of_a_stopped_one(
    few_digits: Path, tmp_path: Path
) -> None:
    two, one = tmp_path / "two", tmp_path / "one"
    lines = study(few_digits, two, processes=2)
    assert Image.open(two / "swa-trials.png").size > (600, 300)
    kept = two / "swa-trials.seed-3.json", two / "swa-trials.seed-4.json"
    command = (two / "swa-trials.log").read_text().split("\n")[0]
    assert command.startswith("command: torchrun --nproc-per-node 2 mnist/swa.py --trials 2")

    # A study in one process is killed after its first trial, and goes on with the second.
    with subprocess.Popen(
        [sys.executable, *arguments(few_digits, one)], stdout=subprocess.DEVNULL
    ) as process:
        first = one / "swa-trials.seed-3.json"
        while not first.exists() and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert first.exists() and not (one / "swa-trials.seed-4.json").exists()
    before = first.stat().st_mtime_ns
    assert study(few_digits, one, "--resume") == lines
    assert first.stat().st_mtime_ns == before

    # The pairs are those of the two scripts, on one thread: conv.py's, with the dropout of swa.py,
    # and swa.py's own last figure.
    pair = json.loads(kept[0].read_text())
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    programs = {
        "regular": "from mnist import conv; network = conv.ConvNet;"
        " conv.ConvNet = lambda: network(dropout=0.5); conv.main()",
        "averaging": "from mnist import swa; swa.main()",
    }
    for way, program in programs.items():
        flags = arguments(few_digits, tmp_path)[3:]  # without --trials
        done = subprocess.run(
            [sys.executable, "-c", program, *flags],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        final = re.search(r"^(\d\d\.\d\d)% test accuracy", done.stdout, re.M)
        assert final is not None
        assert final[1] == f"{pair[way]:.2f}"

    # What the log says of the pairs follows from them.
    pairs = [tuple(json.loads(path.read_text())[way] for way in ("regular", "averaging"))
             for path in kept]  # fmt: skip
    begin = lines.index("accuracy| regular averaging")
    assert lines[begin:] == [*table(pairs), "", *comparison(pairs)]


def test_kept_trials_that_do_not_fit_are_one_clear_line(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusal(*flags: str) -> str:
        monkeypatch.setattr("sys.argv", [*arguments(few_digits, tmp_path), *flags, "--resume"])
        with pytest.raises(SystemExit) as caught:
            swa.main()
        return str(caught.value)

    threads = torch.get_num_threads()
    try:
        monkeypatch.setattr("sys.argv", [*arguments(few_digits, tmp_path), "--trials", "1"])
        swa.main()
        path, log = tmp_path / "swa-trials.seed-3.json", tmp_path / "swa-trials.log"
        good, ended = path.read_bytes(), log.read_bytes()
        assert refusal("--lr", "0.001") == (
            f"swa-trials: {path} is of a run with --lr 0.004, not 0.001: give the same flags,"
            " or leave out --resume"
        )
        path.write_bytes(good.replace(b"p=0.5", b"p=0.25"))
        assert path.read_bytes() != good
        assert refusal() == f"swa-trials: {path} is of another network: remove it"
        for content in (path.read_bytes()[:20], b"[]", b'{"settings": 1}', b"\xff"):
            path.write_bytes(content)
            assert refusal() == f"swa-trials: {path} is damaged: remove it"
        assert log.read_bytes() == ended  # a study that is refused loses nothing
        log.unlink()
        log.mkdir()
        path.write_bytes(good)
        monkeypatch.setattr("sys.argv", arguments(few_digits, tmp_path))
        with pytest.raises(SystemExit, match=r"^swa-trials: cannot write to "):
            swa.main()
        assert path.read_bytes() == good  # nor does one that cannot start
        log.rmdir()
        # A study that starts anew removes what older ones have left.
        monkeypatch.setattr("sys.argv", [*arguments(few_digits, tmp_path), "--seed", "9"])
        monkeypatch.setattr(swa, "trial", lambda *_: (98.0, 99.0))
        swa.main()
        assert sorted(kept.name for kept in tmp_path.glob("*.json")) == [
            "swa-trials.seed-10.json",
            "swa-trials.seed-9.json",
        ]
    finally:
        torch.set_num_threads(threads)


def test_table_in_the_old_form() -> None:
    pairs = [(99.5, 99.6), (99.45, 99.5000001), (99.6, 99.6), (100.0, 99.5)]
    assert table(pairs) == [
        "accuracy| regular averaging",
        "--------| -----------------",
        "99.45   | 1",
        "99.50   | 1       2",
        "99.60   | 1       2",
        "100.00  | 1",
    ]


def test_comparison_is_that_of_a_paired_t_test() -> None:
    regular, averaging = [99.5, 99.62, 99.58, 99.49], [99.56, 99.6, 99.61, 99.55]
    interval = stats.ttest_rel(averaging, regular).confidence_interval(0.95)
    assert comparison(list(zip(regular, averaging, strict=True))) == [
        "regular:   mean 99.547%, standard deviation 0.063",
        "averaging: mean 99.580%, standard deviation 0.029",
        f"averaging less regular: mean +0.032, 95% interval {interval.low:+.3f}"
        f" to {interval.high:+.3f}",
    ]


def test_comparison_of_a_single_pair_has_no_spread() -> None:
    assert comparison([(99.5, 99.6)]) == [
        "regular:   mean 99.500%",
        "averaging: mean 99.600%",
        "averaging less regular: mean +0.100",
    ]


@pytest.mark.parametrize("degrees", [1, 2, 3, 7, 30, 99, 999])
def test_quantile_of_students_distribution(degrees: int) -> None:
    for share in (0.5, 0.95, 0.99):
        expected = stats.t.ppf((1 + share) / 2, degrees)
        assert student_t(degrees, share) == pytest.approx(expected, rel=1e-5)
