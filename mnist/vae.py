"""A variational autoencoder: an encoder turns a digit into a few numbers, a decoder draws it again.

python mnist/vae.py                       # 40 epochs, 56 minutes on 1 core
python mnist/sample.py --network vae --count 20

After 40 epochs, the importance-weighted bound is 84.53 nats an image in float32, 84.39 nats in
bfloat16 (1 seed each, mnist/results/vae).
Kingma and Welling 2014, "Auto-Encoding Variational Bayes", https://arxiv.org/abs/1312.6114
Burda et al. 2016, "Importance Weighted Autoencoders", https://arxiv.org/abs/1509.00519
"""

import math
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if not all(Path(sys.path[0], part).exists() for part in ("common/run.py", "mnist/conv.py")):
    sys.exit(f"{__file__} needs common/ and mnist/conv.py in {sys.path[0]}: copy them there, too")

from common.batches import batches, draw, pixels, scaled
from common.errors import InputError
from common.flags import parse_flags
from common.mnist import makegrid
from common.run import Run
from common.scores import Judge, finish_generator
from mnist.conv import ConvNet


def normalized(layer: nn.Conv2d | nn.ConvTranspose2d) -> nn.Sequential:
    """Return a convolution of maps (n, c, h, w) with batch norm and ReLU."""
    return nn.Sequential(layer, nn.BatchNorm2d(layer.out_channels), nn.ReLU())


class VAE(nn.Module):
    """Latent vectors (n, 40) to images (n, 1, 28, 28) from -1 to 1; 1,781,524 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            normalized(nn.Conv2d(1, 32, 4, stride=2, padding=1, bias=False)),  # 32 x 14 x 14
            normalized(nn.Conv2d(32, 64, 4, stride=2, padding=1, bias=False)),  # 64 x 7 x 7
            nn.Flatten(),  # 3136
            nn.Linear(3136, 256),
            nn.ReLU(),
            nn.Linear(256, 2 * 40),  # 80: means and logarithms of variances
        )
        self.decoder = nn.Sequential(
            nn.Linear(40, 256),
            nn.ReLU(),
            nn.Linear(256, 3136),
            nn.Unflatten(1, (64, 7, 7)),  # 64 x 7 x 7
            nn.ReLU(),
            normalized(nn.Conv2d(64, 64, 3, padding=1, bias=False)),
            normalized(nn.Conv2d(64, 64, 3, padding=1, bias=False)),
            normalized(nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1, bias=False)),
            nn.Conv2d(32, 4, 3, padding=1),  # 4 x 14 x 14
            nn.PixelShuffle(2),  # 1 x 28 x 28
        )

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and logarithms of variances, (n, 40) each, of q(latent | image)."""
        mean, log_variance = self.encoder(images).float().chunk(2, 1)
        return mean, log_variance - 4  # little noise at first, or the decoder ignores the means

    def reconstruction(self, latent: Tensor, images: Tensor) -> Tensor:
        """Return -log p(image | latent), (n,), of images of 0s and 1s: the sum over all pixels."""
        logits = self.decoder(latent).float()
        return binary_cross_entropy_with_logits(logits, images, reduction="none").sum((1, 2, 3))

    def losses(self, images: Tensor) -> Tensor:
        """Return reconstruction loss and KL divergence of images of 0s and 1s, (n, 2), in nats."""
        mean, log_variance = self.encode(images)
        latent = mean + (log_variance / 2).exp() * torch.randn_like(mean)
        kl = (mean**2 + log_variance.exp() - log_variance - 1).sum(1) / 2  # over 40 dimensions
        return torch.stack([self.reconstruction(latent, images), kl], 1)

    def bound(self, image: Tensor, samples: int) -> Tensor:
        """Return a bound for an image x (1, 1, 28, 28): -log mean of p(x | z) p(z) / q(z | x)."""
        mean, log_variance = self.encode(image)  # 1 x 40
        noise = torch.randn(samples, 40, device=image.device)
        latent = mean + (log_variance / 2).exp() * noise  # z: samples x 40
        log_ratio = (noise**2 + log_variance - latent**2).sum(1) / 2  # log p(z) - log q(z | x)
        log_likelihood = -self.reconstruction(latent, image.expand(samples, -1, -1, -1))
        return math.log(samples) - (log_likelihood + log_ratio).logsumexp(0)

    def forward(self, latent: Tensor) -> Tensor:
        return 2 * self.decoder(latent).float().sigmoid() - 1


