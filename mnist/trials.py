"""Run scripts with several seeds each, and tell a difference from noise.

python mnist/trials.py conv "conv --precision float32" swa --seeds 8
python mnist/trials.py logit linear --seeds 10 --jobs 2      # two runs at once, a thread each
torchrun --nproc-per-node 2 mnist/trials.py conv --seeds 8   # its processes share the seeds

Each run is a program, and writes to OUT/COMMAND/seed-N. The same command continues a study. To use
several machines, share OUT. The results are OUT/trials.log, trials.json and trials.png.
"""

import hashlib
import json
import os
import re
import shlex
import signal
import sys
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections import Counter
from functools import cache
from pathlib import Path
from statistics import fmean, stdev
from subprocess import DEVNULL, Popen
from typing import NamedTuple

from matplotlib.figure import Figure
from scipy.stats import t

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if not any(Path(folder, "common/run.py").exists() for folder in sys.path[:2]):
    sys.exit(f"{__file__} needs the folder {sys.path[0]}/common: copy it there, too")

from common.data import load
from common.errors import InputError, clear_errors
from common.files import file_hash, script_hash, write_whole
from common.flags import ROOT, from_here, positive, shown
from common.record import PUBLISHED, read_figures

ERRORS = "stderr.txt"  # what a run has printed there, in its folder
TORCHRUN = re.compile(r"RANK|WORLD_SIZE|(LOCAL|GROUP|ROLE|MASTER|TORCHELASTIC)_.*")


class Trial(NamedTuple):
    """One run: a script's name and flags, a random seed, and the folder of the run's files."""

    words: list[str]
    seed: int
    folder: Path

    def __str__(self) -> str:
        return f"{shlex.join(self.words)}, seed {self.seed}"

    @property
    def script(self) -> Path:
        return ROOT / f"mnist/{self.words[0]}.py"

    @property
    def path(self) -> Path:
        """Its figures: they are not there before the first epoch."""
        return self.folder / f"{self.words[0]}.json"

    def finished(self) -> bool:
        return self.path.exists() and read_figures(self.path).final is not None

    def check(self, mixed: bool) -> None:
        """Raise InputError if the run here is of another command or, unless mixed, out of date."""
        if not self.path.exists():
            return
        header, place = read_figures(self.path).header, shown(self.folder.parent)
        given = [*self.words[1:], "--seed", str(self.seed), "--out"]
        commands = [["python", shown(self.script), *x, *given] for x in ([], ["--threads", "1"])]
        if not header["command"].startswith(tuple(f"{shlex.join(x)} " for x in commands)):
            raise InputError(f"{self}: {place} has the run of another command; move it elsewhere")
        if mixed:
            return
        form, command = (tuple(header["shape"]), len(header["classes"])), shlex.join(self.words)
        weights, hashed = read_flags(command).weights, header.get("weights hash")
        if header.get("script hash") != script_hash(self.script):
            changed = shown(self.script)
        elif (header.get("data") or {}).get("hash") != data_hash(command, *form):
            changed = "the data"
        elif hashed and file_hash(weights) != hashed:
            changed = str(weights)
        else:
            return
        text = f"{changed} has changed since this run; move {place} elsewhere to start anew"
        raise InputError(f"{self}: {text}, or give --mixed to go on all the same")


def read_flags(command: str) -> Namespace:
    """Return the flags of a command that say what it reads."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--data", type=Path, default=ROOT / "mnist/data")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--weights", type=Path)
    for switch in ("--validate", "--ink"):
        parser.add_argument(switch, action="store_true")
    return parser.parse_known_args(shlex.split(command))[0]


@cache
def data_hash(command: str, shape: tuple[int, int, int], classes: int) -> str:
    """Return the hash of the data that a command reads, as the header of its run has it."""
    flags = read_flags(command)
    found = load(flags.data, shape, classes, flags.limit, flags.validate, flags.ink)
    return str(found.about["hash"])


def folder_name(words: list[str]) -> str:
    """Return a command's name for its folder; those with other signs end in a short hash."""
    command, name = shlex.join(words), re.sub(r"[^\w.]+", "-", " ".join(words))
    if re.fullmatch(r"[\w.]+( (--[a-z-]+|[\w.]+))*", command) and len(name) <= 100:
        return name
    return f"{name[:100]}-{hashlib.sha256(command.encode()).hexdigest()[:6]}"


