"""Changes of the training images that leave the digit what it is."""

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample


def shifted(images: Tensor, reach: int) -> Tensor:
    """Return images (n, c, h, w), all moved by the same random 0 to `reach` pixels each way.

    What leaves at one edge comes in at the opposite one, which is harmless for MNIST: its borders
    are nearly blank.
    """
    down, right = torch.randint(-reach, reach + 1, (2,)).tolist()
    return images.roll((down, right), (2, 3))


def distorted(images: Tensor, most: float = 0.15) -> Tensor:
    """Return images (n, c, h, w) float32, each turned, scaled, slanted and moved at random.

    Positions, from -1 to 1, are multiplied by a matrix (2, 3) that differs from the identity by up
    to `most` in each element. 0.15 in the last column moves an image of 28 pixels by up to 2.1.
    """
    change = 2 * most * torch.rand(len(images), 2, 3, device=images.device) - most
    matrix = torch.eye(2, 3, device=images.device) + change
    with torch.autocast(images.device.type, enabled=False):  # of 8 bits, places are not exact
        grid = affine_grid(matrix, list(images.shape), align_corners=False)
        return grid_sample(images, grid, padding_mode="border", align_corners=False)
