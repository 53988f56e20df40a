"""How predict.py reads pages as people photograph them, kind by kind.

python bench/pages.py --out mnist/out          # with the classifiers there: conv of ten epochs
python bench/pages.py cells signs --pages 5    # some kinds, fewer pages

tests/pages.py makes the pages of test images. Right and unsure are shares of the digits. Wrong is
the share of the answers other than `?` that are not the digit in this place.
"""

import contextlib
import io
import re
import sys
import tempfile
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.flags import ROOT, positive
from mnist.predict import main as predict
from tests.pages import KINDS, varied


def main(argv: list[str] | None = None) -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("kinds", nargs="*", metavar="KIND", help=", ".join(KINDS))
    add("--pages", type=positive(int), default=20, metavar="N", help="of a kind (default: 20)")
    add("--first", type=int, default=84, metavar="N", help="number of the first page (default: 84)")
    add("--out", type=Path, default=ROOT / "mnist/out", metavar="DIR", help="has the classifiers")
    flags = parser.parse_args(argv)
    print("| kind | digits | right | unsure | wrong | CPU s a page |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    total = np.zeros(5)
    for kind in flags.kinds or KINDS:
        counts = np.zeros(5)
        for number in range(flags.first, flags.first + flags.pages):
            page = varied(kind, number)
            began = time.process_time()
            found = read(page.picture, flags.out)
            counts += (*score(page.text.replace("\n", ""), found), time.process_time() - began)
        print(row(kind, counts), f"{counts[4] / flags.pages:.2f} |", flush=True)
        total += counts
    print(row("all", total), "|")


def read(picture: Image.Image, out: Path) -> str:
    """Return what predict.py prints of a picture, in one line."""
    with tempfile.TemporaryDirectory() as folder:
        picture.save(f"{folder}/page.png")
        with contextlib.redirect_stdout(io.StringIO()) as output, contextlib.suppress(SystemExit):
            predict([f"{folder}/page.png", "--out", str(out), "--device", "cpu"])
    return "".join(re.findall(r"^[\d?]+$", output.getvalue(), re.MULTILINE))


def score(text: str, found: str) -> tuple[int, int, int, int]:
    """Return how many digits a text has, how many are right, how many unsure, and wrong answers."""
    right = unsure = wrong = 0
    for kind, start, end, begin, stop in SequenceMatcher(None, text, found, False).get_opcodes():
        if kind == "equal":
            right += sum(map(str.isdigit, text[start:end]))
        else:
            unsure += found[begin:stop].count("?")
            wrong += sum(map(str.isdigit, found[begin:stop]))
    return sum(map(str.isdigit, text)), right, unsure, wrong


def row(kind: str, counts: NDArray[np.float64]) -> str:
    """Return a row of the table up to the seconds."""
    digits, right, unsure, wrong, _ = counts
    shares = right / digits, unsure / digits, wrong / max(right + wrong, 1)
    return f"| {kind} | {digits:.0f} | " + "".join(f"{share:.2%} | " for share in shares)


if __name__ == "__main__":
    main()
