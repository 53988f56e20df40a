"""How predict.py reads pages as people photograph them, kind by kind.

python bench/pages.py --out mnist/out          # with the classifiers there, or published ones
python bench/pages.py cells signs --pages 5    # some kinds, fewer pages

tests/pages.py makes the pages of test images. Right and unsure are shares of the digits. Whole is
the share of the numbers, two or three digits that touch, of which every digit is right. Wrong is
the share of the answers other than `?` that are not the digit in this place.
"""

import contextlib
import io
import re
import sys
import tempfile
import time
from difflib import SequenceMatcher
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.flags import positive, script_parser
from mnist import predict
from tests.pages import KINDS, varied

GROUPS = {"two touch": 2, "three touch": 3}  # digits of a number


def main(argv: list[str] | None = None) -> None:
    parser = script_parser(predict.__file__, __doc__)
    add = parser.add_argument
    add("kinds", nargs="*", metavar="KIND", help=", ".join(KINDS))
    add("--pages", type=positive(int), default=20, metavar="N", help="of a kind (default: 20)")
    add("--first", type=int, default=84, metavar="N", help="number of the first page (default: 84)")
    flags = parser.parse_args(argv)
    if unknown := ", ".join(kind for kind in flags.kinds if kind not in KINDS):
        parser.error(f"no kind {unknown}; there are {', '.join(KINDS)}")
    print("| kind | digits | right | whole | unsure | wrong | CPU s a page |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    total = np.zeros(7)
    for kind in flags.kinds or KINDS:
        counts = np.zeros(7)
        for number in range(flags.first, flags.first + flags.pages):
            page = varied(kind, number)
            began = time.process_time()
            found = read(page.picture, flags.out)
            spent = time.process_time() - began
            counts += (*score(page.text, found, GROUPS.get(kind, 1)), spent)
        print(row(kind, counts), f"{counts[6] / flags.pages:.2f} |", flush=True)
        total += counts
    print(row("all", total), "|")


def read(picture: Image.Image, out: Path) -> str:
    """Return what predict.py prints of a picture, in one line."""
    with tempfile.TemporaryDirectory() as folder:
        picture.save(f"{folder}/page.png")
        with contextlib.redirect_stdout(io.StringIO()) as output, contextlib.suppress(SystemExit):
            predict.main([f"{folder}/page.png", "--out", str(out), "--device", "cpu"])
    return "".join(re.findall(r"^[\d?]+$", output.getvalue(), re.MULTILINE))


def score(text: str, found: str, group: int) -> tuple[int, ...]:
    """Return the counts of digits, right digits, numbers, right numbers, unsure and wrong answers.

    A number is that many digits, a group, from a row of the text.
    """
    known, digits, unsure, wrong = set[int](), text.replace("\n", ""), 0, 0
    matcher = SequenceMatcher(None, digits, found, False)
    for kind, start, end, begin, stop in matcher.get_opcodes():
        if kind == "equal":
            known.update(place for place in range(start, end) if digits[place].isdigit())
        else:
            unsure += found[begin:stop].count("?")
            wrong += sum(map(str.isdigit, found[begin:stop]))
    numbers, first = list[bool](), 0
    for line in text.split("\n"):
        ends = [*range(0, len(line), group), len(line)]
        places = [range(first + start, first + end) for start, end in pairwise(ends)]
        numbers += [known.issuperset(number) for number in places if digits[number[0]].isdigit()]
        first += len(line)
    count = sum(map(str.isdigit, digits))
    return count, len(known), len(numbers), sum(numbers), unsure, wrong


def row(kind: str, counts: NDArray[np.float64]) -> str:
    """Return a row of the table up to the seconds."""
    digits, right, numbers, whole, unsure, wrong, _ = counts
    shares = right / digits, whole / numbers, unsure / digits, wrong / max(right + wrong, 1)
    return f"| {kind} | {digits:.0f} | " + "".join(f"{share:.2%} | " for share in shares)


if __name__ == "__main__":
    main()