def main(argv: list[str] | None = None) -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    add, count, out = parser.add_argument, positive(int), ROOT / "mnist/out/trials"
    add("commands", nargs="+", type=shlex.split, metavar="COMMAND", help="script and flags, quoted")
    add("--seeds", type=count, default=3, metavar="N", help="seeds from 0 on (default: 3)")
    add("--jobs", type=count, default=1, metavar="N", help="parallel runs (default: 1)")
    add("--out", type=Path, default=out, metavar="DIR", help="folder for runs and results")
    add("--mixed", action="store_true", help="keep runs of an older script, other data or weights")
    flags = parser.parse_args(argv)
    names = [words[0] if words else "" for words in flags.commands]
    if missing := [name for name in names if not (ROOT / f"mnist/{name}.py").exists()]:
        parser.error(f"there is no mnist/{missing[0]}.py")
    given = {word.partition("=")[0] for words in flags.commands for word in words}
    if refused := given & {"--evaluate", "--out", "--resume", "--seed"}:
        parser.error(f"leave {', '.join(sorted(refused))} out of the commands")
    scripts = [(ROOT / f"mnist/{name}.py").read_text(encoding="utf-8") for name in names]
    judged = ["common.scores" in script for script in scripts]
    if any(judged) and not all(judged):
        parser.error("generated digits' distance cannot be compared with a classifier's accuracy")
    runs = {flags.out / folder_name(words): words for words in flags.commands}
    if len(runs) < len(names):
        parser.error("two commands are the same")
    trials = [
        [Trial(words, seed, folder / f"seed-{seed}") for folder, words in runs.items()]
        for seed in range(flags.seeds)
    ]
    rank, processes = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    with clear_errors("trials", "; the same command continues"):
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # torchrun ends processes so
        for trial in (trial for row in trials for trial in row):
            trial.check(flags.mixed)
        share = [trial for row in trials[rank::processes] for trial in row]
        run(share, flags.jobs, trials[0][0], all(judged))
        if rank == 0:
            while not all(trial.finished() for row in trials for trial in row):
                time.sleep(1)
            report(trials, flags.out, sys.argv[1:] if argv is None else argv)


def run(trials: list[Trial], jobs: int, first: Trial, judged: bool) -> None:
    """Run the trials, `jobs` at once; if one fails, or at Ctrl-C, end all that are running.

    If MNIST has to be fetched, `first` does it: the others begin when it has its data.
    """
    environment = {name: x for name, x in os.environ.items() if not TORCHRUN.fullmatch(name)}
    threads = ["--threads", "1"] if jobs * int(os.environ.get("LOCAL_WORLD_SIZE", 1)) > 1 else []
    waiting = [trial for trial in trials if not trial.finished()]
    print(f"finished earlier: {len(trials) - len(waiting)} of {len(trials)} runs", file=sys.stderr)
    running = list[tuple[Trial, Popen[bytes]]]()
    try:
        while waiting or running:
            if waiting and len(running) < jobs and (waiting[0] is first or first.path.exists()):
                trial = waiting.pop(0)
                if judged:
                    for judge in (ROOT / "mnist/out/conv.json", ROOT / "mnist/out/conv.pt"):
                        if judge.exists() or not (PUBLISHED / "conv/seed-0.pt").exists():
                            write_whole(trial.folder / judge.name, judge.read_bytes())
                command = [sys.executable, str(trial.script)]
                command += [*threads, *trial.words[1:], "--seed", str(trial.seed)]
                command += ["--out", from_here(trial.folder), "--resume"]
                trial.folder.mkdir(parents=True, exist_ok=True)
                with open(trial.folder / ERRORS, "wb") as errors:
                    child = Popen(command, env=environment, stdout=DEVNULL, stderr=errors)
                running.append((trial, child))
            for trial, child in [pair for pair in running if pair[1].poll() is not None]:
                running.remove((trial, child))
                if child.returncode:
                    told = (trial.folder / ERRORS).read_text(errors="replace").splitlines()
                    raise InputError(f"{trial}: {told[-1] if told else 'ended by a signal'}")
                if not trial.finished():
                    raise InputError(f"{trial}: ended without final figures")
                print(f"{trial}: finished", file=sys.stderr)
            time.sleep(0.1)
    finally:
        for _, child in running:
            child.terminate()
            child.wait()


