"""The READMEs agree with the published results, the scripts and the commands."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT, run_python

README, GUIDE = ROOT / "README.md", ROOT / "mnist/README.md"
PAGES = [README, GUIDE, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "mnist").glob("*/README.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)


def section(page: Path, heading: str) -> str:
    return page.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_and_pictures_exist(page: Path) -> None:
    for link in re.findall(r"(?:\]\(|src=\")(?!http)([^)\"]+)", BLOCK.sub("", page.read_text())):
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists(), link
        if anchor:  # GitHub makes it of a heading
            headings = re.findall(r"^#+ (.*)$", BLOCK.sub("", target.read_text()), re.M)
            names = [re.sub(r"[^\w -]", "", name.lower()).replace(" ", "-") for name in headings]
            assert anchor in names, link


def test_the_map_has_a_line_for_each_module() -> None:
    modules = {path.stem for path in (ROOT / "common").glob("*.py")} - {"__init__"}
    mapped = re.findall(r"^(\w+) {2,}\w", (ROOT / "common/__init__.py").read_text(), re.M)
    assert sorted(mapped) == sorted(modules)


def test_commands_are_those_that_ci_runs() -> None:
    first, second = BLOCK.findall(README.read_text())[0][1].splitlines()
    assert first == "pip install -r requirements.txt && python mnist/conv.py"
    assert second in (ROOT / ".ci/run").read_text().splitlines()


def test_results_are_those_published() -> None:
    tables = section(ROOT / "mnist/results/README.md", "Means over seeds")
    means = [row.split(" | ") for row in re.findall(r"^\| (.+) \|$", tables, re.M)]
    rows = re.findall(r"^\| (\[.+) \|$", section(README, "Results"), re.M)
    assert len(rows) >= 9
    for row in rows:
        script, _, parameters, epochs, result, n, seconds, link = row.split(" | ")
        log = link.removeprefix("[log](mnist/results/").removesuffix(")")
        [mean] = [mean for mean in means if mean[-1].startswith(f"[0]({log})")]
        assert [epochs, result, n, seconds] == [mean[1], *mean[4:7]]
        path = (ROOT / "mnist/results" / log).with_suffix(".json")
        header = json.loads(path.read_text())["header"]
        assert f"]({header['script']})" in script
        assert parameters == f"{next(iter(header['parameters'].values())):,}"


def test_speed_is_that_of_its_log() -> None:
    lines = (ROOT / "mnist/results/speed.txt").read_text().splitlines()
    assert "\n".join(line for line in lines if line[:1] == "|") in section(README, "Speed")


@pytest.mark.parametrize(("page", "least"), [(README, 2), (GUIDE, 2 * 9)])
def test_excerpts_are_lines_of_their_files(page: Path, least: int) -> None:
    """Each block of code or log against the last file that the paragraph ahead links to."""
    pattern, excerpts = r"((?:.+\n)+)\n```(?:python|text)\n((?:.*\n)*?)```$", 0
    for paragraph, block in re.findall(pattern, page.read_text(), re.M):
        for link in re.findall(r"\]\(([^)#]+\.(?:py|log))\)", paragraph)[-1:]:
            source, position = re.sub(r"\n +", "\n", (page.parent / link).read_text()), 0
            for piece in block.split("..\n"):  # excerpts are not indented as the scripts are
                position = source.find(re.sub(r"\n +", "\n", f"\n{piece}"), position)
                assert position >= 0, piece
            excerpts += 1
    assert excerpts >= least


def test_steps_to_a_script_of_your_own(tmp_path: Path) -> None:
    blocks = BLOCK.findall(section(GUIDE, "A script as a template"))
    copy, attempt, *_ = "".join(block for kind, block in blocks if kind == "sh").splitlines()
    network, training = (block for kind, block in blocks if kind == "python")
    ignored = shutil.ignore_patterns("out", "results")
    for part in ("common", "mnist"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=ignored)
    subprocess.run(copy.split(), cwd=tmp_path, check=True)
    script = tmp_path / "mnist/allconv.py"
    text = re.sub(r"^class .*?^def ", f"{network}\n\ndef ", script.read_text(), flags=re.M | re.S)
    text = text.replace("place(ConvNet", "place(AllConvNet")
    for line in training.splitlines():
        text, count = re.subn(rf"\b{re.escape(line.split('(')[0])}\(.*", line, text)
        assert count == 1, line
    script.write_text(text)
    run_python(*attempt.split()[1:], cwd=tmp_path)
    header = json.loads((tmp_path / "mnist/out/allconv.json").read_text())["header"]
    assert header["networks"] == {"model": "AllConvNet"}
    assert header["parameters"] == {"model": 50186}
