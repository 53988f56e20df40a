"""The page to draw on, in a browser, and the requests that it refuses."""

import http.client
import io
import json
import math
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from tests.conftest import ROOT

Point = tuple[float, float]


def start(out: Path) -> tuple[subprocess.Popen[str], int]:
    """Start draw.py, and return the process and its port."""
    command = [sys.executable, str(ROOT / "mnist/draw.py"), "--no-browser", "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    found = re.search(r"127\.0\.0\.1:(\d+)/", process.stdout.readline())
    assert found
    return process, int(found[1])


@pytest.fixture(scope="module")
def port(trained_conv: Path) -> Iterator[int]:
    process, port = start(trained_conv.parent)
    yield port
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130


def ask(port: int, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    return response.status, response.read()


def png(picture: Image.Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, "png")
    return content.getvalue()


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (403, b"", {"Host": "example.org"}),
        (403, b"", {"Origin": "http://example.org"}),
        (413, bytes(4 * 2**20 + 1), {}),
        (400, b"no picture", {}),
    ],
)
def test_refused_with_a_line_and_goes_on(
    port: int, status: int, body: bytes, headers: dict[str, str]
) -> None:
    found, content = ask(port, "POST", "/read", body, **headers)
    assert found == status and "\n" not in json.loads(content)["error"]
    status, content = ask(port, "POST", "/read", png(Image.new("L", (300, 200), 255)))
    assert status == 200 and json.loads(content) == {"text": "", "digits": []}


def test_other_hosts_do_not_get_the_page(port: int) -> None:
    assert ask(port, "GET", "/", Host="example.org")[0] == 403


def test_nothing_trained_yet_says_what_to_do(tmp_path: Path) -> None:
    process, port = start(tmp_path)
    page = ask(port, "GET", "/")[1].decode()
    process.terminate()
    process.wait()
    assert "python mnist/conv.py --epochs" in page and "python mnist/cgan.py" in page


def stroke(browser: webdriver.Chrome, points: list[Point]) -> None:
    """Draw a line through points, in shares of the canvas from its centre."""
    canvas = browser.find_element(By.ID, "canvas")
    width, height = canvas.size["width"], canvas.size["height"]
    actions = ActionChains(browser, duration=0)
    for i, (x, y) in enumerate(points):
        actions.move_to_element_with_offset(canvas, round(x * width), round(y * height))
        if i == 0:
            actions.click_and_hold()
    actions.release().perform()


ONE = [(0, y / 10) for y in range(-3, 4)]
ZERO = [(math.cos(t / 3) / 9, math.sin(t / 3) / 3.5) for t in range(20)]


@pytest.mark.parametrize(
    ("strokes", "answer"),
    [
        ([ONE], "1"),
        ([ZERO], "0"),
        ([[(x - 0.2, y) for x, y in ONE], [(x + 0.2, y) for x, y in ZERO]], "10"),
    ],
)
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_strokes_are_read(
    browser: webdriver.Chrome,
    port: int,
    strokes: list[list[Point]],
    answer: str,
    width: int,
    scheme: str,
) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    browser.get(f"http://127.0.0.1:{port}/")
    for points in strokes:
        stroke(browser, points)
    verdict = browser.find_element(By.ID, "verdict")
    WebDriverWait(browser, 10).until(lambda _: verdict.text == answer)
    assert len(browser.find_elements(By.CSS_SELECTOR, ".digit img")) == len(strokes)
    root = "document.documentElement"
    assert browser.execute_script(f"return {root}.scrollWidth <= {root}.clientWidth")
    sources = browser.execute_script(
        "return performance.getEntriesByType('resource').map(entry => entry.name)"
    )
    assert all(name.startswith((f"http://127.0.0.1:{port}/", "data:")) for name in sources)
    browser.find_element(By.ID, "undo").click()
    WebDriverWait(browser, 10).until(lambda _: verdict.text != answer)
    browser.find_element(By.ID, "clear").click()
    WebDriverWait(browser, 10).until(lambda _: verdict.text == "")
