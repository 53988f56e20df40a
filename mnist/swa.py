"""The network of conv.py, its weights averaged over the last two fifths of the epochs.

python mnist/swa.py                  # 50 epochs, the last 20 averaged; 9 minutes on 2 cores
python mnist/swa.py --epochs 5       # the last 2 averaged

From 5 epochs on, training images are also shifted.
Test accuracy after 50 epochs: 99.62 ± 0.02 % (8 seeds, mnist/results/swa). conv has 99.61 ± 0.04 %.
Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima and Better Generalization",
https://arxiv.org/abs/1803.05407
"""

import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if not any(Path(folder, "common/run.py").exists() for folder in sys.path[:2]):
    sys.exit(f"{__file__} needs the folder {sys.path[0]}/common: copy it there, too")

from common.augment import shifted
from common.batches import accuracy, batches, predict
from common.dropout import Dropout
from common.flags import parse_flags
from common.run import Run


class ConvNet(nn.Sequential):
    """Images (n, 1, 28, 28) from -1 to 1 to logits (n, 10); 431,080 parameters."""

    def __init__(self, dropout: float = 0.25) -> None:
        super().__init__(
            nn.Conv2d(1, 20, 5),  # 20 x 24 x 24
            nn.ReLU(),
            Dropout(dropout),
            nn.MaxPool2d(2),  # 20 x 12 x 12
            nn.Conv2d(20, 50, 5),  # 50 x 8 x 8
            nn.ReLU(),
            Dropout(dropout),
            nn.MaxPool2d(2),  # 50 x 4 x 4
            nn.Flatten(),  # 800
            nn.Linear(800, 500),
            nn.ReLU(),
            Dropout(dropout),
            nn.Linear(500, 10),
        )


def main(argv: list[str] | None = None) -> None:
    flags = parse_flags(argv, __file__, __doc__, epochs=50, batch_size=125, lr=0.004)
    with Run(flags, bfloat16_pays=True) as run:
        x_train, y_train, x_test, y_test = run.load((1, 28, 28), classes=10)
        model = run.place(ConvNet())
        averaged = AveragedModel(model)
        optimizer = torch.optim.AdamW(model.parameters(), flags.lr, weight_decay=0.05, fused=True)
        # The rate rises from lr / 25 to lr, falls to lr / 10, and stays there for the averages.
        regular_epochs = flags.epochs * 3 // 5
        steps = run.steps // flags.epochs * regular_epochs
        schedule = OneCycleLR(
            optimizer, flags.lr, total_steps=steps + 1, div_factor=25, final_div_factor=0.4
        )
        reach = min(2, flags.epochs // 5)  # pixels: a longer run needs more variety

        for epoch in run.epochs(
            model=model, averaged=averaged, optimizer=optimizer, schedule=schedule
        ):
            if epoch == regular_epochs + 1:
                run.log("weight averaging:")
            lr = optimizer.param_groups[0]["lr"]
            losses = []
            model.train()
            for images, labels in batches(x_train, y_train, flags.batch_size):
                with run.autocast:
                    logits = model(shifted(images, reach))
                loss = cross_entropy(logits.float(), labels, label_smoothing=0.01)  # in float32
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if epoch <= regular_epochs:
                    schedule.step()
                losses.append(loss.detach())
            train_loss = torch.stack(losses).mean().item()
            if epoch > regular_epochs:
                averaged.update_parameters(model)
            percent = accuracy(predict(model, x_test), y_test)
            line = f"{epoch:3}.  lr: {lr:.4f}  training loss: {train_loss:8.6f}"
            line += f"  {run.tested} accuracy: {percent:5.2f}%"
            run.log(line, lr=lr, loss=train_loss, accuracy=percent)

        if not flags.evaluate:
            run.log(f"last weights: {run.figures[-1]['accuracy']:.2f}% {run.tested} accuracy")
            run.log(f"average weights of epochs {regular_epochs + 1} to {flags.epochs}:")
        run.finish(averaged.module, x_test, y_test, temperature=0.546, unsure=0.84)  # for predict


if __name__ == "__main__":
    main()
