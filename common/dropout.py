"""ReLU and dropout in one layer, made fast for the CPU."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, relu


def dropout_mask(x: Tensor, p: float) -> Tensor:
    """Return a random mask for dropout: 0 for a share p of the elements, 1 / (1 - p) for the rest.

    On the CPU torch draws dropout's random numbers one element after another. Here 64 random bits
    are drawn at once. For p = 1/2 each of them decides over one element, for p = 1/4 two of them;
    in general they are cut into numbers of 1, 2, 4 or 8 bits, the fewest in which p can be written,
    and an element is kept if its number is at least p's. The numbers stand spread over a 64-bit
    word, one in each 16- or 32-bit lane, so that one operation on the word serves all of them:
    adding 2^bits - threshold carries into the next bit just where the number is at least the
    threshold. Multiplying that bit by the bit pattern of the scale gives the lane the scale's value
    as a floating-point number.

    Args:
        x: float32, float16 or bfloat16, any shape; only its shape, layout and dtype are used.
        p: share of zeros, 0 <= p < 1; what counts is p rounded to a multiple of 1/256, and the
            scale is that of the rounded share, as near as x's dtype has it.

    Returns:
        A tensor of x's shape, dtype and order in memory, without gradient, from torch's default
        generator.
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


class _ReLUDropout(torch.autograd.Function):
    """relu(x) * mask, which keeps nothing but its result for the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        mask = dropout_mask(x, p)
        ctx.scale = 256 / (256 - round(p * 256))
        result = mask.mul_(x).clamp_(min=0)
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        # The result is positive just where x was positive and kept.
        (result,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(gradient, result, 0).mul_(ctx.scale), None


class ReLUDropout(nn.Module):
    """nn.ReLU() followed by nn.Dropout(p), p < 1: a drop-in for the two.

    On the CPU in training the two are one function with a fast mask (`dropout_mask`), which keeps
    one tensor for the backward pass in place of three; in float64 they are torch's own.

    Raises:
        ValueError: p is less than 0, or so near to 1 that nothing would be left.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if p < 0 or not round(p * 256) < 256:
            raise ValueError(f"the share of zeros has to be from 0 to 0.998, not {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.device.type == "cpu" and x.dtype != torch.float64:
            return _ReLUDropout.apply(x, self.p)
        return dropout(relu(x), self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}"
