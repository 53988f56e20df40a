"""A network's passes on an accelerator as CUDA graphs.

The networks here are small, and so are their batches: an accelerator runs the hundreds of kernels
of a step in less time than the host takes to launch them one by one. A CUDA graph is recorded once,
and then launched as a whole.
"""

import torch
from torch import Tensor, nn


def replay_passes(model: nn.Module, batch: Tensor, autocast: torch.autocast) -> None:
    """Have a network's forward and backward pass in training replayed as CUDA graphs.

    That is for batches of one shape; others, such as a short last one, and all in evaluation mode
    take the usual way. A copy made of the network from then on would compute with its weights, not
    with those of its own: make copies first.

    Args:
        model: the network, on a CUDA device.
        batch: images of the shape, (n, 1, 28, 28) float32, whatever they show.
        autocast: the context in which it will run.
    """
    usual = model.forward
    states = {name: state.clone() for name, state in model.state_dict().items()}
    # Recording leaves the parameters' gradients to a stream of its own, which torch waits for.
    torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(False)
    with autocast:
        # Weights that were converted ahead of a graph would not be converted again with its replay.
        torch.set_autocast_cache_enabled(False)
        torch.cuda.make_graphed_callables(model.train(), (batch,))
    replayed = model.forward
    model.load_state_dict(states)  # batch norms have gathered figures from the passes of recording

    def forward(images: Tensor, *state: Tensor) -> Tensor:
        way = usual if state or images.shape != batch.shape else replayed
        return way(images, *state)

    model.forward = forward
