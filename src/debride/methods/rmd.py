"""Reliable Mutual Distillation: two networks clean each other's labels, and teach each other what they are steady in."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from debride.batch import Batch
from debride.losses.pixel import cross_entropy, full_precision
from debride.losses.reduce import masked_mean, small_losses_within
from debride.methods.base import MakeNetwork, Method, Paper, Run, in_first, label_losses, mean_probability
from debride.methods.parts.selection import DEVIATIONS, TRUSTED, SelectionConfig, SmallLoss
from debride.methods.parts.teacher import ramp_up
from debride.networks.network import Network
from debride.settings import setting


class RMD(Method):
    """Two networks, each trained on the pixels that the other finds easy, and on what the other says where it is steady."""

    paper = Paper(
        title="Reliable Mutual Distillation for Medical Image Segmentation under Imperfect Annotations",
        authors="Fang, Wang, Cheng, Gao, Pan, Cao, Zheng, Zhang",
        year=2023,
        reference="IEEE TMI 42(6), doi:10.1109/TMI.2023.3237183",
        sections="Written from the public code (`lib/train/p_train_our.py`, `p_train_our_ACDC.py`)",
        trusted=TRUSTED,
        deviations=(
            "Written from the public code, which may differ from the paper where the paper says more.",
            "The code's share of wrong pixels is set to 0.004 or 0.005 of all. Here it is found by default, as for JoCoR.",
            "The divergence is summed over classes, of softmax: with two classes that is the code for one object. For several "
            "its ACDC script takes the divergence the other way round and the mean over classes.",
            "What one network distils into the other is a fixed target. In the code its gradient reaches both.",
            "The code's weight of the distillation is 0.0009, which hardly counts beside a mean cross-entropy: the default is "
            "larger.",
            "Images are mirrored at random and made noisy for the second pass. The code also deforms, turns and enlarges them.",
            "A network is perturbed by dropout on the features that enter its last layer. In the code dropout is in all levels "
            "of the encoder, from 0.05 to 0.5.",
            "The code's networks have further outputs at lower resolutions, which no loss of it uses; here they have none.",
            "Times are parts of the training: 10 of 50 epochs are a fifth.",
            "Predicts the mean of both networks' probabilities.",
            *DEVIATIONS,
        ),
    )

    @dataclass(frozen=True, kw_only=True)
    class Config(SelectionConfig):
        """What is cleaned, and what is distilled."""

        weight: float = setting(0.1, "Largest weight of the distillation (public code: 0.0009)", least=0, paper=0.0009)
        ramp: float = setting(
            0.2,
            "Part of the training in which that weight, and the reliable share, grow (public code: 10 of 50 epochs)",
            least=0,
            most=1,
        )
        reliable: float = setting(
            0.8, "Share of pixels that are distilled after it (public code: 0.8 on ACDC, 1 on LIDC)", above=0, most=1
        )
        noise: float = setting(
            0.1,
            "Gaussian noise of the second pass, in standard deviations of the image (public code: 0.02 of its range)",
            least=0,
        )
        dropout: float = setting(0.3, "Dropout of the second pass (public code: 0.05 to 0.5)", least=0, below=1)

    def build(self, make_network: MakeNetwork) -> None:
        """Two networks with initialisations of their own, and the selection."""
        self.first = make_network()
        self.second = make_network()
        for network in (self.first, self.second):
            network.need_features()
        self.small_loss = SmallLoss(self.config, self.classes, pairs=2)

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        """Each network's mean cross-entropy over what is easy for the other, and the distillation."""
        label, logits = batch.label, (self.first(batch.image), self.second(batch.image))
        easy = [self.small_loss(output, output, label, batch.trusted, run)[1] for output in logits]
        terms = {
            "first": masked_mean(cross_entropy(logits[0], label), easy[1]),
            "second": masked_mean(cross_entropy(logits[1], label), easy[0]),
        }
        grown = ramp_up(run, self.config.ramp)
        if self.config.weight:
            axes = [axis for axis in range(2, batch.image.ndim) if torch.rand((), generator=run.generator) < 0.5]
            image = batch.image.flip(axes)
            if self.config.noise and not in_first(self.config.ramp, run):
                image = image + self.config.noise * torch.randn_like(image)
            weak = [full_precision(output.detach()).flip(axes) for output in logits]
            strong = [full_precision(self._perturbed(network, image)) for network in (self.first, self.second)]
            distilled = mutual_distillation(weak, strong, min(grown * self.config.reliable, 1.0))
            terms["consistency"] = self.config.weight * grown * distilled.sum()
        return terms

    def end_epoch(self, run: Run) -> None:
        """Reads the noise rates where they are unknown."""
        self.small_loss.end_epoch(run)

    def doubt(self, run: Run) -> Tensor:
        """The mean loss of each case's labelled pixels: small ones are learnt from."""
        return label_losses(run)

    def predict(self, image: Tensor) -> Tensor:
        """The mean of both networks' probabilities (B, K, *S)."""
        return mean_probability((self.first, self.second), image)

    def _perturbed(self, network: Network, image: Tensor) -> Tensor:
        """A network's logits, with dropout before its last layer."""
        assert network.head is not None  # it has features
        logits: Tensor = network.head(F.dropout(network.features(image), self.config.dropout))
        return logits


def mutual_distillation(weak: list[Tensor], strong: list[Tensor], share: float) -> Tensor:
    """What two networks learn of each other, (2,), from both passes of each: logits (B, K, *S), the weak ones without a graph.

    A network is reliable at the ``share`` of pixels where its own passes differ least, by the squared distance of logits. There
    the other's strong pass follows its weak one: the mean of KL(weak || strong).
    """
    losses = []
    for teacher, student in ((1, 0), (0, 1)):
        unsteady = (strong[teacher].detach() - weak[teacher]).square().sum(dim=1)
        leave = unsteady.numel() - int(share * unsteady.numel())
        everywhere = torch.zeros_like(unsteady, dtype=torch.int64)
        reliable = small_losses_within(unsteady, everywhere, torch.tensor([leave], device=unsteady.device))
        target, followed = weak[teacher].log_softmax(dim=1), strong[student].log_softmax(dim=1)
        losses.append(masked_mean((target.exp() * (target - followed)).sum(dim=1), reliable))
    return torch.stack(losses)
