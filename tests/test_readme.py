"""What the README says is what the logs hold, and its links and pictures exist."""

import contextlib
import io
import math
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.idx import read_idx
from tests.conftest import ROOT

GUIDE = ROOT / "mnist" / "README.md"
SCRIPTS = sorted(set(GUIDE.parent.glob("*.py")) - {GUIDE.parent / "__init__.py"})
READMES = [ROOT / "README.md", *sorted((ROOT / "mnist").glob("**/README.md"))]
WEIGHTS = "The weights in a program of your own"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)


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
    for script, idea, parameters, epochs, accuracy, seeds, seconds, links in rows:
        logs = re.findall(r"\[(\d+)\]\(([^)]*\.log)\)", links)
        assert logs, script
        precision = re.search(r" in (\w+\d+)$", idea)
        accuracies, times = [], []
        for number, link in logs:
            log = (ROOT / link).read_text(encoding="utf-8")
            command = re.search(r"^command: python mnist/(\w+)\.py", log, re.M)
            assert command is not None and script.startswith(f"[{command[1]}]")
            assert f"{parameters} parameters" in log
            assert re.search(rf"^epochs: {epochs},.* seed: {number}$", log, re.M)
            assert precision is None or f" threads, {precision[1]}\n" in log
            final = re.search(r"^([\d.]+)% test accuracy", log, re.M)
            assert final is not None
            accuracies.append(float(final[1]))
            time = re.search(r"^seconds: ([\d.,]+) in all", log, re.M)
            assert time is not None
            times.append(float(time[1].replace(",", "")))
        assert seconds == f"{math.ceil(statistics.mean(times)):,}", script
        assert int(seeds) == len(logs)
        expected = f"{down(statistics.mean(accuracies))} %"
        if len(accuracies) > 1:
            expected += f" ± {statistics.stdev(accuracies):.2f}"
        assert accuracy == expected, script


def test_table_of_speed_is_that_of_its_log() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = (ROOT / "mnist/results/speed.txt").read_text(encoding="utf-8").splitlines()
    table = [line for line in lines if line.startswith("| ")]
    assert len(table) == 9  # a head of two lines, and seven scripts
    assert "\n".join(table) in readme
    device, sgemm = (line.partition(": ")[2] for line in lines if line[:6] in ("device", "sgemm:"))
    assert device in readme and sgemm in readme


def test_table_of_the_accelerator_is_that_of_its_log() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = (ROOT / "mnist/results/graph.txt").read_text(encoding="utf-8").splitlines()
    table = [line for line in lines if line.startswith("| ")]
    assert len(table) == 9
    assert "\n".join(table) in readme
    device = next(line.rpartition(", ")[2] for line in lines if line.startswith("device: "))
    torch = next(re.split(r"[+,]", line)[0] for line in lines if line.startswith("torch "))
    assert f"({device}, {torch};" in readme
    (simple,) = (line.strip("| ").split(" | ") for line in table if line.startswith("| simple"))
    text = " ".join(readme.split())
    assert f"from {simple[3]} s an epoch to {simple[4]};" in text
    assert f"alone run for {simple[2]}." in text


def test_ratios_on_the_slower_processor_are_those_of_its_log() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8").split("A slower processor")[1]
    log = (ROOT / "mnist/results/speed-slower.txt").read_text(encoding="utf-8")
    rate = re.search(r"^sgemm: (\d+ GFLOP/s)$", log, re.M)
    assert rate is not None and rate[1] in text
    ratios = [line.split(" | ")[3] for line in log.splitlines() if line.startswith("| ")][2:]
    assert len(ratios) == 7
    assert re.findall(r"0\.\d\d", text.split("(")[0]) == ratios


def test_worth_of_the_fast_parts_stands_in_its_log() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = text.split("The fast parts are few")[1].split("It loses nothing")[0]
    log = (ROOT / "mnist/results/parts.txt").read_text(encoding="utf-8")
    figures = re.findall(r"\b[01]\.\d\d\b", text)
    assert len(figures) > 15
    for figure in figures:
        assert f" | {figure} | " in log, figure


