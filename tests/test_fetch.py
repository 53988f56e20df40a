"""The fetch, against an HTTP server on loopback: what arrives, what fails, what stays behind."""

import contextlib
import functools
import gzip
import hashlib
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import common.mnist
from common.fetch import ARRIVED, ARRIVING, FILES, MIRRORS, fetch
from common.mnist import NAMES, mnist

ROOT = Path(__file__).resolve().parent.parent


def idx(*shape: int, value: int) -> bytes:
    count = 784 * shape[0] if len(shape) > 1 else shape[0]
    return struct.pack(f">4B{len(shape)}I", 0, 0, 8, len(shape), *shape) + bytes([value]) * count


# A data set of five images, in the place of MNIST's own files.
CONTENT = {
    f"{NAMES['x']}.gz": gzip.compress(idx(3, 28, 28, value=1)),
    f"{NAMES['y']}.gz": gzip.compress(idx(3, value=2)),
    f"{NAMES['X']}.gz": gzip.compress(idx(2, 28, 28, value=3)),
    f"{NAMES['Y']}.gz": gzip.compress(idx(2, value=4)),
}
HASHES = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}


class Mirrors(BaseHTTPRequestHandler):
    """A mirror of each kind, named by the first part of the path: /good/NAME, /missing/NAME..."""

    def do_GET(self) -> None:
        _, kind, name = self.path.split("/")
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        content = CONTENT[name]
        if kind == "missing" or (kind == "images" and "images" not in name):
            self.send_error(404)
            return
        if kind == "silent":
            self.server.closing.wait(10)  # type: ignore[attr-defined]
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
            self.server.closing.wait(10)  # type: ignore[attr-defined]

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """The server of all mirrors, with a list of the paths it was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Mirrors)
        self.asked: list[str] = []
        self.closing = threading.Event()

    def mirror(self, kind: str) -> str:
        """Return the address of a mirror; `nobody` is one where nothing listens."""
        if kind == "nobody":
            with socket.socket() as unused:
                unused.bind(("127.0.0.1", 0))
                return f"http://127.0.0.1:{unused.getsockname()[1]}/"
        return f"http://127.0.0.1:{self.server_port}/{kind}/"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "the data"
    folder.mkdir()
    (folder / "README.md").write_text("stays")
    return folder


def listing(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


BEFORE = {"README.md": b"stays"}
COMPLETE = {**BEFORE, **CONTENT}


def assert_complete(folder: Path) -> None:
    assert listing(folder) == COMPLETE
    assert sorted(path.name for path in folder.iterdir()) == sorted(COMPLETE)


def test_fetch(server: Server, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fetch(folder, [server.mirror("good")], HASHES)
    assert_complete(folder)
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines() == [f"fetching {server.mirror('good')}{name}" for name in CONTENT]


def test_mnist_fetches_into_an_empty_folder(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = functools.partial(fetch, mirrors=[server.mirror("good")], files=HASHES)
    monkeypatch.setattr(common.mnist, "fetch", good)
    for _ in range(2):
        data = mnist(folder)
        assert [(key, len(a), int(a.flat[0])) for key, a in data.items()] == [
            ("x", 3, 1),
            ("y", 3, 2),
            ("X", 2, 3),
            ("Y", 2, 4),
        ]
    assert_complete(folder)
    assert len(server.asked) == 4  # the second time nothing was fetched


def test_processes_of_torchrun_fetch_once(server: Server, folder: Path, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import functools, sys; sys.path.insert(0, sys.argv.pop(1))\n"
        "import common.mnist; from common.fetch import fetch; from mnist import swa\n"
        f"mirrors, files = [{server.mirror('good')!r}], {HASHES!r}\n"
        "common.mnist.fetch = functools.partial(fetch, mirrors=mirrors, files=files)\n"
        "swa.main()\n"
    )
    flags = ["--trials", "2", "--epochs", "1", "--data", str(folder), "--out", str(tmp_path)]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*torchrun, str(program), str(ROOT), *flags, "--device", "cpu"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "\nseconds: " in done.stdout
    assert_complete(folder)
    assert len(server.asked) == 4


BAD = {
    "missing": "HTTP Error 404",
    "wrong": "invalid hash value",
    "cut": "invalid hash value|IncompleteRead",
    "silent": "timed out",
    "stalled": "timed out",
    "nobody": "refused",
}


@pytest.mark.parametrize("kind", BAD)
def test_next_mirror_after_a_bad_one(server: Server, folder: Path, kind: str) -> None:
    fetch(folder, [server.mirror(kind), server.mirror("good")], HASHES, timeout=0.3)
    assert_complete(folder)


@pytest.mark.parametrize("kind", BAD)
def test_no_good_mirror(server: Server, folder: Path, kind: str) -> None:
    mirrors = [server.mirror(kind), server.mirror("missing")]
    with pytest.raises(OSError) as caught:
        fetch(folder, mirrors, HASHES, timeout=0.3)
    message = str(caught.value)
    assert "\n" not in message and re.search(BAD[kind], message)
    assert all(part in message for part in [str(folder), *mirrors, *CONTENT])
    assert listing(folder) == BEFORE and len(list(folder.iterdir())) == 1
    assert socket.getdefaulttimeout() is None


def test_each_mirror_has_a_part(server: Server, folder: Path) -> None:
    fetch(folder, [server.mirror("images"), server.mirror("good")], HASHES)
    assert_complete(folder)
    first, *others = CONTENT
    assert server.asked == [
        f"/images/{first}",
        f"/images/{others[0]}",
        *(f"/good/{name}" for name in others),
    ]


def test_all_or_none(server: Server, folder: Path) -> None:
    with pytest.raises(OSError, match="404"):
        fetch(folder, [server.mirror("images")], HASHES)
    assert listing(folder) == BEFORE


def test_killed_half_way(server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a killed fetch leaves behind is taken for nothing, and the next fetch removes it."""
    program = (
        "import pathlib, sys; sys.path.insert(0, sys.argv[1]); from common.fetch import fetch;"
        "fetch(pathlib.Path(sys.argv[2]), sys.argv[3:5], eval(sys.argv[5]))"
    )
    mirrors = [server.mirror("images"), server.mirror("stalled")]
    arguments = [str(ROOT), str(folder), *mirrors, repr(HASHES)]
    with subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stderr=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + 60
        while not any(path.startswith("/stalled/") for path in server.asked):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    left = listing(folder).keys() - BEFORE.keys()
    assert left and all(name.startswith(f"{ARRIVING}/") for name in left)

    good = functools.partial(fetch, mirrors=[server.mirror("good")], files=HASHES)
    monkeypatch.setattr(common.mnist, "fetch", good)
    assert len(mnist(folder)["x"]) == 3
    assert_complete(folder)


