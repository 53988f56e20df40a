"""The running average of weights: AveragedModel's, without its waits."""

import copy

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from common.average import update_average


def test_the_average_is_that_of_torch() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 3))
    usual = AveragedModel(model, use_buffers=True)
    ours = copy.deepcopy(usual)
    for window in (3.7, 3.7, 10.0, 10.0):
        for averaged in (usual, ours):
            averaged.multi_avg_fn = get_ema_multi_avg_fn(1 - 1 / window)
        model(torch.randn(4, 1, 9, 9))  # changes the batch norm's statistics
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        usual.update_parameters(model)
        update_average(ours, model)
        assert ours.n_averaged == usual.n_averaged
        now = model.state_dict()
        for name, value in usual.module.state_dict().items():
            average = ours.module.state_dict()[name]
            if value.is_floating_point():
                assert torch.equal(average, value), name
                assert ours.n_averaged == 1 or not torch.equal(average, now[name]), name
            else:  # torch would average a count of batches, and cut off what is not whole
                assert torch.equal(average, now[name]), name
