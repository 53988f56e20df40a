"""Layers as torch has them, where torch's own are not at their best."""

from torch import Tensor, nn


class Sigmoid(nn.Sigmoid):
    """nn.Sigmoid in float32, also under autocast: in bfloat16 all above 0.998 would be 1.

    There a binary cross entropy would have no gradient any more.
    """

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float())
