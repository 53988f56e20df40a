"""What the README says is what the logs hold, and its links and pictures exist."""

import math
import re
import statistics
from pathlib import Path

import pytest

from tests.conftest import ROOT

READMES = [ROOT / "README.md", *sorted((ROOT / "mnist").glob("README.md"))]


def table_rows(path: Path) -> list[list[str]]:
    """Return the cells of the rows of the table of results."""
    text = path.read_text(encoding="utf-8").split("<!-- results")[1]
    rows = [line for line in text.split("\n## ")[0].splitlines() if line.startswith("| [")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def down(value: float) -> str:
    """Return a percentage cut to two decimals: never rounded up."""
    return f"{math.floor(round(value * 100, 6)) / 100:.2f}"


def test_table_agrees_with_the_logs() -> None:
    rows = table_rows(ROOT / "README.md")
    assert len(rows) >= 5
    for script, _, parameters, epochs, accuracy, seeds, links in rows:
        logs = re.findall(r"\(([^)]*\.log)\)", links)
        assert logs, script
        accuracies = []
        for link in logs:
            log = (ROOT / link).read_text(encoding="utf-8")
            assert re.search(r"^command: python mnist/(\w+)\.py", log, re.M)[1] in script  # type: ignore[index]
            assert f"{parameters} parameters" in log
            assert f"epochs: {epochs}," in log
            final = re.search(r"^([\d.]+)% test accuracy", log, re.M)
            assert final is not None
            accuracies.append(float(final[1]))
        assert int(seeds) == len(logs)
        expected = f"{down(statistics.mean(accuracies))} %"
        if len(accuracies) > 1:
            expected += f" ± {statistics.stdev(accuracies):.2f}"
        assert accuracy == expected, script


@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_and_pictures_exist(readme: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", readme.read_text(encoding="utf-8"))
    assert links
    for link in links:
        if not link.startswith("http"):
            assert (readme.parent / link).exists(), link


def test_the_command_of_the_tests_is_the_one_that_ci_runs() -> None:
    commands = (ROOT / "README.md").read_text().split("```")[1].strip().splitlines()
    assert commands[0] == "pip install -r requirements.txt && python mnist/conv.py"
    assert commands[1] in (ROOT / ".ci/run").read_text().splitlines()
