"""Read handwritten digits in your own pictures with the classifiers that you have trained.

python mnist/predict.py my-seven.jpg                # one digit: what each classifier says
python mnist/predict.py page.jpg --csv digits.csv   # many: as text, and mnist/out/predict.png
python mnist/predict.py scans "photos/*.jpg"        # a folder, and pictures that match a pattern
python mnist/predict.py --calibrate                 # calibrate the classifiers' probabilities

Digits may be dark or light, of any size, on plain or ruled paper; they must not touch. A digit is
printed as ? if the classifiers are unsure.
"""

import csv
import io
import json
import math
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.optimize import minimize_scalar
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if not any(Path(folder, "common/run.py").exists() for folder in sys.path[:2]):
    sys.exit(f"{__file__} needs the folder {sys.path[0]}/common: copy it there, too")

from common import data
from common.batches import accuracy, predict
from common.checkpoint import load_weights
from common.devices import find_device
from common.errors import InputError, clear_errors
from common.files import write_whole
from common.flags import ROOT, script_parser, shown
from common.pictures import Digit, find_digits, read_picture
from common.record import Record


class Classifier(NamedTuple):
    """A trained network, and what its run's `NAME.json` says of it."""

    name: str
    model: nn.Module
    classes: list[str]  # in the order of the logits
    accuracy: float  # percent
    temperature: float  # divides the logits to calibrate the probabilities
    unsure: float  # a lower probability is answered with "?"


class Answer(NamedTuple):
    """What the classifiers say of a digit on a page."""

    box: tuple[int, ...]  # left, top, right, bottom in the picture's pixels
    image: NDArray[np.uint8]  # (28, 28), what the classifiers see
    answer: str  # the likeliest class, or "?" if they are unsure
    probability: float  # of the likeliest class
    networks: list[tuple[str, list[tuple[str, float]]]]  # each one's three likeliest classes


def load_classifiers(out: Path, device: torch.device) -> list[Classifier]:
    """Return the networks of all finished classifiers in a folder, by name.

    One that does not take images of (1, 28, 28), or no longer fits its script, is skipped with a
    line on stderr. If there is none, InputError is raised.
    """
    classifiers = []
    for path in sorted(out.glob("*.json")):
        run = json.loads(path.read_bytes())
        header, final = run.get("header"), run.get("final") or {}
        if "temperature" not in final or not path.with_suffix(".pt").exists():
            continue  # unfinished, a GAN, or no run
        try:
            if header["shape"] != [1, 28, 28]:
                raise InputError(f"{path.stem} takes images of another shape")
            model = build(ROOT / header["script"], header["network"])
            load_weights(model, path.with_suffix(".pt"))
        except (InputError, OSError) as error:
            print(f"predict: {error}; {path.stem} is skipped", file=sys.stderr)
            continue
        figures = (final[name] for name in ("accuracy", "temperature", "unsure"))
        classifiers.append(Classifier(path.stem, model.to(device), header["classes"], *figures))
    if not classifiers:
        raise InputError(f"no trained classifier in {shown(out)}: run python mnist/conv.py first")
    return classifiers


def build(script: Path, network: str) -> nn.Module:
    """Return a network of a class that a script defines."""
    names = runpy.run_path(str(script))
    if network not in names:
        raise InputError(f"{script} has no class {network} any more: train it anew")
    return names[network]()


def probabilities(classifier: Classifier, x: Tensor) -> Tensor:
    """Return calibrated probabilities, (n, classes) float64 on the CPU, of (n, 1, 28, 28) uint8."""
    device = next(classifier.model.parameters()).device
    logits = predict(classifier.model, x.to(device)).cpu().double()
    return (logits / classifier.temperature).softmax(1)


