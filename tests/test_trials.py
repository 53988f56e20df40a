"""Trials with several seeds: what they report, how they share the work, how they end."""

import json
import os
import shlex
import shutil
import signal
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from statistics import fmean, stdev
from subprocess import PIPE, Popen
from typing import Any

import pytest
import torch
from PIL import Image
from scipy import stats

from mnist import trials
from mnist.logit import Logit
from tests import conftest
from tests.conftest import ROOT, Finished, Patch, figures, run_python, run_script

SHORT, LONGER = "logit --limit 300 --epochs 1", "logit --limit 300 --epochs 2"


def trial(out: Path, command: str, seed: int) -> dict[str, Any]:
    return figures(out / command.replace(" --", "-").replace(" ", "-") / f"seed-{seed}", "logit")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The folder and the report of two commands with two seeds each."""
    out = tmp_path_factory.mktemp("study")
    done = run_script("trials", SHORT, LONGER, "--seeds", "2", "--jobs", "2", "--out", str(out))
    assert done.returncode == 0
    assert done.stdout == (out / "trials.log").read_text()
    return out, done.stdout.splitlines()


def test_means_and_interval_of_the_difference(study: tuple[Path, list[str]]) -> None:
    out, lines = study
    first, second = (
        [trial(out, command, seed)["final"]["accuracy"] for seed in (0, 1)]
        for command in (SHORT, LONGER)
    )
    low, high = stats.ttest_rel(second, first).confidence_interval(0.95)
    assert f"{SHORT}: {fmean(first):.3f}% ± {stdev(first):.3f}" in lines
    assert (
        f"{LONGER}: {fmean(second):.3f}% ± {stdev(second):.3f}; difference from {SHORT}:"
        f" {fmean(second) - fmean(first):+.3f}, 95% interval {low:+.3f} to {high:+.3f}"
    ) in lines
    saved = json.loads((out / "trials.json").read_bytes())
    assert saved["accuracy"] == {SHORT: first, LONGER: second}
    Image.open(out / "trials.png").verify()


@pytest.mark.parametrize(("name", "key"), [("vae", "bound"), ("number", "read")])
def test_runs_are_compared_by_their_figure(
    name: str, key: str, finished: Finished, few_digits: Path, tmp_path: Path
) -> None:
    words = [name, "--data", str(few_digits), *conftest.SHORT[name]]
    folder = tmp_path / trials.folder_name(words) / "seed-0"
    shutil.copytree(finished(name), folder)
    run = figures(folder, name)
    command = ["python", f"mnist/{name}.py", *words[1:], "--seed", "0", "--out", "x"]
    run["header"]["command"] = shlex.join(command)
    (folder / f"{name}.json").write_text(json.dumps(run))
    trials.main([shlex.join(words), "--seeds", "1", "--out", str(tmp_path)])
    saved = json.loads((tmp_path / "trials.json").read_bytes())
    assert saved == {key: {shlex.join(words): [run["final"][key]]}}


@pytest.mark.parametrize(("right", "told"), [("98.1", False), ("98.2", True)])
def test_scores_by_different_judges_are_not_compared_in_silence(
    right: str, told: bool, finished: Finished, few_digits: Path, tmp_path: Path
) -> None:
    words = ["vae", "--data", str(few_digits), *conftest.SHORT["vae"]]
    for seed, percent in enumerate(("98.1", right)):
        folder = tmp_path / trials.folder_name(words) / f"seed-{seed}"
        shutil.copytree(finished("vae"), folder)
        run = figures(folder, "vae")
        command = ["python", "mnist/vae.py", *words[1:], "--seed", str(seed), "--out", "x"]
        run["header"] |= {"command": shlex.join(command), "judge": f"{folder}/conv.pt, {percent}%"}
        (folder / "vae.json").write_text(json.dumps(run))
    trials.main([shlex.join(words), "--seeds", "2", "--out", str(tmp_path)])
    assert ("2 judges" in (tmp_path / "trials.log").read_text()) == told


def test_torchrun_shares_the_seeds_that_are_missing(study: tuple[Path, list[str]]) -> None:
    out, _ = study
    finished = [trial(out, SHORT, seed) for seed in (0, 1)]
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "mnist/trials.py"]
    done = run_python(*torchrun, SHORT, "--seeds", "4", "--out", out)
    assert done.stdout == (out / "trials.log").read_text()  # one process prints
    assert done.stderr.count("finished earlier: 1 of 2 runs\n") == 2  # one each
    assert done.stderr.count(": finished") == 2  # each of the two is one process's
    assert [trial(out, SHORT, seed) for seed in (0, 1)] == finished
    header = trial(out, SHORT, 3)["header"]
    assert (header["seed"], header["threads"]) == (3, 1)


def test_an_interrupted_study_ends_its_runs_and_continues(tmp_path: Path) -> None:
    command = "logit --limit 100 --epochs 100"
    flags = ["--seeds", "2", "--jobs", "2", "--out", str(tmp_path)]
    program = [sys.executable, str(ROOT / "mnist/trials.py"), command, *flags]
    process = Popen(program, stderr=PIPE, text=True, start_new_session=True)
    path = tmp_path / "logit-limit-100-epochs-100/seed-1/logit.json"
    while not path.exists() or len(json.loads(path.read_bytes())["epochs"]) < 3:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)  # to trials.py alone
    assert process.communicate()[1].endswith("trials: stopped; the same command continues\n")
    assert process.returncode == 130
    with pytest.raises(ProcessLookupError):  # no process is left in its group
        for _ in range(100):  # Python's own helper takes a moment to end
            os.killpg(process.pid, 0)
            time.sleep(0.1)
    before = json.loads(path.read_bytes())["epochs"]
    run_script("trials", command, *flags)
    after = json.loads(path.read_bytes())["epochs"]
    assert len(before) < len(after) == 100 and after[:3] == before[:3]


def test_a_failing_run_ends_the_trials_with_its_last_line(tmp_path: Path) -> None:
    done = run_script("trials", "logit --limit 300 --lr 1e38", "--out", str(tmp_path))
    last = done.stderr.splitlines()[-1]
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 2)
    assert last.startswith("trials: logit --limit 300 --lr 1e38, seed 0: logit: the loss")


@pytest.mark.parametrize(
    ("change", "flags", "told"),
    [
        ({"script hash": "0"}, [], "mnist/logit.py has changed .* --mixed"),
        ({"script hash": "0"}, ["--mixed"], None),
        ({"data": {"path": "mnist/data", "hash": "0"}}, [], "the data has changed .* --mixed"),
        ({"command": "python mnist/logit.py --lr 1 --seed 1 --out x"}, ["--mixed"], "another"),
        (None, [], "damaged"),
    ],
)
def test_runs_of_something_else_are_no_results(
    change: dict[str, str] | None,
    flags: list[str],
    told: str | None,
    study: tuple[Path, list[str]],
    tmp_path: Path,
) -> None:
    out = tmp_path / "study"
    shutil.copytree(study[0], out)
    path = out / "logit-limit-300-epochs-1/seed-1/logit.json"
    text = path.read_text()
    run = json.loads(text)
    run["header"] |= change or {}
    path.write_text(text[:100] if change is None else json.dumps(run))
    with pytest.raises(SystemExit, match=f"^trials: .*{told}") if told else nullcontext():
        trials.main([SHORT, "--seeds", "2", "--out", str(out), *flags])


def test_a_study_has_one_start(finished: Finished, few_digits: Path, tmp_path: Path) -> None:
    weights = tmp_path / "w.pt"
    shutil.copy(finished("logit") / "logit.pt", weights)
    flags = ["--data", few_digits, "--weights", weights, "--limit", "20", "--epochs", "1"]
    words = shlex.join(["logit", *map(str, flags)])
    trials.main([words, "--seeds", "1", "--out", str(tmp_path / "study")])
    torch.save(Logit().state_dict(), weights)
    with pytest.raises(SystemExit, match=r"w\.pt has changed since this run"):
        trials.main([words, "--seeds", "2", "--out", str(tmp_path / "study")])


def test_a_loud_run_without_final_figures_has_failed(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr(trials, "ROOT", tmp_path)
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist/loud.py").write_text("import sys\nsys.stderr.write('x' * 200_000)")
    with pytest.raises(SystemExit, match=r"^trials: loud, seed 0: .*final figures$"):
        trials.main(["loud", "--out", str(tmp_path / "out")])


def test_other_commands_have_other_folders() -> None:
    commands = [["conv", "--data", path] for path in ("dd/a/b.npz", "dd/a-b.npz", "dd-a-b.npz")]
    commands += [["conv"], ["conv", "--weights", "/".join(map(str, range(999)))]]
    names = {trials.folder_name(words) for words in commands}
    assert len(names) == len(commands) and max(map(len, names)) < 120 and "conv" in names


@pytest.mark.parametrize(
    "flags",
    [["logits"], ["gan", "conv"], ["conv", "conv"]]
    + [[f"logit {flag}"] for flag in ("--evaluate", "--seed 3", "--seed=3", "--resume", "--out .")],
)
def test_bad_arguments_start_nothing(flags: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="2"):
        trials.main([*flags, "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
