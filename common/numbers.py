"""Numbers whose digits touch: made of single digits, and read from a network's outputs."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import affine_grid, ctc_loss, grid_sample, max_pool2d, pad, relu
from torch.nn.utils.rnn import pad_sequence

from common.augment import distorted
from common.batches import predict
from common.mnist import SIDE

HEIGHT, MARGIN = 20, 4  # pixels of a number, and at its left
DRAWN = 0.4  # of full ink: where a stroke ends
VARIANTS = (  # slant, and how much more of the image is seen across and down
    *((0, 1, 1), (0.2, 1, 1), (-0.2, 1, 1)),
    *((0, 1.1, 1), (0, 0.9, 1), (0, 1, 1.08), (0, 1, 0.93)),
)


def make_numbers(images: Tensor, labels: Tensor, most: int, width: int) -> tuple[Tensor, ...]:
    """Return images of numbers, their digits and how many these are; each image begins a number.

    Of images (n, 1, 28, 28) from -1 to 1 and labels (n,) are made (n, 1, 28, width) from -1 to 1,
    (n, most) and (n,). A number has 1 to `most` digits, which are distorted and written with
    another pen. Most touch, overlap, or are joined by a stroke.
    """
    count, device = len(images), images.device
    index = torch.randint(count, (count, most), device=device)
    index[:, 0] = torch.arange(count, device=device)
    lengths = torch.randint(1, most + 1, (count,), device=device)
    digits = distorted(images[index.flatten()], 0.15).add(1).div(2).view(count, most, SIDE, SIDE)
    ink = pad(digits[:, 0], (0, (most - 1) * SIDE))  # n x 28 x most * 28
    for place in range(1, most):
        more = (lengths > place).view(-1, 1, 1)
        ink = torch.where(more, _joined(ink, digits[:, place]), ink)
    ink = ink.unsqueeze(1)
    bold = torch.rand(count, 1, 1, 1, device=device) * 2 - 1
    thicker, thinner = max_pool2d(ink, 3, 1, 1) - ink, ink + max_pool2d(-ink, 3, 1, 1)
    ink = ink + relu(bold - 0.3) * thicker - relu(-bold - 0.5) * thinner
    return 2 * _fitted(ink, width) - 1, labels[index], lengths


def _joined(ink: Tensor, digit: Tensor) -> Tensor:
    """Return ink, (n, h, w) from 0 to 1, with one more digit, (n, h, h), at its right."""
    device, (count, side, width) = ink.device, ink.shape
    columns = torch.arange(width, device=device)
    ends = torch.where(ink > DRAWN, columns, -1).amax(2)  # n x h, of each row
    starts = torch.where(digit > DRAWN, columns[:side], width).amin(2)
    both = (ends >= 0) & (starts < width)
    gap = torch.randint(-2, 5, (count,), device=device)  # pixels
    left = (ends - starts).where(both, 0).amax(1) + gap
    place = columns - left.unsqueeze(1)  # n x w, columns of the digit
    moved = digit.gather(2, place.clamp(0, side - 1).unsqueeze(1).expand(-1, side, -1))
    moved = moved * ((place >= 0) & (place < side)).unsqueeze(1)
    # A stroke from the end of a row to where the digit starts, at most 4 rows above or below.
    row = torch.multinomial(both + 1e-6, 1)  # n x 1
    other = (row + torch.randint(-4, 5, row.shape, device=device)).clamp(0, side - 1)
    start, end = ends.gather(1, row), starts.gather(1, other) + left.unsqueeze(1)
    rows = row + (other - row) * (columns - start) / (end - start).clamp(1)  # n x w
    off = (torch.arange(side, device=device).view(1, -1, 1) - rows.unsqueeze(1)).abs()
    stroke = (1 + torch.rand(count, 1, 1, device=device) - off).clamp(0, 1)
    drawn = (columns >= start) & (columns <= end) & (gap > 0).unsqueeze(1) & (end - start < 12)
    drawn = drawn & (torch.rand(count, 1, device=device) < 0.8)
    return torch.maximum(torch.maximum(ink, moved), stroke * drawn.unsqueeze(1))


def _fitted(ink: Tensor, width: int) -> Tensor:
    """Return ink, (n, 1, h, w), as numbers of the usual height, (n, 1, 28, width), slanted."""
    count, _, high, wide = ink.shape
    ink = ink / ink.amax((1, 2, 3), keepdim=True).clamp(min=0.1)
    sides = []
    for axis, length in ((3, high), (2, wide)):
        drawn = (ink > 0.25).any(axis).squeeze(1).float()
        sides.append((drawn.argmax(1).float(), length - drawn.flip(1).argmax(1).float()))
    (top, bottom), (left, right) = sides
    slant, across, down, size = torch.rand(4, count, device=ink.device) - 0.5
    scale = (bottom - top) / HEIGHT * (1 + 0.1 * size)
    squeeze = torch.maximum(scale, (right - left) / (width - 2 * MARGIN))
    # Where each pixel is in the ink: x, y from -1 to 1, by a matrix on those of the result.
    matrix = torch.zeros(count, 2, 3, device=ink.device)
    matrix[:, 0, 0] = squeeze * width / wide
    matrix[:, 0, 1] = 0.3 * slant * scale * SIDE / wide
    middle = left + squeeze * (width / 2 - MARGIN - 2 * across)
    matrix[:, 0, 2] = 2 * middle / wide - 1
    matrix[:, 1, 1] = scale * SIDE / high
    matrix[:, 1, 2] = (top + bottom + 2 * scale * 2 * down) / high - 1
    grid = affine_grid(matrix, [count, 1, SIDE, width], align_corners=False)
    return grid_sample(ink, grid, align_corners=False)


class Number(NamedTuple):
    """What a network reads."""

    digits: list[int]
    columns: list[int]  # in the network's output, where each digit is likeliest
    probability: float


def read_numbers(logits: Tensor) -> list[Number]:
    """Return the numbers that logits, (n, columns, classes + 1), say; the last class is none.

    A digit is a run of columns in which one class is the likeliest. The probability is that of
    all ways to the same digits.
    """
    none, columns = logits.shape[2] - 1, logits.shape[1]
    numbers = []
    for best in logits.argmax(2).tolist():
        starts = [i for i, one in enumerate(best) if one != none and best[i - 1 : i] != [one]]
        ends = [next((j for j in range(i, columns) if best[j] != best[i]), columns) for i in starts]
        middles = [(i + j) // 2 for i, j in zip(starts, ends, strict=True)]
        numbers.append(([best[i] for i in starts], middles))
    probabilities = _probabilities(logits, [digits for digits, _ in numbers])
    return [Number(*pair, share) for pair, share in zip(numbers, probabilities, strict=True)]


def read_variants(model: nn.Module, images: Tensor) -> list[Number]:
    """Return the numbers in images, (n, 1, 28, w) uint8, that variants of each agree on.

    The variants are slanted, and scaled in width and height. A number's probability is the mean
    over them. Of all numbers that are read in a variant, the likeliest is taken.
    """
    ink, logits = images / 255, []
    for slant, across, down in VARIANTS:
        wide = images.shape[3]
        rows = [[across, slant * SIDE / wide, across - 1], [0, down, 0]]  # the left edge stays
        matrix = torch.tensor(rows, device=images.device).expand(len(images), 2, 3)
        grid = affine_grid(matrix, list(images.shape), align_corners=False)
        logits.append(predict(model, 2 * grid_sample(ink, grid, align_corners=False) - 1))
    best: list[Number] = []
    for numbers in zip(*map(read_numbers, logits), strict=True):
        found = {tuple(number.digits): number for number in reversed(numbers)}
        variants = torch.stack([one[len(best)] for one in logits])
        shares = [_probabilities(variants, [[*digits]] * len(variants)) for digits in found]
        means = [sum(share) / len(share) for share in shares]
        likely = zip(found.values(), means, strict=True)
        best.append(max((x._replace(probability=p) for x, p in likely), key=lambda x: x[2]))
    return best


def _probabilities(logits: Tensor, numbers: Sequence[list[int]]) -> list[float]:
    """Return the probability of each number's digits by logits, (n, columns, classes + 1)."""
    shares = logits.detach().cpu().double().log_softmax(2)
    lengths = torch.tensor([len(digits) for digits in numbers])
    digits = pad_sequence([torch.tensor([*digits, 0]) for digits in numbers], True)
    sizes, none = torch.full_like(lengths, shares.shape[1]), shares.shape[2] - 1
    losses = ctc_loss(shares.transpose(0, 1), digits, sizes, lengths, none, reduction="none")
    found: list[float] = losses.neg().exp().tolist()
    return found
