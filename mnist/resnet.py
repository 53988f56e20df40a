"""A residual network, trained on distorted images: copy it for your own images.

python mnist/resnet.py               # 20 epochs, 43 minutes on 1 core
python mnist/resnet.py --epochs 2    # a first look

Test accuracy after 20 epochs: 99.70 ± 0.06 % (2 seeds, mnist/results/resnet).
He et al. 2016, "Deep Residual Learning for Image Recognition", https://arxiv.org/abs/1512.03385
"""

import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if not any(Path(folder, "common/run.py").exists() for folder in sys.path[:2]):
    sys.exit(f"{__file__} needs the folder {sys.path[0]}/common: copy it there, too")

from common.augment import distorted
from common.batches import accuracy, batches, predict
from common.flags import parse_flags
from common.run import Run


def convolution(inputs: int, outputs: int, pool: bool = False) -> nn.Sequential:
    """Return a 3 x 3 convolution of maps (n, inputs, h, w), normalized; a pool halves h and w."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.MaxPool2d(2) if pool else nn.Identity(),
        nn.ReLU(),  # before the pool it would have the same effect, but four times the work
    )


class Residual(nn.Sequential):
    """Layers whose result is added to the maps (n, c, h, w) that enter them."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps + super().forward(maps)


class ResNet(nn.Sequential):
    """Images (n, 1, 28, 28) from -1 to 1 to logits (n, 10); 435,882 parameters."""

    def __init__(self, channels: int = 1, classes: int = 10) -> None:
        super().__init__(
            convolution(channels, 32),  # 32 x 28 x 28
            convolution(32, 32, pool=True),  # 32 x 14 x 14
            convolution(32, 64),
            convolution(64, 64, pool=True),  # 64 x 7 x 7
            convolution(64, 128),  # 128 x 7 x 7
            Residual(convolution(128, 128), convolution(128, 128)),
            nn.AdaptiveMaxPool2d(1),  # the largest of each map, whatever the size of the images
            nn.Flatten(),  # 128
            nn.Dropout(0.1),
            nn.Linear(128, classes),
        )


def main(argv: list[str] | None = None) -> None:
    flags = parse_flags(argv, __file__, __doc__, epochs=20, batch_size=125, lr=0.004)
    with Run(flags, bfloat16_pays=True) as run:
        x_train, y_train, x_test, y_test = run.load((1, 28, 28), classes=10)
        model = run.place(ResNet())
        recent = get_ema_multi_avg_fn(max(0, 1 - 16 / run.steps))  # mostly the last 16th of steps
        averaged = AveragedModel(model, multi_avg_fn=recent, use_buffers=True)
        optimizer = torch.optim.AdamW(model.parameters(), flags.lr, weight_decay=0.1, fused=True)
        # 6 steps at least: with 5, the rise takes 0.2 * 5 - 1 = 0, and OneCycleLR divides by it.
        schedule = OneCycleLR(optimizer, flags.lr, total_steps=max(run.steps, 6), pct_start=0.2)

        for epoch in run.epochs(
            model=model, averaged=averaged, optimizer=optimizer, schedule=schedule
        ):
            lr = optimizer.param_groups[0]["lr"]
            losses = []
            model.train()
            for images, labels in batches(x_train, y_train, flags.batch_size):
                with run.autocast:
                    logits = model(distorted(images, 0.15))
                loss = cross_entropy(logits.float(), labels, label_smoothing=0.1)  # in float32
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                averaged.update_parameters(model)
                losses.append(loss.detach())
            train_loss = torch.stack(losses).mean().item()
            percent = accuracy(predict(model, x_test), y_test)
            line = f"{epoch:3}.  lr: {lr:.4f}  training loss: {train_loss:8.6f}"
            line += f"  {run.tested} accuracy: {percent:5.2f}%"
            run.log(line, lr=lr, loss=train_loss, accuracy=percent)

        if not flags.evaluate:
            run.log("average weights of the last steps:")
        run.finish(averaged.module, x_test, y_test)


if __name__ == "__main__":
    main()
