"""Read handwritten digits in your own pictures with the classifiers that you have trained.

python mnist/predict.py my-seven.jpg                # one digit: what each classifier says
python mnist/predict.py page.jpg --csv digits.csv   # many: as text, and mnist/out/predict.png
python mnist/predict.py scans "photos/*.jpg"        # a folder, and pictures that match a pattern
python mnist/predict.py --calibrate                 # calibrate the classifiers' probabilities

Digits may be dark or light, of any size, on plain or ruled paper; they may touch, and the page
may be turned. A digit is printed as ? if the classifiers are unsure, and so is a sign.
"""

import csv
import io
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if not any(Path(folder, "common/run.py").exists() for folder in sys.path[:2]):
    sys.exit(f"{__file__} needs the folder {sys.path[0]}/common: copy it there, too")

from common.classifiers import Classifier, calibrate, load_classifiers, probabilities
from common.devices import find_device
from common.errors import InputError, clear_errors
from common.files import write_whole
from common.flags import ROOT, script_parser, shown
from common.pictures import Digit, find_digits, lines_slope, read_picture
from common.record import Record
from common.sheet import only_sheet


class Answer(NamedTuple):
    """What the classifiers say of a digit on a page."""

    box: tuple[int, ...]  # left, top, right, bottom in the picture's pixels
    image: NDArray[np.uint8]  # (28, 28), what the classifiers see
    answer: str  # the likeliest class, or "?" if they are unsure
    probability: float  # of the likeliest class
    networks: list[tuple[str, list[tuple[str, float]]]]  # each one's three likeliest classes


def answers(classifiers: Sequence[Classifier], rgba: NDArray[np.uint8]) -> list[list[Answer]]:
    """Return the answers to all digits on a page, (h, w, 4) uint8, line by line, left to right."""
    return read(classifiers, find_digits(rgba))


