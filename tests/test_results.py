"""The published runs: their figures are those of the logs, the tables are made of them."""

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import ROOT, run_python

RESULTS = ROOT / "mnist/results"
RUNS = sorted(RESULTS.glob("*/*.json"))


def test_tables_are_those_of_the_published_figures(tmp_path: Path) -> None:
    shutil.copytree(RESULTS, tmp_path, dirs_exist_ok=True)
    run_python(tmp_path / "table.py")
    assert (tmp_path / "README.md").read_text() == (RESULTS / "README.md").read_text()

    # Of three more runs the first had one thread, and counts for the accuracy alone.
    run = json.loads((RESULTS / "conv/seed-0.json").read_bytes())
    figures = [(99.57, 1, 90.0), (99.57, 2, 61.0), (99.6, 2, 63.0)]
    for seed, (accuracy, threads, seconds) in enumerate(figures):
        run["header"] |= {"seed": seed, "threads": threads, "epochs": 7}
        run["final"] |= {"accuracy": accuracy, "seconds": seconds}
        (tmp_path / f"conv/7-epochs-seed-{seed}.json").write_text(json.dumps(run))
        text = "" if seed == 2 else "\nclasses: 0 1"  # the last one is of an earlier version
        (tmp_path / f"conv/7-epochs-seed-{seed}.log").write_text(text)
    run_python(tmp_path / "table.py")
    lines = (tmp_path / "README.md").read_text().splitlines()
    mean, *rows = [line for line in lines if line.startswith("| conv | 7 |")]
    assert "| 99.58 ± 0.02 % | 3† | 62 | [0](conv/7-epochs-seed-0.log) " in mean  # 0.0173, rounded
    assert len(rows) == 3 and "| [2](conv/7-epochs-seed-2.log)† | 99.60 % | 63.0 |" in rows[2]


@pytest.mark.parametrize("path", RUNS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_figures_are_those_of_the_log(path: Path) -> None:
    text, run = path.with_suffix(".log").read_text(), json.loads(path.read_bytes())
    header, final = run["header"], run["final"]
    assert path.stem.endswith(f"seed-{header['seed']}") and header["name"] == path.parent.name
    assert (header["test set"], header["tested"]) == ("test images", 10_000)
    assert text.startswith(f"command: {header['command']}\n")
    assert [row["epoch"] for row in run["epochs"]] == [*range(1, header["epochs"] + 1)]
    assert f"\nseconds: {final['seconds']:.1f} in all" in text.replace(",", "")
    if "accuracy" in final:
        assert f"\n{final['accuracy']:.2f}% test accuracy, {final['misread']} of 10,000" in text
    if "bound" in final:
        assert f": {final['bound']:.2f} nats\n" in text
    for row in run["epochs"]:
        shared = row.keys() & {"accuracy", "read", "asked", "distance"}
        values = [f"{row[name]:.2f}" for name in shared]
        assert all(value in text for value in values)
    assert values  # of the last epoch
