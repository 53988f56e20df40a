"""The reading of a page by trained networks: set upright, single digits, digits that touch."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from common.classifiers import Classifier, probabilities
from common.mnist import SIDE
from common.numbers import MARGIN, Number, read_variants
from common.pictures import Digit, find_digits, lines_slope
from common.sheet import only_sheet

CLEAR = 0.95  # mean probability of the digits on an upright page
SURE, SURE_OF_WIDE = 0.6, 0.9  # least probability of a number, and of one that is unusually wide
NARROW, WIDE, LONG = 0.6, 1.05, 6  # widths, in usual heights: of numbers, and of one digit


class Answer(NamedTuple):
    """What the classifiers say of a digit on a page."""

    box: tuple[int, ...]  # left, top, right, bottom in the picture's pixels
    image: NDArray[np.uint8]  # (28, 28), what the classifiers see
    answer: str  # the likeliest class, or "?" if they are unsure
    probability: float  # of the likeliest class
    networks: list[tuple[str, list[tuple[str, float]]]]  # each one's three likeliest classes


def set_upright(
    classifiers: Sequence[Classifier], rgba: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], list[list[Digit]], int]:
    """Return a page turned so that its digits are clearest, these, and the degrees of the turn.

    Where the digits are unclear, quarter turns are tried on some of them, and then the lines'
    slope. Degrees are counterclockwise, -180 to 179.
    """
    lines, degrees = find_digits(rgba), 0
    mean = clear(classifiers, lines)
    turned = [0.0]
    if mean < 0.995:  # a page that is upside down may reach 0.99
        turned = [clear(classifiers, lines, turn) for turn in range(1, 4)]
    if max(turned) > CLEAR and 1 - max(turned) < 0.6 * (1 - mean):
        degrees = 90 * (turned.index(max(turned)) + 1)
        rgba = np.rot90(rgba, degrees // 90)
        lines = find_digits(rgba)
        mean = clear(classifiers, lines)
    angle = math.degrees(math.atan(lines_slope(lines)))
    if abs(angle) > 3 and mean < 0.995:
        level = Image.fromarray(only_sheet(rgba)).rotate(angle, Image.Resampling.BICUBIC, True)
        found = find_digits(np.asarray(level))
        if clear(classifiers, found) > mean:
            return np.asarray(level), found, (degrees + round(angle) + 180) % 360 - 180
    return rgba, lines, (degrees + 180) % 360 - 180


def clear(classifiers: Sequence[Classifier], lines: list[list[Digit]], turn: int = 0) -> float:
    """Return the mean probability of some digits after quarter turns; 1 if there are few digits.

    It is that of two classifiers, if there are as many: one alone may be sure of anything.
    """
    images = [digit.image for line in lines for digit in line if not digit.sign]
    if len(images) < 4:
        return 1.0
    x = torch.from_numpy(np.stack(images[:: len(images) // 32 + 1])).unsqueeze(1)
    x = torch.rot90(x, turn, (2, 3))
    some = [probabilities(one, x).max(1)[0].mean().item() for one in classifiers[:2]]
    return sum(some) / len(some)


def read(
    classifiers: Sequence[Classifier], reader: Classifier | None, lines: list[list[Digit]]
) -> list[list[Answer]]:
    """Return the answers to digits in lines; some of these are several that touch."""
    digits = [digit for line in lines for digit in line]
    wholes = answer_all(classifiers, digits)
    narrow = [WIDE if whole.probability > 0.9 else WIDE - 0.1 for whole in wholes]
    pairs = zip(digits, narrow, strict=True)
    numbers = _numbers(reader, digits, [digit.width > least for digit, least in pairs])
    if sum(len(number.digits) > 1 for number in numbers if number) > 0.1 * len(digits):
        numbers = _numbers(reader, digits, [True] * len(digits))  # narrow ones may be two, too
    found = zip(digits, wholes, numbers, strict=True)
    return [[one for _ in line for one in decided(*next(found), reader)] for line in lines]


def _numbers(
    reader: Classifier | None, digits: Sequence[Digit], asked: Sequence[bool]
) -> list[Number | None]:
    """Return each digit as a number: None if it is not asked for, a sign, or no number by width."""
    found: list[Number | None] = [None] * len(digits)
    fit = [not digit.sign and NARROW < digit.width < LONG for digit in digits]
    places = [i for i in range(len(digits)) if asked[i] and fit[i]]
    if reader is None or not places:
        return found
    images = [digits[i].number() for i in places]
    x = torch.zeros(len(images), 1, SIDE, max(image.shape[1] for image in images))
    for row, image in zip(x, images, strict=True):
        row[0, :, : image.shape[1]] = torch.from_numpy(image)
    device = next(reader.model.parameters()).device
    numbers = read_variants(reader.model, x.to(device, torch.uint8))
    for i, number in zip(places, numbers, strict=True):
        found[i] = number
    return found


def decided(
    digit: Digit, whole: Answer, number: Number | None, reader: Classifier | None
) -> list[Answer]:
    """Return the answer to a digit, or to each of several that touch; "?" where these differ."""
    if number is None or reader is None:
        sure = not digit.sign and digit.width < WIDE
        return [whole if sure else whole._replace(answer="?")]
    if len(number.digits) > 1:
        parts = _parts(digit, number, reader)
        usual = len(parts) < 4 and digit.width < len(parts)  # else a digit may have been missed
        sure = number.probability > (SURE if usual else SURE_OF_WIDE)
        return parts if sure else [part._replace(answer="?") for part in parts]
    text = "".join(reader.classes[one] for one in number.digits)
    return [whole if text == whole.answer else whole._replace(answer="?")]


def _parts(digit: Digit, number: Number, reader: Classifier) -> list[Answer]:
    """Return the answers to a number's digits. Each has a part of its box and of its image."""
    (left, top, right, bottom), image = digit.box, digit.number()
    width = image.shape[1] - 2 * MARGIN  # about that of the number: what is added is at the right
    middles = [2 * column + 1 - MARGIN for column in number.columns]  # pixels in the image
    ends = np.array([0, *((a + b) // 2 for a, b in pairwise(middles)), width]).clip(0, width)
    parts = []
    for one, (start, end) in zip(number.digits, pairwise(ends), strict=True):
        x, y = (round(left + (right - left) * edge / width) for edge in (start, end))
        cell = np.zeros((SIDE, SIDE), np.uint8)
        part = image[:, MARGIN + start : MARGIN + end][:, :SIDE]
        cell[:, (SIDE - part.shape[1]) // 2 :][:, : part.shape[1]] = part
        name, share = reader.classes[one], number.probability
        parts.append(Answer((x, top, y, bottom), cell, name, share, [("number", [(name, share)])]))
    return parts


def answer_all(classifiers: Sequence[Classifier], digits: Sequence[Digit]) -> list[Answer]:
    """Return the answer to each digit as it is."""
    if not digits:
        return []
    x = torch.from_numpy(np.stack([digit.image for digit in digits])).unsqueeze(1)
    rows = zip(*(probabilities(one, x).tolist() for one in classifiers), strict=True)
    return [answer(classifiers, *both) for both in zip(digits, rows, strict=True)]


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
        for name, share in dict(shares[::-1]).items():  # of the unused classes, the likeliest
            mean[name] = mean.get(name, 0) + weight * share
    likeliest, share = max(mean.items(), key=lambda pair: pair[1])
    sure = share >= weights @ [one.unsure for one in classifiers]
    return Answer(digit.box, digit.image, likeliest if sure else "?", share, networks)
