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
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if not any(Path(folder, "common/run.py").exists() for folder in sys.path[:2]):
    sys.exit(f"{__file__} needs the folder {sys.path[0]}/common: copy it there, too")

from common.classifiers import calibrate, load_classifiers, load_reader
from common.devices import find_device
from common.errors import InputError, clear_errors
from common.files import write_whole
from common.flags import ROOT, script_parser, shown
from common.imagefiles import is_picture
from common.pictures import read_picture
from common.reading import Answer, read, set_upright
from common.record import Record
from common.sheet import only_sheet


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
        above, below = (left, top - 3 - size), (left, bottom + 3)
        for x, y in (above, below, (right + 3, top), (left - 3 - wide, top)):
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
    path = Path(name)
    if path.is_dir():
        found = [file for file in path.iterdir() if is_picture(file)]
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
        reader = load_reader(flags.out, classifiers[0])
        failed, drawn = False, 0
        table: list[list[object]] = [["picture", "line", "position", "box", "digit", "probability"]]
        for path in (path for name in flags.pictures for path in find_pictures(name)):
            try:
                rgba = read_picture(path)
                rgba, lines, degrees = set_upright(classifiers, rgba)
                page = read(classifiers, reader, lines)
                if not page:
                    raise InputError(f"{path}: nothing is drawn on it")
            except (InputError, OSError) as error:
                print(f"predict: {error}", file=sys.stderr)
                failed = True
                continue
            side = "counterclockwise" if degrees > 0 else "clockwise"
            turned = f", turned by {abs(degrees)} degrees {side}" if degrees else ""
            print(shown(path) + turned)
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
            record.save_picture(".png", marked(only_sheet(rgba), page))
            print(f"boxes and answers: {shown(record.path('.png'))}")
            read_as = [digit.answer for line in page for digit in line]
            print(f"{len(read_as)} digits, {read_as.count('?')} unsure")
            if read_as.count("?") > len(read_as) / 2:
                hint = "most are unsure; if more is on it than digits, crop it"
                print(f"predict: {path}: {hint}", file=sys.stderr)
        if flags.csv:
            content = io.StringIO()
            csv.writer(content, lineterminator="\n").writerows(table)
            write_whole(flags.csv, content.getvalue().encode(errors="backslashreplace"))
        if failed:
            raise SystemExit(1)


if __name__ == "__main__":
    main()
