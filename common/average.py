"""The batch norm statistics of average weights."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


@torch.no_grad()
def renew_batch_norm(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Set the batch norms' statistics to mean and variance of all that enters them in a pass.

    Average weights need it: the statistics gathered in training belong to other weights.
    `torch.optim.swa_utils.update_bn` leaves dropout on and averages the batches' variances. Here
    dropout is off, and the batches' statistics are joined exactly (Chan, Golub and LeVeque 1979).
    The batches are images (n, c, h, w) and labels, which are not used.
    """
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    counts = dict.fromkeys(norms, 0)  # values in a channel so far

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
        norm.momentum = 0  # the layer itself leaves its statistics alone
    for images, _ in batches:
        model(images)
    for norm, momentum, hook in zip(norms, momenta, hooks, strict=True):
        hook.remove()
        norm.momentum = momentum
        norm.get_buffer("running_var").mul_(counts[norm] / (counts[norm] - 1))
    model.eval()
