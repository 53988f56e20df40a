"""The statistics of batch norm layers, taken anew."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


@torch.no_grad()
def renew_batch_norm(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Set the batch norms' statistics to mean and variance of all that enters them in a pass.

    Average weights need it: what was gathered in training belongs to other weights.
    `torch.optim.swa_utils.update_bn` leaves dropout on, gives a short last batch a full one's
    weight, and takes the mean of the batches' variances for the variance of the whole. Here dropout
    is off, each batch norm normalizes by its batch as in training, and its statistics are those of
    all batches as one, put together batch by batch (Chan, Golub and LeVeque 1979), the variance
    unbiased as in training.

    Args:
        model: the network; it is left in evaluation mode.
        batches: images (n, 1, 28, 28) and labels (n,), of which no use is made.
    """
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    counts = dict.fromkeys(norms, 0)  # of values in a channel

    def add(norm: nn.BatchNorm2d, inputs: tuple[Tensor]) -> None:
        (x,) = inputs  # (n, channels, height, width)
        variance, mean = torch.var_mean(x, (0, 2, 3), correction=0)
        count = x.numel() // norm.num_features
        counts[norm] += count
        share = count / counts[norm]
        mean_so_far, variance_so_far = map(norm.get_buffer, ("running_mean", "running_var"))
        shift = mean - mean_so_far
        mean_so_far += share * shift
        variance_so_far += share * (variance - variance_so_far) + share * (1 - share) * shift**2

    hooks = [norm.register_forward_pre_hook(add) for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
        norm.momentum = 0  # by itself the layer leaves its statistics alone
    for images, _ in batches:
        model(images)
    for norm, momentum, hook in zip(norms, momenta, hooks, strict=True):
        hook.remove()
        norm.momentum = momentum
        norm.get_buffer("running_var").mul_(counts[norm] / (counts[norm] - 1))
    model.eval()
