"""Weights, and the state of a run after an epoch, in files that are whole or not there."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from common.errors import DIVERGED, InputError
from common.files import write_whole

# What must be the same in the headers of a run and of its continuation.
FIXED = ["data", "test set", "images", "tested", "weights", "epochs", "batch_size", "lr", "seed"]
FIXED += ["labels", "device", "threads", "precision", "judge"]


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


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the network inside torch.compile's wrapper, DataParallel's or an average of weights.

    The names in their state dicts have prefixes that the network's own lack.
    """
    if isinstance(model, AveragedModel | DataParallel | DistributedDataParallel):
        return unwrapped(model.module)
    return getattr(model, "_orig_mod", model)


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a state dict of any floating-point precision, as `out/NAME.pt` holds it, into a network.

    Names lose the prefixes `_orig_mod.` of a compiled network and `module.` of DataParallel.
    Raises InputError if the file is damaged, not finite, or fits another network.
    """
    states = {
        str(name).removeprefix("_orig_mod.").removeprefix("module."): tensor
        for name, tensor in read(path).items()
    }
    try:
        whole = finite(states)
        unwrapped(model).load_state_dict(states)
    except Exception as error:  # torch raises whatever a strange tensor leads it to
        network, reason = type(unwrapped(model)).__name__, " ".join(str(error).split())[:200]
        raise InputError(f"{path} does not fit {network}: {reason}") from None
    if not whole:
        raise InputError(f"the weights in {path} are not finite: train anew")


def finite(states: Any) -> bool:
    """Return whether all floating-point tensors in nested dictionaries are finite."""
    if isinstance(states, dict):
        return all(map(finite, states.values()))
    if isinstance(states, Tensor) and states.is_floating_point():
        return bool((states.float() if states.itemsize == 1 else states).isfinite().all())
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
    path: Path, header: Mapping[str, Any], parts: Mapping[str, Any], device: torch.device
) -> dict[str, Any]:
    """Set parts and random numbers to the state that `save_state` has written; return all of it.

    If the file is damaged, or of a run with other settings or parts, InputError is raised.
    """
    state = read(path)
    kinds = {"header": dict, "figures": list, "lines": list, "states": dict, "random": list}
    if not all(isinstance(state.get(name), kind) for name, kind in kinds.items()):
        raise InputError(f"{path} is damaged, or no checkpoint of a run: leave out --resume")
    check_settings(path, state["header"], header)
    try:
        for name, part in parts.items():
            # Optimizers and schedules take the state of others without a word.
            if names_in(part.state_dict()) != names_in(state["states"][name]):
                raise KeyError(name)
            part.load_state_dict(state["states"][name])
        torch.set_rng_state(state["random"][0])
        if device.type != "cpu":
            torch.get_device_module(device).set_rng_state(state["random"][1], device)
    except Exception as error:  # each kind of part raises what it likes
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        text = f"{path} fits another network, optimizer or schedule ({reason}): leave out --resume"
        raise InputError(text) from None
    return state


def names_in(state: Mapping[str, Any]) -> list[Any]:
    """Return the names in a state dict, and those of an optimizer's groups of parameters."""
    return [list(state), *(sorted(group) for group in state.get("param_groups", []))]


def check_settings(path: Path, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Raise InputError if the header in a file is that of a run with other settings than ours."""
    for name in FIXED:
        then, now = theirs.get(name), ours.get(name)
        if name == "data":  # the same data may be elsewhere
            then, now = ((data or {}).get("hash") for data in (then, now))
        if then != now:
            hint = "give the same flags, or leave out --resume"
            raise InputError(f"{path} belongs to a run with {name} {then}, not {now}: {hint}")
