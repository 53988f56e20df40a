"""What surrounds the recording of CUDA graphs. The recording itself takes a CUDA device."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from common.graphs import replay_passes


def test_which_passes_are_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    replayed: list[tuple[int, ...]] = []

    def record(model: nn.Module, samples: tuple[Tensor, ...]) -> None:
        """Do to a network what torch.cuda.make_graphed_callables does, but for the graphs."""
        assert model.training and torch.is_autocast_enabled("cpu")
        assert not torch.is_autocast_cache_enabled()
        usual: Callable[..., Any] = model.forward
        for _ in range(3):
            model(*samples)

        def forward(images: Tensor) -> Any:
            if model.training:
                replayed.append(tuple(images.shape))
            return usual(images)

        model.forward = forward

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", record)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3))
    usual = copy.deepcopy(model)
    places = [value.data_ptr() for value in model.state_dict().values()]
    replay_passes(model, torch.ones(5, 1, 28, 28), torch.autocast("cpu", torch.bfloat16))

    assert torch.is_autocast_cache_enabled()
    for name, value in model.state_dict().items():
        assert torch.equal(value, usual.state_dict()[name]), name
    # A graph reads and writes where they were when it was recorded.
    assert [value.data_ptr() for value in model.state_dict().values()] == places
    for training in (True, False):
        for size in (5, 4, 5):
            images = torch.randn(size, 1, 28, 28)
            assert torch.equal(model.train(training)(images), usual.train(training)(images))
    assert replayed == [(5, 1, 28, 28)] * 2
