"""Files that are whole or not there: weights, and the state of a run after an epoch."""

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.errors import DIVERGED, InputError


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, then rename it: no reader finds half a file.

    The folder is made if it is missing. If OSError is raised, an older file is still there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        error.filename = str(path)  # not the temporary name, or none
        raise
    finally:
        temporary.unlink(missing_ok=True)


def save(path: Path, states: Mapping[str, Any]) -> None:
    """Write a dictionary as torch.save does, whole or not at all."""
    content = io.BytesIO()
    torch.save(states, content)
    write_whole(path, content.getvalue())


def read(path: Path) -> dict[str, Any]:
    """Return what `save` wrote, on the CPU; InputError if the file is damaged."""
    content = io.BytesIO(path.read_bytes())
    try:
        return dict(torch.load(content, map_location="cpu", weights_only=True))
    except Exception as error:  # torch.load raises whatever a damaged file leads it to
        kind = type(error).__name__
        raise InputError(f"{path} is damaged, or no state dict ({kind}): train anew") from None


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a state dict of any floating-point precision, as `out/NAME.pt` holds it, into a network.

    Names lose the prefixes `_orig_mod.` of a compiled network and `module.` of DataParallel.
    Raises InputError if the file is damaged, not finite, or fits another network.
    """
    states = {
        name.removeprefix("_orig_mod.").removeprefix("module."): tensor
        for name, tensor in read(path).items()
    }
    if not finite(states):
        raise InputError(f"the weights in {path} are not finite: train anew")
    try:
        model.load_state_dict(states)
    except (RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path} does not fit {type(model).__name__}: {reason}") from None


def finite(states: Any) -> bool:
    """Return whether all floating-point tensors in nested dictionaries are finite."""
    if isinstance(states, dict):
        return all(map(finite, states.values()))
    if isinstance(states, Tensor) and states.is_floating_point():
        return bool(states.isfinite().all())
    return True


def save_state(
    path: Path, parts: Mapping[str, Any], device: torch.device, progress: Mapping[str, Any]
) -> None:
    """Write progress and the states of parts and random numbers; InputError if not finite."""
    states = {name: part.state_dict() for name, part in parts.items()}
    if not finite(states):
        raise InputError(DIVERGED)
    random = [torch.get_rng_state()]
    if device.type != "cpu":
        random.append(torch.get_device_module(device).get_rng_state(device))
    save(path, {**progress, "states": states, "random": random})


def load_state(
    path: Path, parts: Mapping[str, Any], device: torch.device, settings: Mapping[str, str]
) -> dict[str, Any]:
    """Set parts and random numbers to what `save_state` wrote, and return the progress.

    Raises InputError if the file is damaged, or of other parts or settings.
    """
    state = read(path)
    for name, value in settings.items():
        if state.get("settings", {}).get(name) != value:
            hint = "give the same flags, or leave out --resume"
            raise InputError(f"{path} belongs to a run with another {name}: {hint}")
    try:
        for name, part in parts.items():
            part.load_state_dict(state["states"][name])
    except (KeyError, RuntimeError, ValueError):
        raise InputError(f"{path} fits another network or optimizer: leave out --resume") from None
    torch.set_rng_state(state["random"][0])
    if device.type != "cpu":
        torch.get_device_module(device).set_rng_state(state["random"][1], device)
    return state
