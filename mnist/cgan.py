"""A conditional generative adversarial network: the digits that one asks for.

Both networks of gan.py are told the digit: the generator which to draw, the discriminator which an
image is said to be.
Mirza and Osindero 2014, "Conditional Generative Adversarial Nets", https://arxiv.org/abs/1411.1784

python mnist/cgan.py                 # 20 epochs, up to an hour on 2 cores
python mnist/cgan.py --epochs 4      # a first look
python mnist/sample.py 2026          # then: these digits, drawn anew each time

After 20 epochs 99.38 % of its digits are those asked for, as conv reads them, and their Frechet
distance from the test images is 1.05 times that of training images: mnist/results/cgan.log
"""

import sys
import time
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.average import update_average
from common.batches import Losses, batches, draw
from common.course import finish
from common.layers import Conv2d, ConvTranspose2d, Sigmoid, binary_cross_entropy
from common.mnist import makegrid
from common.run import Run, argument_parser
from common.scores import log_scores, trained_judge
from mnist.conv import ConvNet


class Generator(nn.Module):
    """Latent vectors (n, 100, 1, 1), labels (n,) to images (n, 1, 28, 28); 878,564 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Sequential(nn.Embedding(10, 10), nn.Unflatten(1, (10, 1, 1)))
        self.layers = nn.Sequential(
            ConvTranspose2d(110, 256, 4, bias=False),  # 256 x 4 x 4
            nn.BatchNorm2d(256),
            nn.ReLU(inplace=True),
            ConvTranspose2d(256, 128, 3, stride=2, padding=1, bias=False),  # 128 x 7 x 7
            nn.BatchNorm2d(128),
            nn.ReLU(inplace=True),
            ConvTranspose2d(128, 64, 4, stride=2, padding=1, bias=False),  # 64 x 14 x 14
            nn.BatchNorm2d(64),
            nn.ReLU(inplace=True),
            ConvTranspose2d(64, 1, 4, stride=2, padding=1, bias=False),  # 1 x 28 x 28
            nn.Tanh(),
        )

    def forward(self, latent: Tensor, labels: Tensor) -> Tensor:
        return self.layers(torch.cat([latent, self.embedding(labels)], 1))  # 110 x 1 x 1 enter


class Discriminator(nn.Module):
    """Images (n, 1, 28, 28), labels (n,) to how likely each is real, (n,); 700,964 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Sequential(
            nn.Embedding(10, 50), nn.Linear(50, 784), nn.Unflatten(1, (1, 28, 28))
        )
        self.layers = nn.Sequential(
            Conv2d(2, 64, 4, stride=2, padding=1, bias=False),  # 64 x 14 x 14
            nn.LeakyReLU(0.2, inplace=True),
            Conv2d(64, 128, 4, stride=2, padding=1, bias=False),  # 128 x 7 x 7
            nn.BatchNorm2d(128),
            nn.LeakyReLU(0.2, inplace=True),
            Conv2d(128, 256, 4, stride=2, padding=1, bias=False),  # 256 x 3 x 3
            nn.BatchNorm2d(256),
            nn.LeakyReLU(0.2, inplace=True),
            Conv2d(256, 1, 3, bias=False),  # 1 x 1 x 1
            Sigmoid(),
            nn.Flatten(0),
        )

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return self.layers(torch.cat([images, self.embedding(labels)], 1))  # 2 x 28 x 28 enter