def answers(classifiers: Sequence[Classifier], rgba: NDArray[np.uint8]) -> list[list[Answer]]:
    """Return the answers to all digits on a page, (h, w, 4) uint8, line by line, left to right."""
    lines = find_digits(rgba)
    if not lines:
        return []
    x = torch.from_numpy(np.stack([digit.image for line in lines for digit in line])).unsqueeze(1)
    rows = zip(*(probabilities(one, x).tolist() for one in classifiers), strict=True)
    return [[answer(classifiers, digit, next(rows)) for digit in line] for line in lines]


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
    for digit in (digit for line in page for digit in line):
        left, top, right, bottom = digit.box
        font = ImageFont.load_default(size=max((bottom - top) / 2, 10))
        color = "red" if digit.answer == "?" else "green"
        pen.rectangle((left - 2, top - 2, right + 1, bottom + 1), outline=color)
        pen.text((left, top - 3), digit.answer, fill=color, font=font, anchor="ls")
    return np.asarray(picture.convert("RGB"))


def find_pictures(name: str) -> list[Path]:
    """Return the pictures that a name means: a file, a folder's, or those of a pattern, `*.png`."""
    path, endings = Path(name), {*Image.registered_extensions(), ".heic"}
    if path.is_dir():
        found = [file for file in path.iterdir() if file.suffix.lower() in endings]
    else:
        found = [path] if path.exists() else list(path.parent.glob(path.name))
    return sorted(found) or [path]  # reading it will fail with a clear line


def fit_temperature(logits: Tensor, y: Tensor) -> float:
    """Return what to divide logits, (n, classes), by to calibrate them (Guo et al. 2017)."""
    if bool((logits.argmax(1) == y).all()):
        return 1.0  # the lower, the better

    def loss(log_temperature: float) -> float:
        return cross_entropy(logits / math.exp(log_temperature), y).item()

    return math.exp(minimize_scalar(loss, bounds=(-5, 5), method="bounded").x)


def calibrate(classifier: Classifier, out: Path, source: Path) -> str:
    """Fit temperature and bound of "unsure" to a run's test set; write both to its `NAME.json`."""
    path = out / f"{classifier.name}.json"
    run = json.loads(path.read_bytes())
    header = run["header"]
    loaded = data.load(
        source,
        tuple(header["shape"]),
        len(header["classes"]),
        validate=header["test set"] == "held-out training images",
        ink="--ink" in header["command"].split(),
    )
    x, y = loaded.x_test[: header["tested"]], loaded.y_test[: header["tested"]]
    temperature = fit_temperature(probabilities(classifier._replace(temperature=1), x).log(), y)
    shares = probabilities(classifier._replace(temperature=temperature), x)
    likeliest, predicted = shares.max(1)
    if abs(accuracy(shares, y) - classifier.accuracy) > 0.5:
        return f"{path.stem:8}was tested on other images than those of {shown(source)}: unchanged"
    unsure = likeliest[predicted == y].quantile(0.005).item()  # 0.5 % of those read right
    run["final"] |= {"temperature": temperature, "unsure": unsure}
    write_whole(path, json.dumps(run, indent=1).encode())
    return f"{path.stem:8}temperature: {temperature:.3f}  unsure: below {unsure:.3f}"


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
        classifiers = load_classifiers(flags.out, flags.device)
        if flags.calibrate:
            print(*(calibrate(one, flags.out, flags.data) for one in classifiers), sep="\n")
            return
        failed, drawn = False, 0
        table: list[list[object]] = [["picture", "line", "position", "box", "digit", "probability"]]
        for path in (path for name in flags.pictures for path in find_pictures(name)):
            try:
                rgba = read_picture(path)
                page = answers(classifiers, rgba)
                if not page:
                    raise InputError(f"{path}: nothing is drawn on it")
            except (InputError, OSError) as error:
                print(f"predict: {error}", file=sys.stderr)
                failed = True
                continue
            print(shown(path))
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
        if flags.csv:
            content = io.StringIO()
            csv.writer(content, lineterminator="\n").writerows(table)
            write_whole(flags.csv, content.getvalue().encode())
        if failed:
            raise SystemExit(1)


if __name__ == "__main__":
    main()
