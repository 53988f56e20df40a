"""The page to draw on, in a browser, and the requests that it refuses."""

import http.client
import io
import json
import math
import re
import signal
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from mnist.draw import Server, main
from tests.conftest import nothing_sticks_out, resize, start_script

Point = tuple[float, float]


@pytest.fixture(scope="module")
def port(trained_conv: Path) -> Iterator[int]:
    """The port at which draw.py answers."""
    with start_script("draw", "--no-browser", "--out", str(trained_conv.parent)) as process:
        assert process.stdout
        found = re.search(r"127\.0\.0\.1:(\d+)/", process.stdout.readline())
        assert found
        yield int(found[1])
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        assert process.stderr and process.stderr.read().endswith("\ndraw: stopped\n")


@cache
def large_picture() -> bytes:
    """A PNG of 13,000 x 13,000 pixels."""
    file = io.BytesIO()
    Image.new("1", (13_000, 13_000)).save(file, "png")
    return file.getvalue()


def ask(port: int, method: str, body: bytes = b"", **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, "/" if method == "GET" else "/read", body, headers)
    response = connection.getresponse()
    return response.status, response.read().decode()


@pytest.mark.parametrize(
    ("status", "method", "body", "headers"),
    [
        (403, "GET", b"", {"Host": "example.org"}),
        (403, "POST", b"", {"Origin": "http://example.org"}),
        (413, "POST", bytes(4 * 2**20 + 1), {}),
        (413, "POST", b"", {"Content-Length": "1500000000"}),
        (400, "POST", b"no picture", {}),
        (400, "POST", b"", {"Content-Length": "abc"}),
        (400, "POST", large_picture(), {}),
    ],
)
def test_refused_with_a_line_and_goes_on(
    port: int, status: int, method: str, body: bytes, headers: dict[str, str]
) -> None:
    found, content = ask(port, method, body, **headers)
    assert found == status and "\n" not in json.loads(content)["error"]
    assert ask(port, "GET")[0] == 200


def test_port_80_is_not_in_the_host(tmp_path: Path) -> None:
    with Server(0, tmp_path) as server:
        port, server.server_port = server.server_port, 80
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert ask(port, "GET", Host="127.0.0.1")[0] == 200
        server.shutdown()


@pytest.mark.parametrize(("port", "told"), [("70000", "2"), ("-1", "2"), ("0", "port .* cannot")])
def test_a_port_that_cannot_be_used(port: str, told: str, tmp_path: Path) -> None:
    with Server(0, tmp_path) as first, pytest.raises(SystemExit, match=told):
        port = str(first.server_port) if port == "0" else port
        main(["--no-browser", "--port", port, "--out", str(tmp_path)])


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
    ("strokes", "answer", "width"),
    [
        ([ONE], "1", 390),
        ([[(x - 0.2, y) for x, y in ONE], [(x + 0.2, y) for x, y in ZERO]], "10", 1280),
    ],
)
def test_strokes_are_read(
    browser: webdriver.Chrome, port: int, strokes: list[list[Point]], answer: str, width: int
) -> None:
    resize(browser, width)
    browser.get(f"http://127.0.0.1:{port}/")
    for points in strokes:
        stroke(browser, points)
    verdict = browser.find_element(By.ID, "verdict")
    WebDriverWait(browser, 10).until(lambda _: verdict.text == answer)
    assert len(browser.find_elements(By.CSS_SELECTOR, ".digit img")) == len(strokes)
    assert nothing_sticks_out(browser)
    browser.find_element(By.ID, "undo").click()
    WebDriverWait(browser, 10).until(lambda _: verdict.text != answer)
    browser.find_element(By.ID, "clear").click()
    WebDriverWait(browser, 10).until(lambda _: verdict.text == "")