def report(trials: list[list[Trial]], out: Path, argv: list[str]) -> None:
    """Print and save what finished trials, one row a seed, have shown."""
    runs = [[read_figures(trial.path) for trial in row] for row in trials]
    shared = set.intersection(*(set(run.final or {}) for run in runs[0]))
    key = next((name for name in ("accuracy", "read", "bound") if name in shared), "distance")
    unit = {"accuracy": "%", "read": "%", "bound": " nats"}.get(key, "")
    results = dict[str, list[float]]()
    for trial, column in zip(trials[0], zip(*runs, strict=True), strict=True):
        name = shlex.join(trial.words)
        finals = [run.final or {} for run in column]
        if not all(key in final for final in finals):
            raise InputError(f"{name}: a run has no {key}")
        results[name] = [final[key] for final in finals]
        last = [
            (run.epochs or [{}])[-1].get(key, final[key])
            for run, final in zip(column, finals, strict=True)
        ]
        if last != results[name]:  # an average of weights: what the last weights alone gave
            results[f"{name} (last weights)"] = last
    names, columns, n = list(results), list(results.values()), len(trials)
    lines = [f"command: {shlex.join(['python', 'mnist/trials.py', *argv])}"]
    lines += [f"date: {time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime())}"]
    judges = {str(x.header.get("judge")).partition(", ")[2] for row in runs for x in row}
    if len(judges) > 1:  # conv was trained again in between
        lines += [f"the runs have {len(judges)} judges: their distances cannot be compared"]
    counts = [Counter(f"{x:.2f}" for x in values) for values in columns]
    lines += ["", f"{key}| {'  '.join(names)}", f"{'-' * 8}| {'-' * len('  '.join(names))}"]
    for value in sorted(set().union(*counts), key=float):
        cells = [f"{c[value] or '':<{len(name)}}" for c, name in zip(counts, names, strict=True)]
        lines.append(f"{value:8}| {'  '.join(cells)}".rstrip())
    lines.append("")
    for i, (name, values) in enumerate(results.items()):
        lines.append(f"{name}: {fmean(values):.3f}{unit}")
        if n > 1:
            lines[-1] += f" ± {stdev(values):.3f}"
        for earlier in names[:i] if n > 1 else ():
            differences = [b - a for a, b in zip(results[earlier], values, strict=True)]
            mean, reach = fmean(differences), t.ppf(0.975, n - 1) * stdev(differences) / n**0.5
            lines[-1] += f"; difference from {earlier}: {mean:+.3f}"
            lines[-1] += f", 95% interval {mean - reach:+.3f} to {mean + reach:+.3f}"
    print("\n".join(lines))
    write_whole(out / "trials.log", "\n".join([*lines, ""]).encode())
    write_whole(out / "trials.json", json.dumps({key: results}, indent=1).encode())
    figure = Figure(figsize=(6.4, 3.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.hist(columns, bins=30, label=names)
    axes.set(xlabel=f"{key} {unit}", ylabel="seeds")
    figure.legend(loc="outside upper center")
    axes.locator_params("y", integer=True)
    figure.savefig(out / "trials.png")


if __name__ == "__main__":
    main()
