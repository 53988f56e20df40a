"""Weights that a script has trained, loaded into their network."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

Model = TypeVar("Model", bound=nn.Module)


def load_weights(kind: Callable[[], Model], path: Path) -> Model:
    """Return a network with the weights of a file, on the CPU and in evaluation mode.

    No random numbers are drawn on the way, so that a run that loads a network goes as one that
    does not.

    Args:
        kind: the network's class.
        path: a state dict, as `out/NAME.pt` holds it, in any precision.

    Raises:
        OSError: the file is not there or cannot be read.
        ValueError: it is damaged, or of another network; one line with the file's name.
    """
    with torch.device("meta"):  # shapes alone: nothing is initialized
        model = kind()
    content = io.BytesIO(path.read_bytes())
    try:
        states = torch.load(content, map_location="cpu", weights_only=True)
        wanted = model.state_dict()
        states = {name: tensor.to(wanted[name].dtype) for name, tensor in states.items()}
        if not all(tensor.isfinite().all() for tensor in states.values()):
            raise ValueError
        model.load_state_dict(states, assign=True)
    except Exception:  # torch.load raises whatever a damaged file leads it to
        name = type(model).__name__
        raise ValueError(
            f"{path} is damaged, or holds other weights than {name}'s: train it anew, or remove it"
        ) from None
    return model.eval()