def test_killed_while_files_move_to_their_places(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A set that is complete but only half in place is put in place without another fetch."""
    (folder / ARRIVED).mkdir()
    for i, (name, content) in enumerate(CONTENT.items()):
        (folder / ARRIVED / name if i % 2 else folder / name).write_bytes(content)
    again = functools.partial(fetch, mirrors=[server.mirror("good")], files=HASHES)
    monkeypatch.setattr(common.mnist, "fetch", again)
    assert len(mnist(folder)["x"]) == 3
    assert_complete(folder)
    assert server.asked == []


def test_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("no folder")
    with pytest.raises(OSError, match=re.escape(f"into {file};")):
        fetch(file, [], HASHES)


def test_progress_bar_on_a_terminal(server: Server, folder: Path) -> None:
    fcntl, pty, termios = (pytest.importorskip(name) for name in ("fcntl", "pty", "termios"))
    program = (
        "import pathlib, sys; sys.path.insert(0, sys.argv[1]); from common.fetch import fetch;"
        "fetch(pathlib.Path(sys.argv[2]), sys.argv[3:4], eval(sys.argv[4]))"
    )
    arguments = [str(ROOT), str(folder), server.mirror("good"), repr(HASHES)]
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))  # rows, columns
    subprocess.run([sys.executable, "-c", program, *arguments], stderr=theirs, check=True)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the end, once all has been read
        while piece := os.read(ours, 4096):
            shown += piece
    os.close(ours)
    assert shown.count(b"100%") >= 4


def test_what_is_fetched_by_default() -> None:
    assert set(FILES) == {f"{name}.gz" for name in NAMES.values()}
    assert all(re.fullmatch("[0-9a-f]{64}", sha256) for sha256 in FILES.values())
    assert len(MIRRORS) == 2 and all(re.fullmatch("https://.*/mnist/", url) for url in MIRRORS)
