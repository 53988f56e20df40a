"""A generative adversarial network: it draws digits from random numbers.

A discriminator learns to tell handwritten digits from generated ones; a generator learns to make
digits that deceive it.

python mnist/gan.py                  # 20 epochs, an hour on 1 core
python mnist/gan.py --epochs 4       # a first look

After 20 epochs, the Frechet distance of its digits from the test images is 1.30 times that of
the first 10,000 training images, measured with conv's features (2 seeds, mnist/results/gan).
Goodfellow et al. 2014, "Generative Adversarial Networks", https://arxiv.org/abs/1406.2661
Radford et al. 2015 for the convolutions, https://arxiv.org/abs/1511.06434
"""

import sys
import time
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, one_hot
from torch.optim.lr_scheduler import PolynomialLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if not all(Path(sys.path[0], part).exists() for part in ("common/run.py", "mnist/conv.py")):
    sys.exit(f"{__file__} needs common/ and mnist/conv.py in {sys.path[0]}: copy them there, too")

from common.batches import batches, draw
from common.files import write_whole
from common.flags import parse_flags
from common.mnist import makegrid
from common.run import Run
from common.scores import Judge, finish_generator
from mnist.conv import ConvNet


class Generator(nn.Sequential):
    """Latent vectors (n, 100, 1, 1) to images (n, 1, 28, 28) from -1 to 1; 837,504 parameters."""

    def __init__(self) -> None:
        super().__init__(
            nn.ConvTranspose2d(100, 256, 4, bias=False),  # 256 x 4 x 4
            nn.BatchNorm2d(256),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(256, 128, 3, stride=2, padding=1, bias=False),  # 128 x 7 x 7
            nn.BatchNorm2d(128),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(128, 64, 4, stride=2, padding=1, bias=False),  # 64 x 14 x 14
            nn.BatchNorm2d(64),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(64, 1, 4, stride=2, padding=1, bias=False),  # 1 x 28 x 28
            nn.Tanh(),
        )

    def forward(self, latent: Tensor) -> Tensor:
        # Of the first ten numbers, the largest becomes 5 and the others 0: ten kinds of image. The
        # other 90 have a standard deviation of 1: beside them, 5 is large enough to matter at once.
        kinds = 5 * one_hot(latent[:, :10].argmax(1).flatten(), 10)  # n x 10
        return super().forward(torch.cat([kinds[:, :, None, None], latent[:, 10:]], 1))


class Discriminator(nn.Sequential):
    """Images (n, 1, 28, 28) from -1 to 1 to logits of P(real) (n,); 659,456 parameters."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 64, 4, stride=2, padding=1, bias=False),  # 64 x 14 x 14
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(64, 128, 4, stride=2, padding=1, bias=False),  # 128 x 7 x 7
            nn.BatchNorm2d(128),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(128, 256, 4, stride=2, padding=1, bias=False),  # 256 x 3 x 3
            nn.BatchNorm2d(256),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(256, 1, 3, bias=False),  # 1 x 1 x 1
            nn.Flatten(0),
        )

    def forward(self, images: Tensor) -> Tensor:
        # Noise hides an image's finest details: https://arxiv.org/abs/1701.04862
        images = images + 0.6 * torch.randn_like(images)
        return super().forward(images).float()  # the loss is in float32


def main(argv: list[str] | None = None) -> None:
    flags = parse_flags(argv, __file__, __doc__, epochs=20, batch_size=60, lr=0.004)
    with Run(flags, bfloat16_pays=True) as run:
        x_train, y_train, x_test, y_test = run.load((1, 28, 28), classes=10)
        latent = torch.randn(10_000, 100, 1, 1).to(run.device)  # for all pictures and scores
        generator = run.place(Generator())
        discriminator = run.place(Discriminator(), ".discriminator.pt")
        averaged = AveragedModel(generator, use_buffers=True)
        # The discriminator has the easier task, so its learning rate is half the generator's
        # (Heusel et al. 2017, https://arxiv.org/abs/1706.08500). Both fall evenly to 0.
        adam = partial(torch.optim.Adam, betas=(0.5, 0.99), fused=True)
        generator_optimizer = adam(generator.parameters(), flags.lr)
        discriminator_optimizer = adam(discriminator.parameters(), flags.lr / 2)
        generator_schedule = PolynomialLR(generator_optimizer, flags.epochs)
        discriminator_schedule = PolynomialLR(discriminator_optimizer, flags.epochs)
        judge = Judge(run, ConvNet, x_train, x_test, y_test)

        for epoch in run.epochs(
            generator=generator,
            discriminator=discriminator,
            averaged=averaged,
            generator_optimizer=generator_optimizer,
            discriminator_optimizer=discriminator_optimizer,
            generator_schedule=generator_schedule,
            discriminator_schedule=discriminator_schedule,
        ):
            # The average is over about the last tenth of the steps so far, 1000 at most.
            window = min(max(epoch * run.steps / flags.epochs / 10, 1), 1000)
            averaged.multi_avg_fn = get_ema_multi_avg_fn(1 - 1 / window)
            losses = []
            generator.train()
            discriminator.train()
            for images, _ in batches(x_train, y_train, flags.batch_size):
                # Twice as many as images, so that the generator's gradient is less noisy.
                noise = torch.randn(2 * len(images), 100, 1, 1, device=run.device)

                # The discriminator's step: its targets are 0.8 to 1 for real images, 0 for others.
                with run.autocast:
                    generated = generator(noise)
                    real = discriminator(images)
                    fake = discriminator(generated[: len(images)].detach())
                target = torch.empty_like(real).uniform_(0.8, 1)
                real_loss = binary_cross_entropy_with_logits(real, target)
                fake_loss = binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))
                discriminator_loss = real_loss + fake_loss
                discriminator_optimizer.zero_grad()
                discriminator_loss.backward()
                discriminator_optimizer.step()

                # The generator's step: the target of all that it drew is 1.
                discriminator.requires_grad_(False)  # its gradients are not needed, and cost time
                with run.autocast:
                    fake = discriminator(generated)
                generator_loss = binary_cross_entropy_with_logits(fake, torch.ones_like(fake))
                generator_optimizer.zero_grad()
                generator_loss.backward()
                generator_optimizer.step()
                discriminator.requires_grad_(True)

                averaged.update_parameters(generator)
                losses.append(torch.stack([discriminator_loss.detach(), generator_loss.detach()]))
            generator_schedule.step()
            discriminator_schedule.step()
            medians = torch.stack(losses).quantile(0.5, dim=0).tolist()
            images = draw(averaged.module, run.autocast, latent[:60])
            run.save_picture(f"{epoch:02}.png", makegrid(images.cpu().numpy(), 10, 6))
            line = f"Epoch: {epoch:<5}{time.strftime('%H:%M:%S')}    Median loss for"
            line += f" discriminator: {medians[0]:.3f}\tgenerator: {medians[1]:.3f}"
            run.log(line, discriminator_loss=medians[0], generator_loss=medians[1])
            judge.log_scores(averaged.module, latent)

        write_whole(run.path(".txt"), f"{generator}\n{discriminator}\n".encode())
        finish_generator(run, averaged.module, judge, latent, discriminator=discriminator)


if __name__ == "__main__":
    main()