@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_and_pictures_exist(readme: Path) -> None:
    text = readme.read_text(encoding="utf-8")
    links = [*re.findall(r"\]\(([^)]+)\)", text), *re.findall(r'src="([^"]+)"', text)]
    assert links or readme.parent.name in ("results", "data")
    for link in links:
        if not link.startswith("http"):
            file, _, anchor = link.partition("#")
            target = readme.parent / file if file else readme
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


def anchors(path: Path) -> set[str]:
    """Return the names that GitHub gives the headings of a page, to link to.

    They are in small letters, have hyphens for spaces, and no punctuation.
    """
    headings = re.findall(r"^#+ (.*)$", BLOCK.sub("", path.read_text(encoding="utf-8")), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_command_of_the_tests_is_the_one_that_ci_runs() -> None:
    commands = (ROOT / "README.md").read_text().split("```")[1].strip().splitlines()
    assert commands[0] == "pip install -r requirements.txt && python mnist/conv.py"
    assert commands[1] in (ROOT / ".ci/run").read_text().splitlines()


def guide_sections() -> dict[str, str]:
    """Return the text of each section of the guide by its heading."""
    parts = GUIDE.read_text(encoding="utf-8").split("\n## ")[1:]
    return {heading: text for heading, _, text in (part.partition("\n") for part in parts)}


def excerpts() -> list[tuple[str, str, list[str]]]:
    """Return the excerpts of logs and scripts: section, linked file, lines.

    Every block of text or Python is one but for those of the sections that are run as a whole. Its
    file is the last that the paragraph ahead of it links to.
    """
    found = []
    for heading, text in guide_sections().items():
        if heading in ("The digits", WEIGHTS, "A script as a template"):
            continue
        for block in BLOCK.finditer(text):
            if block[1] in ("text", "python"):
                paragraph = text[: block.start()].rstrip().rpartition("\n\n")[2]
                links = re.findall(r"\]\(([^)#]+)\)", paragraph)
                assert links and paragraph.endswith(":"), f"{heading}: no link ahead of\n{block[2]}"
                assert links[-1].endswith((".log", ".txt") if block[1] == "text" else ".py"), links[
                    -1
                ]
                found.append((heading, links[-1], block[2].splitlines()))
    return found


@pytest.mark.parametrize(("section", "link", "lines"), excerpts())
def test_excerpts_are_lines_of_their_files(section: str, link: str, lines: list[str]) -> None:
    source = "\n" + (GUIDE.parent / link).read_text(encoding="utf-8")
    position = 0
    # What stands between two lines of dots follows one another in the file, too.
    for piece in "\n".join(lines).split("\n..\n"):
        found = source.find(f"\n{piece}\n", position)
        assert found >= 0, f"{section}: not in {link}, or not in this order:\n{piece}"
        position = found + len(piece) + 1


def test_each_script_has_its_section() -> None:
    scripts = [heading.split(":")[0] for heading in guide_sections() if ": " in heading]
    assert scripts == sorted(set(scripts), key=scripts.index)
    assert set(scripts) == {path.stem for path in SCRIPTS}


def test_rows_of_runs_agree_with_their_logs() -> None:
    rows = re.findall(
        r"^\| (\d+) \| (\d+) \| (.+?) % \| (.+?) \| \[.*\]\((.*\.log)\) \|$",
        GUIDE.read_text(encoding="utf-8"),
        re.M,
    )
    assert len(rows) >= 6
    for epochs, seed, accuracy, seconds, link in rows:
        log = (GUIDE.parent / link).read_text(encoding="utf-8")
        assert f"\nepochs: {epochs}, " in log
        assert f", seed: {seed}\n" in log
        assert f"\n{accuracy}% test accuracy, " in log
        assert f"\nseconds: {seconds} in all, " in log


def test_every_accuracy_in_the_guide_stands_in_a_log_of_its_section() -> None:
    for heading, text in guide_sections().items():
        links = re.findall(r"\]\((results/[^)]+\.(?:log|txt))\)", text)
        logs = "".join((GUIDE.parent / link).read_text(encoding="utf-8") for link in links)
        for figure in re.findall(r"(\d+\.\d+) ?%", text):
            assert f" {figure}%" in logs or f"\n{figure}%" in logs, f"{heading}: {figure} %"


def test_the_section_on_the_digits_prints_what_it_says(tmp_path: Path) -> None:
    blocks = [block for block in BLOCK.findall(guide_sections()["The digits"]) if block[0] != "sh"]
    names: dict[str, Any] = {}
    printed = ""
    compared = 0
    for kind, content in blocks:
        if kind == "python":
            assert not printed, "output that the guide does not show"
            with contextlib.redirect_stdout(io.StringIO()) as output:
                exec(content, names)
            printed = output.getvalue()
        else:
            shown = [line.rstrip() for line in printed.splitlines()]
            assert content.splitlines() == shown
            printed = ""
            compared += 1
    assert compared == 3
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    names["write_idx"](tmp_path / "array.gz", array)
    np.testing.assert_array_equal(read_idx(tmp_path / "array.gz"), array)


def test_the_weights_in_a_program_of_ones_own(
    trained_conv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program as it stands, in a folder where conv has been trained."""
    (_, program), (_, printed) = BLOCK.findall(guide_sections()[WEIGHTS])
    (tmp_path / "mnist/out").mkdir(parents=True)
    shutil.copy(trained_conv, tmp_path / "mnist/out")
    monkeypatch.chdir(tmp_path)
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(program, {})
    assert output.getvalue() == printed


def test_the_steps_to_a_script_of_ones_own(tmp_path: Path) -> None:
    """The steps as the guide tells them, on a copy of the repository without the data."""
    blocks = BLOCK.findall(guide_sections()["A script as a template"])
    commands = [line for kind, content in blocks if kind == "sh" for line in content.splitlines()]
    renamed, model, loss, flags = (content for kind, content in blocks if kind == "python")

    shutil.copytree(ROOT / "common", tmp_path / "common")
    (tmp_path / "mnist").mkdir()
    shutil.copy(ROOT / "mnist/conv.py", tmp_path / "mnist")
    subprocess.run(commands[0].split(), cwd=tmp_path, check=True)
    script = tmp_path / "mnist/allconv.py"
    text = script.read_text()
    text = re.sub(r"^class ConvNet.*?^def ", f"{model}\n\ndef ", text, flags=re.M | re.S)
    text, count = re.subn(r"place\(ConvNet", "place(AllConvNet", text)
    for line in (renamed, loss, flags):
        beginning = re.escape(line.split("(")[0])
        text, found = re.subn(f"^{beginning}\\(.*\n", line, text, flags=re.M)
        count += found
    assert count == 4
    script.write_text(text)

    program, *arguments = commands[1].split()
    assert program == "python"
    data = ("--data", str(ROOT / "mnist/data"))
    done = subprocess.run(
        [sys.executable, *arguments, *data], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "\nmodel: AllConvNet, 50,186 parameters\n" in done.stdout
    assert re.search(r"^  1\.  lr: 0\.\d{4}  training loss: .* test accuracy: ", done.stdout, re.M)
    written = sorted(path.name for path in (tmp_path / "mnist/out").iterdir())
    assert written == ["allconv.log", "allconv.png", "allconv.pt", "allconv.resume.pt"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_figures_of_a_docstring_stand_in_the_table_or_the_log(script: Path) -> None:
    docstring = script.read_text(encoding="utf-8").split('"""')[1]
    rows = [row for row in table_rows(ROOT / "README.md") if row[0].startswith(f"[{script.stem}]")]
    known = " ".join(cell for row in rows for cell in row)
    for log in re.findall(r"results/[\w-]+\.log", docstring):
        known += (GUIDE.parent / log).read_text(encoding="utf-8")
    for figure in re.findall(r"\d+\.\d\d", re.sub(r"https?://\S+", "", docstring)):
        assert re.search(rf"(?<![\d.]){re.escape(figure)}(?!\d)", known), figure
