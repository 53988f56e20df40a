"""The reading of a page: its digits, by trained classifiers, cut where they touch, set upright."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from common.classifiers import Classifier, probabilities
from common.cuts import Part
from common.pictures import Digit, find_digits, lines_slope
from common.sheet import only_sheet

CLEAR = 0.95  # mean probability of the digits on an upright page
MOST_CUTS = 300  # digits on a page that may be several, for which it is tried


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

    Where the digits are unclear, quarter turns are tried on some of them, and then the lines'
    slope. Degrees are counterclockwise, -180 to 179.
    """
    lines, degrees = find_digits(rgba), 0
    mean = clear(classifiers, lines)
    if mean > 0.98:  # a page that is upside down may reach 0.96
        return rgba, lines, 0
    turned = [clear(classifiers, lines, turn) for turn in range(1, 4)]
    if max(turned) > max(mean + 0.03, CLEAR):
        degrees = 90 * (turned.index(max(turned)) + 1)
        rgba = np.rot90(rgba, degrees // 90)
        lines = find_digits(rgba)
        mean = clear(classifiers, lines)
    angle = math.degrees(math.atan(lines_slope(lines)))
    if abs(angle) > 3 and mean <= CLEAR:
        level = Image.fromarray(only_sheet(rgba)).rotate(angle, Image.Resampling.BICUBIC, True)
        found = find_digits(np.asarray(level))
        if clear(classifiers, found) > mean:
            return np.asarray(level), found, (degrees + round(angle) + 180) % 360 - 180
    return rgba, lines, (degrees + 180) % 360 - 180


def clear(classifiers: Sequence[Classifier], lines: list[list[Digit]], turn: int = 0) -> float:
    """Return the mean probability of some digits after quarter turns; 1 if there are few digits."""
    images = [digit.image for line in lines for digit in line if not digit.sign]
    if len(images) < 4:
        return 1.0
    x = torch.from_numpy(np.stack(images[:: len(images) // 32 + 1])).unsqueeze(1)
    return probabilities(classifiers[0], torch.rot90(x, turn, (2, 3))).max(1)[0].mean().item()


def read(classifiers: Sequence[Classifier], lines: list[list[Digit]]) -> list[list[Answer]]:
    """Return the answers to digits in lines; some of these are cut into several."""
    wholes = answer_all(classifiers, [digit for line in lines for digit in line])
    widths = np.array([digit.width for line in lines for digit in line])
    touching, cuts = (widths > 1.2).sum() / max(len(widths), 1), 0  # share of boxes
    long = (widths > 1.6).sum() > 0.3 * len(widths)  # numbers of three digits, cut wrong too often
    page, unread = [], iter(wholes)
    for line in lines:
        page.append(list[Answer]())
        for digit, whole in zip(line, unread, strict=False):
            narrow = digit.width < (1.05 if whole.probability > 0.9 else 0.95) and touching < 0.1
            if digit.sign or (not narrow and (cuts == MOST_CUTS or long)):
                page[-1].append(whole._replace(answer="?"))
            elif narrow:
                page[-1].append(whole)
            else:
                parts, cuts = digit.parts(), cuts + 1
                answers = answer_all(classifiers, [part for _, part in parts])
                page[-1] += cut(digit, whole, parts, answers, touching)
    return page


def cut(
    digit: Digit,
    whole: Answer,
    parts: Sequence[tuple[Part, Digit]],
    answers: Sequence[Answer],
    touching: float,
) -> list[Answer]:
    """Return the answer to a digit, or to its parts if it is more likely to be several digits.

    A way to cut is the likelier, the higher the probabilities of its parts, the narrower these and
    the less ink it crosses. Its answers are sure if those of all other ways are much less likely.
    """
    # At each path, the likeliest way to each text. A text of several digits is likelier on a page
    # of digits that touch. The weights were fitted to pages of the first 1,680 test images.
    ways: dict[int, dict[str, tuple[float, list[Answer]]]] = {0: {"": (0.0, [])}}
    for (part, drawn), found in zip(parts, answers, strict=True):  # by their left paths
        for text, (score, way) in list(ways.get(part.ends[0], {}).items()):
            score += (
                weight(drawn, found)
                - 1.8 * part.crossed
                - (1.9 if way else -2.9 * (touching > 0.1))
            )
            known = ways.setdefault(part.ends[1], {})
            if len(way) < 4 and score > known.get(text + found.answer, (-math.inf,))[0]:
                known[text + found.answer] = score, [*way, found]
    last = max((part.ends[1] for part, _ in parts), default=1)
    every = [(weight(digit, whole), [whole]), *ways.get(last, {}).values()]
    score, way = max(every, key=lambda pair: pair[0])
    share = 1 / sum(math.exp(other - score) for other, _ in every)
    least = min(found.probability for found in way)
    sure = len(way) == 2 and digit.width < 1.6 and least > 0.97
    if len(way) == 1:  # rarely one digit if most of the others are not
        sure = digit.width < 1.3 and (touching < 0.1 or (touching < 0.35 and least > 0.99))
    return way if sure and share > 0.6 else [found._replace(answer="?") for found in way]


def weight(digit: Digit, found: Answer) -> float:
    """Return how much a part of a way counts: more if its answer is likely, and it is narrow."""
    return 4.2 * math.log(found.probability) - 3.4 * max(digit.width - 0.8, 0)


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
        for name, share in shares:
            mean[name] = mean.get(name, 0) + weight * share
    likeliest, share = max(mean.items(), key=lambda pair: pair[1])
    sure = share >= weights @ [one.unsure for one in classifiers]
    return Answer(digit.box, digit.image, likeliest if sure else "?", share, networks)
