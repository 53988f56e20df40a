"""`python mnist/results/table.py` makes the tables in README.md from the published runs."""

import json
import math
from itertools import groupby
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

README = Path(__file__).resolve().with_name("README.md")
SCORES = {
    "accuracy": "{} %",
    "read": "{} % of numbers",
    "asked": "{} % as asked",
    "bound": "bound {} nats",
    "distance": "distance {}",
}
MEANS = "script | epochs | precision | device | result | n | seconds | seeds"
RUNS = "script | epochs | precision | device | seed | result | seconds | threads | torch | date"


def result(runs: list[dict[str, Any]]) -> str:
    """Return the mean ± standard deviation of each of the runs' scores."""
    texts = []
    for name in [name for name in SCORES if name in runs[0]["final"]]:
        values = [run["final"][name] for run in runs]
        mean = fmean(values)
        if name not in ("bound", "distance"):  # percentages are truncated: 99.999 % is not 100
            mean = math.floor(round(100 * mean, 6)) / 100
        spread = f" ± {stdev(values):.2f}" if len(values) > 1 else ""
        texts.append(SCORES[name].format(f"{mean:.2f}{spread}"))
    return ", ".join(texts)


def table(head: str, rows: list[list[Any]]) -> str:
    lines = [head.split(" | "), ["---"] * len(rows[0]), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def main() -> None:
    runs = []
    for path in README.parent.glob("*/*.json"):
        run = json.loads(path.read_bytes())
        h, log = run["header"], f"{path.parent.name}/{path.stem}.log"
        run["recipe"] = [h["name"], h["epochs"], h["precision"], h["device"].partition(",")[0]]
        known = "\nclasses: " in path.with_suffix(".log").read_text(encoding="utf-8")
        run["mark"] = "" if known else "†"  # an earlier version of the script
        runs.append(run | {"link": f"[{h['seed']}]({log}){run['mark']}"})
    runs.sort(key=lambda run: (run["recipe"], run["header"]["seed"]))
    means, singles = [], []
    for recipe, group in groupby(runs, lambda run: run["recipe"]):
        alike = list(group)
        most = max(run["header"]["threads"] for run in alike)
        times = [x["final"]["seconds"] for x in alike if x["header"]["threads"] == most]
        links = " ".join(run["link"] for run in alike)
        n = f"{len(alike)}{max(run['mark'] for run in alike)}"
        means.append([*recipe, result(alike), n, f"{fmean(times):,.0f}", links])
    for run in runs:
        facts = [run["header"]["device"], run["link"], result([run])]
        facts += [f"{run['final']['seconds']:,.1f}"]
        facts += [run["header"][key] for key in ("threads", "torch", "date")]
        singles.append([*run["recipe"][:3], *facts])
    text = README.read_text(encoding="utf-8").partition("## Means")[0]
    text += f"## Means over seeds\n\n{table(MEANS, means)}\n## All runs\n\n{table(RUNS, singles)}"
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
