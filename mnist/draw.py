"""A page to draw digits on; the classifiers that you have trained read them after each stroke.

python mnist/draw.py                             # opens the page in the browser
python mnist/draw.py --no-browser --port 8000    # prints its address
"""

import base64
import json
import re
import sys
import threading
import webbrowser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import jinja2
import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if not any(Path(folder, "common/run.py").exists() for folder in sys.path[:2]):
    sys.exit(f"{__file__} needs the folder {sys.path[0]}/common: copy it there, too")

from common.batches import draw
from common.checkpoint import load_weights
from common.classifiers import Classifier, load_classifiers, load_reader
from common.errors import InputError, clear_errors
from common.flags import script_parser
from common.mnist import makegrid
from common.pictures import decode, find_digits
from common.reading import read
from common.weights import class_numbers, find_weights
from mnist.cgan import Generator

LARGEST = 4 * 2**20  # bytes of a request
PIXELS = 25_000_000  # of a picture
POLICY = "default-src 'none'; img-src data:; connect-src 'self'"
POLICY += "; style-src 'unsafe-inline'; script-src 'unsafe-inline'; frame-ancestors 'none'"


class Server(ThreadingHTTPServer):
    """The page on 127.0.0.1, and the networks that answer it, one request at a time."""

    def __init__(self, port: int, out: Path) -> None:
        try:
            super().__init__(("127.0.0.1", port), Handler)
        except OSError as error:
            text = f"port {port} cannot be used: {error.strerror}; give --port another number"
            raise InputError(text) from None
        self.lock, self.classifiers = threading.Lock(), list[Classifier]()
        self.reader: Classifier | None = None
        self.generator: Generator | None = None
        try:
            self.classifiers = load_classifiers(out, torch.device("cpu"))
            self.reader = load_reader(out, self.classifiers[0])
        except InputError as error:
            print(f"draw: {error}", file=sys.stderr)
        try:
            generator = Generator()
            self.weights = find_weights("cgan", out)
            load_weights(generator, self.weights)
            self.generator = generator
        except InputError as error:
            print(f"draw: {error}", file=sys.stderr)
        template = Path(__file__).with_suffix(".html.j2").read_text(encoding="utf-8")
        self.page = jinja2.Template(template, autoescape=True).render(vars(self)).encode()

    def read(self, picture: bytes) -> dict[str, Any]:
        """Return the number in a picture as text, and what each network sees in each digit."""
        page = find_digits(decode(picture, most_pixels=PIXELS))
        lines = read(self.classifiers, self.reader, page)
        found = [digit for line in lines for digit in line]
        digits = [digit._asdict() | {"image": data_uri(digit.image)} for digit in found]
        text = "\n".join("".join(digit.answer for digit in line) for line in lines)
        return {"text": "unsure" if text == "?" else text, "digits": digits}

    def draw(self, number: bytes) -> dict[str, Any]:
        """Return a picture of a number's digits, drawn anew by cgan."""
        text = number.decode("ascii", "replace")
        if self.generator is None or len(text) > 20 or not (text.isascii() and text.isdigit()):
            raise InputError("type 1 to 20 digits, for instance 2026")
        asked = torch.tensor(class_numbers(self.weights, text))
        float32, latent = torch.autocast("cpu", enabled=False), torch.randn(len(asked), 100, 1, 1)
        images = draw(self.generator, float32, latent, asked).squeeze(1).numpy()
        return {"picture": data_uri(makegrid(images, 1, len(asked)))}

    def handle_error(self, *_: Any) -> None:
        """Print an error of a request in one line, nothing if it is that the client has gone."""
        error = sys.exception()
        if not isinstance(error, ConnectionError):
            print(f"draw: {type(error).__name__}: {error}", file=sys.stderr)


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of the page itself, and refuses others."""

    server: Server
    timeout = 60  # seconds that a client may be silent

    def do_GET(self) -> None:
        if self.is_ours():
            self.reply(200, "text/html; charset=utf-8", self.server.page)

    def do_POST(self) -> None:
        if not self.is_ours():
            return
        given = self.headers.get("Content-Length", "")
        length = int(given) if re.fullmatch("[0-9]{1,15}", given) else 0
        if length > LARGEST:
            self.refuse(413, "the picture is larger than 4 MB")
            sent = min(length, 16 * LARGEST)  # a client may take no answer before it has sent all
            for i in range(0, sent, 2**16):
                self.rfile.read(min(2**16, sent - i))
            return
        body = self.rfile.read(length)
        try:
            with self.server.lock:
                found = self.server.read(body) if self.path == "/read" else self.server.draw(body)
            self.reply(200, "application/json", json.dumps(found).encode())
        except (InputError, MemoryError) as error:
            self.refuse(400, str(error))

    def is_ours(self) -> bool:
        """Return whether the page itself sends the request; otherwise refuse it."""
        host, origin = self.headers.get("Host"), self.headers.get("Origin")
        port = self.server.server_port
        address = "127.0.0.1" if port == 80 else f"127.0.0.1:{port}"  # as browsers write it
        if host == address and origin in (None, f"http://{address}"):
            return True
        self.refuse(403, "only this page itself may ask")
        return False

    def refuse(self, status: int, reason: str) -> None:
        self.reply(status, "application/json", json.dumps({"error": reason}).encode())

    def reply(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", POLICY)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Print nothing for a request."""


def data_uri(pixels: NDArray[np.uint8]) -> str:
    """Return grey pixels, (h, w) uint8, as the address of a PNG."""
    content = imageio.imwrite("<bytes>", pixels, extension=".png")
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def main(argv: list[str] | None = None) -> None:
    parser = script_parser(__file__, __doc__)
    parser.add_argument("--port", type=int, default=0, metavar="N", help="default: a free port")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    flags = parser.parse_args(argv)
    if not 0 <= flags.port < 2**16:
        parser.error("--port is a number of 0 to 65535")
    with clear_errors("draw"), Server(flags.port, flags.out) as server:
        address = f"http://127.0.0.1:{server.server_port}/"
        print(f"{address}  Ctrl-C ends it", flush=True)
        if not flags.no_browser:
            webbrowser.open(address)
        server.serve_forever()


if __name__ == "__main__":
    main()
