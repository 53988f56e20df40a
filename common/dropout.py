"""Dropout, fast on the CPU."""

from typing import Any

import torch
from torch import Tensor, nn


def dropout_mask(x: Tensor, p: float) -> Tensor:
    """Return a random mask like x: 0 for a share p of the elements, 1 / (1 - p) for the rest.

    x is float32, float16 or bfloat16; p is below 1 and rounded to a multiple of 1/256.

    torch draws a random number for each element, one after another. Here 64 random bits are drawn
    at once and cut into numbers of 1, 2, 4 or 8 bits, the fewest in which p can be written. An
    element is kept if its number is at least p's. The numbers are spread over a 64-bit word, one in
    each 16- or 32-bit lane, so one operation on the word serves all of them: adding
    2^bits - threshold carries into the next bit exactly where the number is at least the threshold.
    Multiplying that bit by the bit pattern of the scale gives the lane the scale's value.
    """
    threshold = round(p * 256)
    scale = torch.tensor(256 / (256 - threshold), dtype=x.dtype)
    width = 8 * x.element_size()  # bits a lane
    lanes = sum(1 << lane for lane in range(0, 64, width))  # bit 0 of each lane
    pattern = scale.view(torch.int16 if width == 16 else torch.int32).item()
    bits = next(n for n in (1, 2, 4, 8) if threshold * 2**n % 256 == 0)  # for an element
    threshold = threshold * 2**bits // 256

    words = torch.empty(-(-x.numel() * bits // 64), dtype=torch.int64).random_(-(2**63), None)
    mask = words >> torch.arange(0, width, bits).unsqueeze(1)  # (width / bits, words)
    mask &= (2**bits - 1) * lanes
    mask += (2**bits - threshold) * lanes
    mask >>= bits
    mask &= lanes
    mask *= pattern
    stride = torch.empty_like(x).stride()  # as x's, but without gaps where x is a part of a tensor
    return mask.view(x.dtype).flatten()[: x.numel()].as_strided(x.shape, stride)


class _Dropout(torch.autograd.Function):
    """x * mask, with the scale of the gradient not rounded to x's dtype."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        mask = dropout_mask(x, p)
        ctx.scale = 256 / (256 - round(p * 256))
        ctx.save_for_backward(mask)
        return x * mask

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (mask,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(gradient, mask, 0).mul_(ctx.scale), None


class Dropout(nn.Dropout):
    """nn.Dropout with a fast mask where the CPU trains in float32, float16 or bfloat16.

    There p is rounded to a multiple of 1/256. Everywhere else it is nn.Dropout.
    """

    def forward(self, x: Tensor) -> Tensor:
        fast = self.training and x.device.type == "cpu" and x.dtype != torch.float64
        if fast and not self.inplace and 0 < round(self.p * 256) < 256:
            return _Dropout.apply(x, self.p)
        return super().forward(x)
