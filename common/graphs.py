"""A network's passes on an accelerator as CUDA graphs.

The networks here are small, and so are their batches: an accelerator runs the hundreds of kernels
of a step in less time than the host takes to launch them one by one. A CUDA graph is recorded once,
and then launched as a whole.
"""

import gc
from typing import Any

import torch
from torch import Tensor, nn


def replay_passes(model: nn.Module, batch: Tensor, autocast: torch.autocast) -> None:
    """Have a network's forward and backward pass in training replayed as CUDA graphs.

    That is for batches of one shape. Others, such as a short last one, those that come with a
    recurrent network's state, and all in evaluation mode take the usual way. A copy that is made of
    the network afterwards would compute with this one's weights, not its own: make copies first.

    Args:
        model: the network, on a CUDA device.
        batch: images of the shape, (n, 1, 28, 28) float32, whatever they show.
        autocast: the context in which it will run.
    """
    gc.collect()  # an earlier network's graphs lie in a cycle, and must not go during a recording
    usual = model.forward
    states = {name: state.clone() for name, state in model.state_dict().items()}
    # The gradients are summed on the stream of the recording. Torch waits for it, and warns of it.
    torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(False)
    # Recording takes its streams from the current device, which need not be the network's.
    with torch.cuda.device_of(batch), autocast:
        # Each replay has to convert the weights anew, not to read what was converted before.
        torch.set_autocast_cache_enabled(False)
        torch.cuda.make_graphed_callables(model.train(), (batch,))
    replayed = model.forward
    model.load_state_dict(states)  # batch norms have gathered figures from the passes of recording

    def forward(images: Tensor, *state: Any, **named: Any) -> Any:
        if state or named or images.shape != batch.shape:
            return usual(images, *state, **named)
        return replayed(images)

    model.forward = forward
