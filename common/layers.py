"""Layers and a loss as torch has them, where torch's own are not at their best."""

from torch import Tensor, nn
from torch.nn import functional


class Conv2d(nn.Conv2d):
    """nn.Conv2d, which on an image no larger than its kernel is one matrix product.

    There a CPU's convolution takes several times as long as the product does.
    """

    def forward(self, x: Tensor) -> Tensor:
        usual = self.padding == (0, 0) and self.dilation == (1, 1) and self.groups == 1
        if x.shape[2:] != self.weight.shape[2:] or not usual:
            return super().forward(x)
        # Rows of height x width x channels, as both lie in memory in the channels-last layout.
        rows, weight = (tensor.permute(0, 2, 3, 1).flatten(1) for tensor in (x, self.weight))
        return functional.linear(rows, weight, self.bias)[:, :, None, None]


class ConvTranspose2d(nn.ConvTranspose2d):
    """nn.ConvTranspose2d without bias, which on images of one pixel is one matrix product."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        usual = self.padding == self.output_padding == (0, 0) and self.dilation == (1, 1)
        usual = usual and self.groups == 1 and self.bias is None and output_size is None
        if x.shape[2:] != (1, 1) or not usual:
            return super().forward(x, output_size)
        weight = self.weight.permute(0, 2, 3, 1)  # in, height, width, out
        images = (x.flatten(1) @ weight.flatten(1)).unflatten(1, weight.shape[1:])
        return images.permute(0, 3, 1, 2)


class Sigmoid(nn.Sigmoid):
    """nn.Sigmoid in float32, also under autocast: in bfloat16 all above 0.998 would be 1.

    There a binary cross entropy would have no gradient any more.
    """

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float())


def binary_cross_entropy(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Return torch's binary cross entropy, (), but NaN where a probability is NaN.

    torch's own ends in an error then, on an accelerator in one after which nothing runs any more.

    Args:
        probabilities: float32, any shape.
        targets: float32 from 0 to 1, of the same shape.
    """
    loss = functional.binary_cross_entropy(probabilities.nan_to_num(), targets)
    return loss + (probabilities - probabilities).detach().sum()  # 0, or NaN
