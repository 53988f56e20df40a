"""The fetch, against an HTTP server on loopback: what arrives, what fails, what stays behind."""

import functools
import gzip
import hashlib
import struct
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import common.mnist
from common.fetch import FILES, fetch
from common.mnist import mnist
from tests.conftest import Patch

# A data set of five images, in the place of MNIST's own files.
SHAPES = [(3, 28, 28), (3,), (2, 28, 28), (2,)]
CONTENT = {
    name: gzip.compress(
        struct.pack(f">4B{len(shape)}I", 0, 0, 8, len(shape), *shape)
        + bytes(784 * shape[0] if len(shape) > 1 else shape[0])
    )
    for name, shape in zip(FILES, SHAPES, strict=True)
}
HASHES = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}
BEFORE = {"README.md": b"stays"}
COMPLETE = {**BEFORE, **CONTENT}
ASKED: list[str] = []  # the mirrors of all requests


class Mirrors(BaseHTTPRequestHandler):
    """A mirror of each kind, named by the first part of the path: /good/NAME, /missing/NAME..."""

    def do_GET(self) -> None:
        _, kind, name = self.path.split("/")
        ASKED.append(kind)
        content = CONTENT[name]
        if kind == "missing" or (kind == "images" and "images" not in name):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if kind == "wrong":
            content = content[:-1] + bytes([content[-1] ^ 1])
        if kind in ("cut", "stalled"):
            content = content[: len(content) // 2]
        self.wfile.write(content)
        if kind == "stalled":
            self.wfile.flush()
            time.sleep(2)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url(monkeypatch: Patch) -> Iterator[str]:
    """The address of the mirrors, from one of which `mnist` fetches."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    ASKED.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Mirrors) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/"
        good = functools.partial(fetch, mirrors=[f"{url}good/"], files=HASHES)
        monkeypatch.setattr(common.mnist, "fetch", good)
        yield url
        server.shutdown()
        thread.join()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "README.md").write_text("stays")
    return tmp_path


def listing(folder: Path) -> dict[str, bytes]:
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return {name: path.read_bytes() if path.is_file() else b"" for name, path in paths.items()}


def test_mnist_fetches_into_an_empty_folder(url: str, folder: Path) -> None:
    for _ in range(2):
        assert [array.shape for array in mnist(folder).values()] == SHAPES
    assert listing(folder) == COMPLETE
    assert len(ASKED) == 4  # the second time nothing was fetched


def test_nothing_is_fetched_into_a_folder_that_holds_something(url: str, folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    before = listing(folder)
    with pytest.raises(ValueError, match=r"notes\.txt"):
        mnist(folder)
    with pytest.raises(FileNotFoundError):
        mnist(folder / "nowhere")
    assert listing(folder) == before and not ASKED


@pytest.mark.parametrize("kind", ["wrong", "cut", "stalled", "images"])
def test_a_bad_mirror(url: str, folder: Path, kind: str) -> None:
    mirrors = [f"{url}{kind}/", f"{url}missing/"]
    with pytest.raises(OSError) as caught:
        fetch(folder, mirrors, HASHES, timeout=0.3)
    assert all(part in str(caught.value) for part in [str(folder), *mirrors, *CONTENT])
    assert listing(folder) == BEFORE
    fetch(folder, [f"{url}{kind}/", f"{url}good/"], HASHES, timeout=0.3)
    assert listing(folder) == COMPLETE