def train_epoch(
    generator: nn.Module,
    discriminator: nn.Module,
    averaged: AveragedModel,
    generator_optimizer: torch.optim.Optimizer,
    discriminator_optimizer: torch.optim.Optimizer,
    autocast: torch.autocast,
    batches: Iterable[tuple[Tensor, Tensor]],
) -> list[float]:
    """Take a step of each network per batch; return the median losses, discriminator's first."""
    generator.train()
    discriminator.train()
    losses = Losses()
    for images, labels in batches:
        latent = torch.randn(len(images), 100, 1, 1, device=images.device)
        asked = torch.randint(10, labels.shape, device=images.device)

        # The discriminator's step: real images towards 0.8 to 1, generated ones towards 0.
        discriminator_optimizer.zero_grad()
        with autocast:
            generated = generator(latent, asked)
            real = discriminator(images, labels)
            fake = discriminator(generated.detach(), asked)
        target = torch.empty_like(real).uniform_(0.8, 1)
        real_loss = binary_cross_entropy(real, target)
        fake_loss = binary_cross_entropy(fake, torch.zeros_like(fake))
        discriminator_loss = real_loss + fake_loss
        discriminator_loss.backward()
        discriminator_optimizer.step()

        # The generator's step: all that it made towards 1.
        discriminator.requires_grad_(False)  # its gradients are not needed here, and cost time
        generator_optimizer.zero_grad()
        with autocast:
            fake = discriminator(generated, asked)
        generator_loss = binary_cross_entropy(fake, torch.ones_like(fake))
        generator_loss.backward()
        generator_optimizer.step()
        discriminator.requires_grad_(True)

        update_average(averaged, generator)
        losses.append(torch.stack([discriminator_loss.detach(), generator_loss.detach()]))
    return losses.stack().quantile(0.5, dim=0).tolist()


def main() -> None:
    args = argument_parser(__doc__, epochs=20, batch_size=60, lr=0.0002, graph=False).parse_args()
    with Run("cgan", args, bfloat16_pays=True) as run:
        x_train, y_train, x_test, y_test = run.load()
        latent = torch.randn(10_000, 100, 1, 1).to(run.device)  # of all pictures and scores
        asked = torch.arange(10).repeat(1000).to(run.device)
        rows = latent[:10].repeat_interleave(10, 0)  # of a picture: 10 digits of one latent vector
        generator, discriminator = run.place(Generator()), run.place(Discriminator())
        averaged = AveragedModel(generator, use_buffers=True)
        generator_optimizer = torch.optim.Adam(
            generator.parameters(), args.lr, betas=(0.5, 0.999), fused=True
        )
        discriminator_optimizer = torch.optim.Adam(
            discriminator.parameters(), args.lr, betas=(0.5, 0.999), fused=True
        )
        optimizers = generator_optimizer, discriminator_optimizer
        judge = trained_judge(run, ConvNet, x_train, x_test, y_test)

        for epoch in run.epochs(
            generator=generator,
            discriminator=discriminator,
            averaged=averaged,
            generator_optimizer=generator_optimizer,
            discriminator_optimizer=discriminator_optimizer,
        ):
            # The average is over about the last tenth of the iterations so far, 1000 at most.
            iterations = epoch * -(-len(x_train) // args.batch_size)  # rounded up
            window = min(max(iterations / 10, 1), 1000)
            averaged.multi_avg_fn = get_ema_multi_avg_fn(1 - 1 / window)
            data = batches(x_train, y_train, args.batch_size)
            discriminator_loss, generator_loss = train_epoch(
                generator, discriminator, averaged, *optimizers, run.autocast, data
            )
            run.require_finite(discriminator_loss, generator_loss)
            run.log(
                f"Epoch: {epoch:<5}{time.strftime('%H:%M:%S')}    Median loss"
                f" for discriminator: {discriminator_loss:.3f}\tgenerator: {generator_loss:.3f}"
            )
            images = draw(averaged.module, run.autocast, rows, asked[:100])
            run.save_picture(f"{epoch:02}.png", makegrid(images.squeeze(1).cpu().numpy(), 10, 10))
            scores = log_scores(run, judge, averaged.module, latent, asked)
            losses = {"discriminator loss": discriminator_loss, "generator loss": generator_loss}
            run.history.append({"epoch": epoch, **losses, **scores})

        run.save_bytes(".txt", f"{generator}\n{discriminator}\n".encode())
        finish(run, averaged.module, judge)


if __name__ == "__main__":
    main()
