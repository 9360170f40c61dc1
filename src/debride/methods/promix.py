"""ProMix: a base of small losses, the same number from every class, grows by labels that a network is sure of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from debride.batch import Batch
from debride.losses.pixel import full_precision
from debride.losses.reduce import masked_mean, small_losses_within
from debride.losses.semi import mix, mixing_share, ramp, sharpen, soft_cross_entropy
from debride.methods.base import Look, MakeNetwork, Method, Paper, Phase, Run, in_first, label_losses, mean_probability
from debride.methods.parts.semi_supervised import NAMES, Division, warm_up_losses
from debride.networks.network import Network
from debride.settings import setting
from debride.types import IGNORE


class ProMix(Method):
    """Two networks learn clean labels, found by loss and by confidence, and with a head more from guesses for the others."""

    tasks: ClassVar[frozenset[str]] = frozenset({"classification"})
    paper = Paper(
        title="ProMix: Combating Label Noise via Maximizing Clean Sample Utility",
        authors="Xiao, Dong, Wang, Feng, Wu, Chen, Zhao",
        year=2023,
        reference="IJCAI 2023, doi:10.24963/ijcai.2023/494, arXiv:2207.10276",
        sections="Small losses by class, matched high confidence, label guessing by agreement, the auxiliary pseudo head and "
        "debiased training; details after the published code",
        deviations=(
            "Chosen as the leader by open evidence: its first version won the challenge on learning with noisy labels of "
            "IJCAI-ECAI 2022, which is on CIFAR-N, as its repository says.",
            "Both heads learn from one mixture; in the published code each has its own, and one by FMix, which is not built.",
            "The weight of guesses grows to 0.1 in twice the ramp and is 0 from then on, as in the published code.",
            "Parts of the training stand for epochs of 600. The published runs have one share rho from beginning to end.",
            "The share of small losses is of the labelled images. Images without a label are never selected.",
            "Where nothing is selected, or everything, the terms of that part are 0 and its frequencies stay.",
            "Predicts the mean of both networks' probabilities, by the first heads; the published code adds logits.",
            "The contrastive head of the published code has no part in its loss and is not built.",
            "With several processes each guesses, mixes and averages within its part of a batch.",
        ),
    )

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Who is selected, and how both heads learn."""

        warm_up: float = setting(0.2, "Part of the training on all labels (10 of 600 epochs)", least=0, most=1, paper=0.017)
        ramp: float = setting(
            0.3, "Part of the training in which views and mixtures gain weight (50 of 600)", least=0, most=1, paper=0.083
        )
        rho: float = setting(0.5, "Of every class so many small losses, in shares of the mean class", above=0, most=1)
        tau: float = setting(0.99, "Probability above which a label is sure (0.95 for CIFAR-100)", least=0, below=1)
        expand: float = setting(0.417, "Last part of the training that takes agreed guesses as labels", least=0, most=1)
        most: float = setting(0.9, "Share of a batch up to which guesses are taken", least=0, most=1)
        debias: float = setting(0.8, "Strength of the correction of losses and guesses for class frequencies", least=0)
        bias_momentum: float = setting(
            0.999, "Of the running class frequencies (--bias_m of the code)", least=0, below=1, paper=0.9999
        )
        lambda_u: float = setting(0.1, "Weight of guesses at the end of their growth", least=0)
        temperature: float = setting(0.5, "Of sharpening", above=0)
        alpha: float = setting(4.0, "Of the Beta distribution of mixtures", above=0)

    def build(self, make_network: MakeNetwork) -> None:
        """Two networks, each with a pseudo head, and the class frequencies (2, 2, K): network, selected or not, class."""
        self.first, self.second = make_network(), make_network()
        heads = {
            name: nn.Linear(network.channels, self.classes)
            for name, network in zip(NAMES, (self.first, self.second), strict=True)
        }
        self.heads = nn.ModuleDict(heads)
        self.frequency: Tensor
        self.register_buffer("frequency", torch.full((2, 2, self.classes), 1 / self.classes))
        self.divisions: dict[str, Division] = {}

    def start_epoch(self, run: Run) -> None:
        """Selects by each network's own losses, after the warm-up."""
        if in_first(self.config.warm_up, run):
            return
        for name, network in zip(NAMES, (self.first, self.second), strict=True):
            loss, label = torch.zeros(run.cases, dtype=torch.float64), torch.zeros(run.cases, dtype=torch.int64)
            for swept in run.sweep(run.own, network):
                valid = swept.label != IGNORE
                chance = swept.probability.gather(1, swept.label.where(valid, 0)[:, None])[:, 0]
                loss[swept.rows] = -chance.double().clamp(min=1e-12).log().cpu()
                label[swept.rows] = swept.label.cpu()
            selected = smallest_by_class(run.summed(loss), run.summed(label), self.classes, self.config.rho)
            self.divisions[name] = Division(selected, selected.float())

    def plan(self, run: Run) -> tuple[Phase, ...]:
        """One pass over all images; after the warm-up in a weak and a strong view."""
        looks = (Look(),) if in_first(self.config.warm_up, run) else (Look(), Look("strong", own_warp=True))
        return (Phase(looks=looks),)

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        """Both networks' cross-entropies in the warm-up; then the losses of both heads of each."""
        networks = (self.first, self.second)
        if in_first(self.config.warm_up, run):
            return warm_up_losses(networks, batch, penalise=False)
        views = [view.image for view in batch.views]
        features = [[network.features(view) for view in views] for network in networks]
        logits = [[full_precision(_head(net)(f)) for f in own] for net, own in zip(networks, features, strict=True)]
        chances = [own[0].detach().softmax(dim=1) for own in logits]
        given, valid = F.one_hot(batch.label.where(batch.label != IGNORE, 0), self.classes), batch.label != IGNORE
        expanding = not in_first(1 - self.config.expand, run)
        terms: dict[str, Tensor] = {}
        for number, (name, network) in enumerate(zip(NAMES, networks, strict=True)):
            base = self.divisions[name].of(batch)[0]
            sure = base | (((given * chances[number]).sum(dim=1) > self.config.tau) & valid)  # matched high confidence
            chosen = guessed(sure, chances[0], chances[1], self.config.tau, self.config.most) if expanding else sure
            auxiliary = [full_precision(self.heads[name](f)) for f in features[number]]
            mixture = _Mixture(network, self.heads[name], views[0][chosen], self.config.alpha, run)
            own = self._terms(run, number, logits[number], auxiliary, given.to(chances[0]), sure, chosen, mixture)
            terms.update({f"{name} {part}": term for part, term in own.items()})
            self._count(number, chances[number], chosen)
            run.log(**{f"{name}_selected": chosen.float().mean()})
        return terms

    def _terms(
        self,
        run: Run,
        number: int,
        logits: list[Tensor],
        auxiliary: list[Tensor],
        given: Tensor,
        sure: Tensor,
        chosen: Tensor,
        mixture: _Mixture,
    ) -> dict[str, Tensor]:
        """The losses of one network's first and pseudo head."""
        config, (reliable, unreliable) = self.config, self.frequency[number].log()
        later, grown = (ramp(run.epoch, 0, times * config.ramp * run.epochs) for times in (1, 2))
        strength = config.lambda_u * grown
        guess = F.one_hot((logits[0].detach() - config.debias * reliable).argmax(dim=1), self.classes).to(given)
        target = torch.where(sure[:, None], given, guess)
        shift = config.debias * reliable
        terms = {}
        for part, (weak, strong), mixed in zip(("main", "pseudo"), (logits, auxiliary), mixture.logits, strict=True):
            loss = soft_cross_entropy(weak + shift, target) + later * soft_cross_entropy(strong + shift, target)
            terms[part] = masked_mean(loss, chosen)
            if len(mixed):
                partners = mix(target[chosen], mixture.partner, mixture.share)
                terms[part] = terms[part] + later * soft_cross_entropy(mixed + shift, partners).mean()
        if grown < 1:
            other = sharpen((logits[0].detach() - config.debias * unreliable).softmax(dim=1), config.temperature)
            shift = config.debias * unreliable
            loss = soft_cross_entropy(auxiliary[0] + shift, other) + later * soft_cross_entropy(auxiliary[1] + shift, other)
            terms["unselected"] = strength * masked_mean(loss, ~chosen)
        return terms

    @torch.no_grad()
    def _count(self, number: int, chance: Tensor, chosen: Tensor) -> None:
        """Moves the running class frequencies of selected and of other images."""
        for place, part in enumerate((chosen, ~chosen)):
            if bool(part.any()):
                self.frequency[number, place].lerp_(chance[part].mean(dim=0).to(self.frequency), 1 - self.config.bias_momentum)

    def doubt(self, run: Run) -> Tensor:
        """The loss of each given label, by the mean of both networks."""
        return label_losses(run)

    def predict(self, image: Tensor) -> Tensor:
        """The mean of both networks' probabilities (B, K)."""
        return mean_probability((self.first, self.second), image)


