"""What surrounds the recording of CUDA graphs. The recording itself takes a CUDA device."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from common.graphs import replay_passes
from common.run import Run, argument_parser
from mnist import swa
from mnist.logit import Logit
from tests.conftest import run_script


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


def test_a_run_records_its_network_after_copies_are_made(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded: list[tuple[nn.Module, tuple[int, ...]]] = []
    copied: list[nn.Module] = []

    def record(model: nn.Module, batch: Tensor, autocast: torch.autocast) -> None:
        recorded.append((model, tuple(batch.shape)))

    def average(model: nn.Module) -> AveragedModel:
        assert model not in [network for network, _ in recorded]
        copied.append(model)
        return AveragedModel(model)

    monkeypatch.setattr("common.run.replay_passes", record)
    monkeypatch.setattr(swa, "AveragedModel", average)
    flags = ["--data", str(few_digits), "--out", str(tmp_path), "--device", "cpu"]
    args = argument_parser(None, epochs=2, batch_size=600, lr=0.001).parse_args(flags)
    run = Run("logit", args)
    data = run.load()
    args.graph = True  # with which a run on the CPU would not begin
    model = Logit()
    next(run.epochs(model=model))
    assert recorded == [(model, (500, 1, 28, 28))]  # no more than there are
    swa.trial(run, data, 0)
    assert [network for network, _ in recorded] == [model, *copied] and len(copied) == 1


@pytest.mark.parametrize("name", ["gan", "cgan"])
def test_networks_in_a_contest_have_no_graphs(name: str) -> None:
    done = run_script(name, "--graph")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"{name}.py: error: unrecognized arguments: --graph"