def set_upright(
    classifiers: Sequence[Classifier], rgba: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], list[list[Digit]], int]:
    """Return a page turned so that its digits are clearest, these, and the degrees of the turn.

    Quarter turns are tried on the digits, where these are unclear, and then the lines' slope.
    """
    lines, degrees = find_digits(rgba), 0
    mean = clear(classifiers, lines)
    if len(mean) and mean.max() > max(mean[0] + 0.05, 0.9):
        degrees = 90 * int(mean.argmax())
        rgba = np.rot90(rgba, degrees // 90)
        lines = find_digits(rgba)
        mean = clear(classifiers, lines)
    slope = lines_slope(lines)
    if abs(slope) > 0.05:
        angle = math.degrees(math.atan(slope))
        level = Image.fromarray(only_sheet(rgba)).rotate(angle, Image.Resampling.BICUBIC, True)
        found = find_digits(np.asarray(level))
        means = clear(classifiers, found)
        if len(means) and means[0] > mean[0]:
            return np.asarray(level), found, degrees + round(angle)
    return rgba, lines, degrees


def clear(classifiers: Sequence[Classifier], lines: list[list[Digit]]) -> NDArray[np.float64]:
    """Return the mean probability of the digits after 0 to 3 quarter turns; of few digits, none."""
    images = [digit.image for line in lines for digit in line if not digit.sign]
    if len(images) < 4:
        return np.zeros(0)
    x = torch.from_numpy(np.stack(images)).unsqueeze(1)
    turns = (torch.rot90(x, turn, (2, 3)) for turn in range(4))
    return np.array([probabilities(classifiers[0], turn).max(1)[0].mean() for turn in turns])


def read(classifiers: Sequence[Classifier], lines: list[list[Digit]]) -> list[list[Answer]]:
    """Return the answers to digits in lines; some of these are cut into several."""
    every = [each for line in lines for digit in line for each in (digit, *digit.parts)]
    if not every:
        return []
    x = torch.from_numpy(np.stack([digit.image for digit in every])).unsqueeze(1)
    rows = zip(*(probabilities(one, x).tolist() for one in classifiers), strict=True)
    found = iter([answer(classifiers, *both) for both in zip(every, rows, strict=True)])
    wide = [digit.width > 1.2 for line in lines for digit in line]
    touching = sum(wide) > 0.1 * len(wide)
    return [
        [
            one
            for digit in line
            for one in cut(digit, next(found), [next(found) for _ in digit.parts], touching)
        ]
        for line in lines
    ]


def cut(digit: Digit, whole: Answer, parts: Sequence[Answer], touching: bool) -> list[Answer]:
    """Return the answer to a digit, or to its parts if it is more likely to be several digits.

    The likeliest way from the left to the right has the highest product of probabilities, less for
    cuts across much ink. One digit is less likely if it is wide, or many on the page are.
    """
    if digit.sign:
        return [whole._replace(answer="?")]
    last = max((end for _, end, _ in digit.cuts), default=1)
    best: dict[int, tuple[float, list[Answer]]] = {0: (0.0, [])}
    for (start, end, crossed), part in sorted(
        zip(digit.cuts, parts, strict=True), key=lambda x: x[0][1]
    ):
        before, way = best.get(start, (-math.inf, []))
        score = before + math.log(part.probability) - 1.2 * crossed
        if score > best.get(end, (-math.inf, []))[0]:
            best[end] = score, [*way, part]
    score, way = best.get(last, (-math.inf, []))
    score += 0.85 * max(digit.width - 0.75, 0) - (0 if touching else 0.75)
    if len(way) > 1 and score > math.log(whole.probability):
        low = min(part.probability for part in way)
        return [
            part._replace(answer="?") if low < 0.8 or part.probability < 0.92 else part
            for part in way
        ]
    return [whole._replace(answer="?") if digit.width > 1.4 else whole]


def answer(
    classifiers: Sequence[Classifier], digit: Digit, rows: tuple[list[float], ...]
) -> Answer:
    """Return the likeliest class by the mean of the classifiers' probabilities, the rows.

    The more often a classifier errs, the less it weighs: logit would spoil what conv reads.
    """
    weights = np.array([1 / (100.1 - one.accuracy) for one in classifiers])
    weights /= weights.sum()
    mean: dict[str, float] = {}
    networks = []
    for weight, one, row in zip(weights.tolist(), classifiers, rows, strict=True):
        shares = sorted(zip(one.classes, row, strict=True), key=lambda pair: -pair[1])
        networks.append((one.name, shares[:3]))
        for name, share in shares:
            mean[name] = mean.get(name, 0) + weight * share
    likeliest, share = max(mean.items(), key=lambda pair: pair[1])
    sure = share >= weights @ [one.unsure for one in classifiers]
    return Answer(digit.box, digit.image, likeliest if sure else "?", share, networks)


def described(digit: Answer) -> list[str]:
    """Return a line for each classifier with its three likeliest classes, and the verdict."""
    lines = [
        f"  {name:8}" + "   ".join(f"{text} {share:7.2%}" for text, share in ranked)
        for name, ranked in digit.networks
    ]
    votes = sum(ranked[0][0] == digit.answer for _, ranked in digit.networks)
    if digit.answer == "?":
        lines.append(f"  verdict ?, the probability is only {digit.probability:.2%}")
    elif len(lines) > 1:
        lines.append(f"  verdict {digit.answer}, by {votes} of {len(lines)} models")
    return lines


def marked(rgba: NDArray[np.uint8], page: list[list[Answer]]) -> NDArray[np.uint8]:
    """Return a page, (h, w, 3), with a box around each digit and the answer above it."""
    picture = Image.new("RGBA", (rgba.shape[1], rgba.shape[0]), "white")
    picture.alpha_composite(Image.fromarray(rgba))
    pen = ImageDraw.Draw(picture)
    digits = [digit for line in page for digit in line]
    taken = np.array([digit.box for digit in digits]).reshape(-1, 4)
    for digit in digits:
        left, top, right, bottom = digit.box
        size = max((bottom - top) / 2, 10)
        font, wide = ImageFont.load_default(size=size), 0.6 * size
        color = "red" if digit.answer == "?" else "green"
        pen.rectangle((left - 2, top - 2, right + 1, bottom + 1), outline=color)
        # Above, below, right or left: the first place where there is room.
        corners = (
            (left, top - 3 - size),
            (left, bottom + 3),
            (right + 3, top),
            (left - 3 - wide, top),
        )
        for x, y in corners:
            place = np.array((x, y, x + wide, y + size))
            free = ((taken[:, 2:] <= place[:2]) | (taken[:, :2] >= place[2:])).any(1)
            if free.all() and (place[:2] >= 0).all() and (place[2:] <= picture.size).all():
                break
        else:
            x, y = (left, max(top - 3 - size, 0))
        taken = np.append(taken, [[x, y, x + wide, y + size]], 0)
        pen.text((x, y + size), digit.answer, fill=color, font=font, anchor="ls")
    return np.asarray(picture.convert("RGB"))


def check_table(path: Path | None) -> None:
    """Raise InputError if a file that `--csv` would write over is not an earlier table."""
    if path and path.exists() and not path.read_bytes().startswith(b"picture,line,"):
        raise InputError(f"{path} is not a table of digits: give --csv another file")


def find_pictures(name: str) -> list[Path]:
    """Return the pictures that a name means: a file, a folder's, or those of a pattern, `*.png`."""
    path, endings = Path(name), {*Image.registered_extensions(), ".heic"}
    if path.is_dir():
        found = [file for file in path.iterdir() if file.suffix.lower() in endings]
    else:
        found = [path] if path.exists() else list(path.parent.glob(path.name))
    return sorted(found) or [path]  # reading it will fail with a clear line


def main(argv: list[str] | None = None) -> None:
    parser = script_parser(__file__, __doc__)
    add = parser.add_argument
    add("pictures", nargs="*", metavar="PICTURE", help="a picture, a folder or a pattern")
    add("--csv", type=Path, metavar="FILE", help="write each digit's place, answer and probability")
    add("--calibrate", action="store_true", help="fit the probabilities to each run's test set")
    add("--device", type=find_device, default="auto", metavar="NAME", help="cpu, cuda, mps or xpu")
    add("--data", type=Path, default=ROOT / "mnist/data", metavar="PATH", help="for --calibrate")
    flags = parser.parse_intermixed_args(argv)
    if bool(flags.pictures) == flags.calibrate:
        parser.error("give pictures, or --calibrate")
    with clear_errors("predict"):
        check_table(flags.csv)
        classifiers = load_classifiers(flags.out, flags.device, not flags.calibrate)
        if flags.calibrate:
            print(*(calibrate(one, flags.out, flags.data) for one in classifiers), sep="\n")
            return
        failed, drawn = False, 0
        table: list[list[object]] = [["picture", "line", "position", "box", "digit", "probability"]]
        for path in (path for name in flags.pictures for path in find_pictures(name)):
            try:
                rgba = read_picture(path)
                rgba, lines, degrees = set_upright(classifiers, rgba)
                page = read(classifiers, lines)
                if not page:
                    raise InputError(f"{path}: nothing is drawn on it")
            except (InputError, OSError) as error:
                print(f"predict: {error}", file=sys.stderr)
                failed = True
                continue
            print(shown(path) + (f", turned by {degrees} degrees" if degrees else ""))
            for number, line in enumerate(page, 1):
                for position, digit in enumerate(line, 1):
                    box, share = " ".join(map(str, digit.box)), f"{digit.probability:.4f}"
                    table.append([path, number, position, box, digit.answer, share])
            if sum(map(len, page)) == 1:
                print(*described(page[0][0]), sep="\n")
                continue
            print(*("".join(digit.answer for digit in line) for line in page), sep="\n")
            drawn += 1
            record = Record(f"predict{-drawn if drawn > 1 else ''}", flags.out)
            record.save_picture(".png", marked(rgba, page))
            print(f"boxes and answers: {shown(record.path('.png'))}")
            read_as = [digit.answer for line in page for digit in line]
            print(f"{len(read_as)} digits, {read_as.count('?')} unsure")
        if flags.csv:
            content = io.StringIO()
            csv.writer(content, lineterminator="\n").writerows(table)
            write_whole(flags.csv, content.getvalue().encode(errors="backslashreplace"))
        if failed:
            raise SystemExit(1)


if __name__ == "__main__":
    main()
