"""The page of all runs: what it shows, and how it looks in a browser."""

import base64
import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.conftest import ROOT, Finished, nothing_sticks_out, resize, run_script

RESULTS = ROOT / "mnist/results"


def uri(path: Path) -> str:
    return f"data:image/{path.suffix[1:]};base64,{base64.b64encode(path.read_bytes()).decode()}"


@pytest.fixture(scope="module")
def out(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of finished runs, an unfinished one with an older run's picture, other files."""
    folder = tmp_path_factory.mktemp("out")
    for name in ("logit", "gan", "vae"):
        shutil.copytree(finished(name), folder, dirs_exist_ok=True)
    run = json.loads((RESULTS / "conv/seed-0.json").read_bytes())
    run["header"] |= {"command": "python conv.py '<b>'", "test set": "held-out training images"}
    run |= {"epochs": run["epochs"][:2], "final": None}
    (folder / "conv.json").write_text(json.dumps(run))
    shutil.copy(RESULTS / "conv/10-epochs-seed-1.json", folder / "my conv.json")
    for color, name in enumerate(("conv.png", "my conv.png")):
        Image.new("L", (4, 4), color).save(folder / name)
    shutil.copytree(finished("logit"), folder / "earlier/logit-2026")
    (folder / "damaged.json").write_bytes((folder / "logit.json").read_bytes()[:100])
    (folder / "other.json").write_text("[1, 2]")
    (folder / "plain.json").write_text('{"header": {"name": "conv"}, "epochs": [], "final": null}')
    return folder


@pytest.fixture(scope="module")
def html(out: Path) -> str:
    done = run_script("report", "--out", str(out))
    assert done.returncode == 0
    for line, name in zip(done.stderr.splitlines(), ("damaged", "other"), strict=True):
        assert f"{name}.json" in line
    return (out / "index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def sections(html: str) -> dict[str, str]:
    """The page's HTML from one run's heading to the next."""
    return {part.split("</h2>")[0]: part for part in re.split(r"<h2 [^>]*>", html)[1:]}


def test_figures_header_and_log_of_a_run(out: Path, sections: dict[str, str]) -> None:
    run = json.loads((out / "logit.json").read_bytes())
    for text in (
        f"<dd>{run['final']['accuracy']:.2f}%</dd>",
        f"<dd>{run['epochs'][-1]['loss']:.4g}</dd>",
        '<p class="note header">date: ',
        "mismatches:",  # a line of the log
    ):
        assert text in sections["logit"]
    assert sections["logit"].count("<svg ") == 2
    # The few digits are other data than those of published runs.
    assert "<h3>Published (on MNIST: other data" in sections["logit"]
    assert "on MNIST" not in sections["conv"]


def test_unfinished_run(out: Path, sections: dict[str, str]) -> None:
    assert "Not finished: 2 of 50 epochs." in sections["conv"]
    assert uri(out / "conv.png") not in sections["conv"]
    assert "<b>" not in sections["conv"]
    assert "held-out accuracy after each epoch" in sections["conv"]


def test_published_runs_of_the_same_script(sections: dict[str, str]) -> None:
    for path in (RESULTS / "conv").glob("*.json"):
        assert f'<th scope="row">conv/{path.stem}</th>' in sections["conv"]
    assert "published, conv/seed-0<" in sections["conv"]
    assert "published, conv/10-epochs-seed-1<" in sections["my conv"]
    assert uri(RESULTS / "conv/seed-0.png") in sections["my conv"]


def test_all_is_in_the_page(out: Path, html: str, sections: dict[str, str]) -> None:
    links = dict(re.findall(r'<a href="#([\w-]+)">(.+?)</a>', html))
    expected = ["conv", "gan", "logit", "my conv", "vae", "earlier/logit-2026/logit"]
    assert list(links.values()) == expected
    assert "#0102" not in html  # the colors of curves are those of the page, light or dark
    names = re.findall(r' id="(.*?)"', html)
    assert len(names) == len(set(names)) and set(links) <= set(names)
    for address in re.findall(r'(?:src|href)="(.*?)"|url\((.*?)\)', html):
        assert max(address).startswith("data:") or max(address)[1:] in names
    for path in (out / "gan01.png", out / "gan03.png", out / "gan.gif", RESULTS / "gan/seed-0.gif"):
        assert uri(path) in sections["gan"]
    assert uri(out / "vae.rebuilt.png") in sections["vae"] and "nats</dd>" in sections["vae"]


@pytest.mark.usefixtures("html")
@pytest.mark.parametrize("width", [1280, 390])
def test_page_in_a_browser(browser: webdriver.Chrome, out: Path, width: int) -> None:
    resize(browser, width)
    browser.get((out / "index.html").as_uri())
    assert browser.get_log("browser") == []
    assert nothing_sticks_out(browser)
    slider = browser.find_element(By.CSS_SELECTOR, "input[type=range]")
    for key, epoch in ((Keys.END, 3), (Keys.ARROW_LEFT, 2), (Keys.HOME, 1)):
        slider.send_keys(key)
        images = browser.find_element(By.CSS_SELECTOR, ".frames").find_elements(By.TAG_NAME, "img")
        (shown,) = [image.get_attribute("alt") for image in images if image.is_displayed()]
        assert shown == f"Digits of gan after epoch {epoch}"
        assert browser.find_element(By.CSS_SELECTOR, ".frames output").text == str(epoch)