def main(argv: list[str] | None = None) -> None:
    flags = parse_flags(argv, __file__, __doc__, epochs=40, batch_size=100, lr=0.004)
    with Run(flags, bfloat16_pays=True) as run:
        x_train, y_train, x_test, y_test = run.load((1, 28, 28), classes=10)
        if x_train.dtype != torch.uint8:
            raise InputError("pixels become probabilities: vae.py needs them as uint8, 0 to 255")
        latent = torch.randn(10_000, 40).to(run.device)  # for all pictures and scores
        binary = torch.bernoulli((scaled(x_test) + 1) / 2)  # the same 0s and 1s in every epoch
        vae = run.place(VAE())
        averaged = AveragedModel(vae, use_buffers=True).eval()
        average: Any = averaged.module  # a VAE, whose methods the type of `averaged` lacks
        optimizer = torch.optim.AdamW(vae.parameters(), flags.lr, weight_decay=0.01, fused=True)
        # 11 steps at least: with 10, the rise takes 0.1 * 10 - 1 = 0, and OneCycleLR divides by it.
        schedule = OneCycleLR(optimizer, flags.lr, total_steps=max(run.steps, 11), pct_start=0.1)
        judge = Judge(run, ConvNet, x_train, x_test, y_test)

        for epoch in run.epochs(vae=vae, averaged=averaged, optimizer=optimizer, schedule=schedule):
            # The average is over about the last tenth of the steps so far, 1000 at most.
            window = min(max(epoch * run.steps / flags.epochs / 10, 1), 1000)
            averaged.multi_avg_fn = get_ema_multi_avg_fn(1 - 1 / window)
            losses = []
            vae.train()
            for images, _ in batches(x_train, y_train, flags.batch_size):
                with run.autocast:
                    both = vae.losses(torch.bernoulli((images + 1) / 2)).mean(0)  # 2 losses
                optimizer.zero_grad()
                both.sum().backward()  # reconstruction + KL, in nats an image
                optimizer.step()
                schedule.step()
                averaged.update_parameters(vae)
                losses.append(both.detach())
            with torch.no_grad(), run.autocast:
                parts = [average.losses(images) for images in binary.split(250)]
            train, test = torch.stack(losses).mean(0).tolist(), torch.cat(parts).mean(0).tolist()
            images = draw(average, run.autocast, latent[:60])
            run.save_picture(f"{epoch:02}.png", makegrid(images.cpu().numpy(), 10, 6))
            line = f"Epoch: {epoch:<5}training: reconstruction {train[0]:.2f} + KL {train[1]:.2f}"
            line += f"  {run.tested}: reconstruction {test[0]:.2f} + KL {test[1]:.2f} nats"
            names = ("reconstruction", "kl", "test_reconstruction", "test_kl")
            run.log(line, **dict(zip(names, train + test, strict=True)))
            if epoch == flags.epochs:  # after each epoch it would take too long
                judge.log_scores(average, latent)

        first, samples = binary[:20], 100
        with torch.no_grad(), run.autocast:
            mean, _ = average.encode(first)
            single = tqdm(binary.split(1), disable=None, leave=False)
            bound = torch.stack([average.bound(image, samples) for image in single]).mean().item()
        run.log(f"\nImportance-weighted bound, {samples} samples an image: {bound:.2f} nats")
        walk = mean[0].lerp(mean[-1], torch.linspace(0, 1, len(mean)).to(mean).unsqueeze(1))
        drawn = draw(average, run.autocast, torch.cat([mean, walk]))
        images = torch.cat([pixels(2 * first - 1), drawn])  # three rows, the last is the walk
        run.save_picture(".rebuilt.png", makegrid(images.cpu().numpy(), 3, len(first)))
        finish_generator(run, average, judge, latent, bound=bound)


if __name__ == "__main__":
    main()
