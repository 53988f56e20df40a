"""The convolutional network with the average of its weights over the last two fifths of the epochs.

Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima and Better Generalization",
https://arxiv.org/abs/1803.05407; the network and its training are those of conv.py, with a dropout
of a half in place of a quarter.

python mnist/swa.py                  # 50 epochs, the last 20 averaged
python mnist/swa.py --epochs 5       # the last 2 averaged
torchrun --nproc-per-node 2 mnist/swa.py --trials 8    # does it help? 8 pairs, an hour

99.53 % of the test digits after 50 epochs (seed 0): mnist/results/swa.log. In eight pairs
averaging was a little worse than letting the rate fall: mnist/results/swa-trials.log
"""

import copy
import sys
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import ConstantLR, LRScheduler, OneCycleLR
from torch.optim.swa_utils import AveragedModel

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.batches import Losses, accuracy, batches, predict
from common.dropout import ReLUDropout
from common.run import Run, argument_parser, positive, random_states, set_random_states
from common.trials import join_processes, one_ahead, study

DROPOUT = 0.5  # as in the published study of pairs; conv's is a quarter


class ConvNet(nn.Sequential):
    """Images (n, 1, 28, 28) from -1 to 1 to logits (n, 10); 431,080 parameters."""

    def __init__(self, dropout: float = 0.25) -> None:
        super().__init__(
            nn.Conv2d(1, 20, 5),  # 20 x 24 x 24
            ReLUDropout(dropout),
            nn.MaxPool2d(2),  # 20 x 12 x 12
            nn.Conv2d(20, 50, 5),  # 50 x 8 x 8
            ReLUDropout(dropout),
            nn.MaxPool2d(2),  # 50 x 4 x 4
            nn.Flatten(),  # 800
            nn.Linear(800, 500),
            ReLUDropout(dropout),
            nn.Linear(500, 10),
        )


def shifted(images: Tensor, reach: int) -> Tensor:
    """Return images (n, 1, 28, 28), all moved alike, by up to `reach` pixels each way."""
    down, right = torch.randint(-reach, reach + 1, (2,)).tolist()
    return images.roll((down, right), (2, 3))  # what goes round MNIST's edges is all but blank


def train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: LRScheduler,
    autocast: torch.autocast,
    batches: Iterable[tuple[Tensor, Tensor]],
    reach: int,
) -> float:
    """Take a step for each batch, images (n, 1, 28, 28) and labels (n,); return the mean loss."""
    model.train()
    losses = Losses()
    for images, labels in batches:
        optimizer.zero_grad()  # first: the forward pass can then use the gradients' memory
        with autocast:
            logits = model(shifted(images, reach))
        loss = cross_entropy(logits.float(), labels, label_smoothing=0.01)  # in float32
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.detach())
        del logits, loss  # frees the graph: the next forward pass can use its memory
    return losses.stack().mean().item()


def beginning(run: Run, train_size: int) -> tuple[ConvNet, torch.optim.Optimizer, LRScheduler]:
    """Return the network, its optimizer, and the schedule of a run without averaging."""
    args = run.args
    model = run.place(ConvNet(DROPOUT))
    optimizer = torch.optim.AdamW(model.parameters(), args.lr, weight_decay=0.05, fused=True)
    steps = args.epochs * -(-train_size // args.batch_size)  # rounded up
    # With 5 steps in all the cycle would divide by zero.
    schedule = OneCycleLR(optimizer, args.lr, total_steps=max(steps, 6), pct_start=0.2)
    return model, optimizer, schedule


def trial(run: Run, data: tuple[Tensor, Tensor, Tensor, Tensor], seed: int) -> tuple[float, float]:
    """Return the test accuracies, in percent, of both ways to end one and the same training.

    They share all up to where averaging begins. From there both go on from the same weights, state
    of the optimizer and random numbers: one at a falling rate, one at a held rate and averaging.
    """
    x_train, y_train, x_test, y_test = data
    torch.manual_seed(seed)
    model, optimizer, falling = beginning(run, len(x_train))
    averaged = AveragedModel(model)
    run.graph(model)
    held = ConstantLR(optimizer, factor=1)  # leaves the rate where it is
    regular_epochs = run.args.epochs * 3 // 5
    reach = min(2, run.args.epochs // 5)

    def train(schedule: LRScheduler) -> None:
        data = batches(x_train, y_train, run.args.batch_size)
        loss = train_epoch(model, optimizer, schedule, run.autocast, data, reach)
        run.require_finite(loss)

    for _ in range(regular_epochs):
        train(falling)
    states = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    random = random_states(run.device)

    for _ in range(regular_epochs, run.args.epochs):
        train(falling)
    regular = accuracy(predict(model, x_test), y_test)

    model.load_state_dict(states[0])
    optimizer.load_state_dict(states[1])
    set_random_states(run.device, random)
    for _ in range(regular_epochs, run.args.epochs):
        train(held)
        averaged.update_parameters(model)
    return regular, accuracy(predict(averaged.module, x_test), y_test)


def main() -> None:
    parser = argument_parser(__doc__, epochs=50, batch_size=125, lr=0.004)
    parser.add_argument(
        "--trials",
        type=positive(int),
        metavar="N",
        help="train N pairs, with averaging and without, seeds from --seed on, and compare them",
    )
    args = parser.parse_args()
    if args.trials:
        join_processes()
        with Run("swa-trials", args, bfloat16_pays=True) as run:
            with one_ahead():
                digits = run.load()
            study(run, ConvNet(DROPOUT), lambda seed: trial(run, digits, seed))
        return
    with Run("swa", args, bfloat16_pays=True) as run:
        x_train, y_train, x_test, y_test = run.load()
        model, optimizer, falling = beginning(run, len(x_train))
        averaged = AveragedModel(model)
        held = ConstantLR(optimizer, factor=1)  # leaves the rate where it is
        regular_epochs = args.epochs * 3 // 5
        reach = min(2, args.epochs // 5)  # the longer a run, the more variety the images need

        for epoch in run.epochs(
            model=model, averaged=averaged, optimizer=optimizer, schedule=falling
        ):
            if epoch == regular_epochs + 1:
                run.log("weight averaging:")
            schedule = falling if epoch <= regular_epochs else held
            lr = optimizer.param_groups[0]["lr"]
            data = batches(x_train, y_train, args.batch_size)
            loss = train_epoch(model, optimizer, schedule, run.autocast, data, reach)
            run.require_finite(loss)
            if epoch > regular_epochs:
                averaged.update_parameters(model)
            correct = accuracy(predict(model, x_test), y_test)
            run.log(
                f"{epoch:3}.  lr: {lr:.4f}  training loss: {loss:8.6f}"
                f"  test accuracy: {correct:5.2f}%"
            )

        run.log(f"average weights of epochs {regular_epochs + 1} to {args.epochs}:")
        run.finish(averaged.module, predict(averaged.module, x_test), x_test, y_test)


if __name__ == "__main__":
    main()
