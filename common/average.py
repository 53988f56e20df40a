"""The running average of a network's weights, taken step by step."""

from itertools import chain

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel


@torch.no_grad()
def update_average(averaged: AveragedModel, model: nn.Module) -> None:
    """Do what `averaged.update_parameters(model)` does, but without waiting for the device.

    AveragedModel copies the count of its updates to the device in each of them, once for each
    dtype, and the host waits for that; a running average makes no use of the count.

    Args:
        averaged: the average, with a `multi_avg_fn` and with `use_buffers`. Of its buffers those
            of whole numbers, in which batch norms count batches, are not averaged but copied.
        model: the network as it is now.
    """
    assert averaged.multi_avg_fn is not None
    if averaged.n_averaged == 0:  # the first average is a copy
        averaged.update_parameters(model)
        return
    averages, current = [], []
    for average, now in zip(
        chain(averaged.module.parameters(), averaged.module.buffers()),
        chain(model.parameters(), model.buffers()),
        strict=True,
    ):
        if average.is_floating_point():
            averages.append(average)
            current.append(now)
        else:
            average.copy_(now)
    averaged.multi_avg_fn(averages, current, averaged.n_averaged)
    averaged.n_averaged += 1