class _Mixture:
    """Both heads' logits of selected images mixed with each other, with the share and the partners."""

    def __init__(self, network: Network, head: nn.Module, image: Tensor, alpha: float, run: Run) -> None:
        self.share = mixing_share(alpha, run.generator)
        self.partner = torch.randperm(len(image), generator=run.generator).to(image.device)
        self.logits = [image.new_zeros(0), image.new_zeros(0)]
        if len(image):
            features = network.features(mix(image, self.partner, self.share))
            self.logits = [full_precision(layer(features)) for layer in (_head(network), head)]


def _head(network: Network) -> nn.Module:
    assert network.head is not None  # build asks for its features
    return network.head


def smallest_by_class(loss: Tensor, label: Tensor, classes: int, rho: float) -> Tensor:
    """Of each class the ceil(``rho`` N / K) images of the smallest loss (N,), as a mask (N,) bool, of N with a label (N,).

    At least one of a class that occurs, and at most all of it.
    """
    valid = label != IGNORE
    counts = label[valid].bincount(minlength=classes)
    wanted = -int(-valid.sum() * rho // classes)
    leave = (counts - max(1, wanted)).clamp(min=0)
    return small_losses_within(loss, label.where(valid, -1), leave)


def guessed(sure: Tensor, first: Tensor, second: Tensor, tau: float, most: float) -> Tensor:
    """The ``sure`` (B,) and images that both networks' probabilities (B, K) give one class with more than ``tau``.

    The surest of them are added until ``most`` of the batch is selected.
    """
    (score, own), (other_score, other) = first.max(dim=1), second.max(dim=1)
    new = (score > tau) & (other_score > tau) & (own == other) & ~sure
    room = int(len(sure) * most) - sure.sum()
    order = ((score + other_score) / 2).where(new, -1).argsort(descending=True, stable=True)
    place = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
    return sure | (new & (place < room))
