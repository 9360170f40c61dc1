"""What tests of L2B and MetaDCSeg share: small networks, a training that looks ahead in earnest, and equations written out.

The equations are written from the paper of MetaDCSeg, one pixel at a time and in float64: images (B, C, *S), labels (B, *S),
weights (B, 2, *S) of given labels and pseudo-labels.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from debride.batch import Batch, View
from debride.networks.network import Network
from debride.state import LabelState
from debride.training.look_ahead import LookAhead
from debride.types import IGNORE
from debride.warp import Warp
from tests.two_networks import Array, at, probabilities, random_labels

RATE = 0.2
SIZES = {2: (3, 7, 9), 3: (2, 4, 4, 5)}
"""Batches of images and of volumes (B, *S)."""
PLACES = [(2, 2), (2, 4), (3, 2), (3, 4)]
"""Numbers of spatial axes and of classes to try."""
OWN_CENTRE = 10
"""tau_min of Eq. 47."""

Pixel = tuple[int, ...]
Centres = dict[tuple[int, int, int], Tensor]
"""Own centres by image, class and region (object, background, boundary)."""


def small_network(ndim: int = 2, classes: int = 3) -> Network:
    """An encoder, a decoder and a head of one layer each, smooth and in float64; classes differ from pixel to pixel."""
    torch.manual_seed(10 * ndim + classes)
    layer = (nn.Conv2d, nn.Conv3d)[ndim - 2]
    trunk = nn.Sequential(layer(2, 4, 3, padding=1), nn.Tanh(), layer(4, 5, 1), nn.Tanh())
    with torch.no_grad():
        head = layer(5, classes, 1)
        for parameter in (*trunk.parameters(), *head.parameters()):
            parameter.mul_(3)
    return Network(trunk, head, decoder=("2.",)).double()


def batch_of(label: Tensor, *, image: Tensor | None = None, seed: int = 0, **maps: Tensor) -> Batch:
    """Random images with a label (B, *S), seen as they are."""
    generator = torch.Generator().manual_seed(seed + 1)
    if image is None:
        image = torch.randn((len(label), 2, *label.shape[1:]), generator=generator, dtype=torch.float64)
    return seen_by(Warp.identity(len(label), tuple(label.shape[1:])), image, label, range(len(label)), None, None, **maps)


def seen_by(
    warp: Warp,
    image: Tensor,
    label: Tensor,
    rows: Sequence[int],
    store: LabelState | None = None,
    origin: Tensor | None = None,
    **maps: Tensor,
) -> Batch:
    """A batch of one view of the store's ``rows``, with image and label in the view's geometry."""
    names = [] if store is None else [field.name for field in store.pixel_fields]
    fields = {name: warp.sample(store.read(name, rows, origin, warp.source_shape)).to(image) for name in names}  # type: ignore[union-attr]
    count = len(label)
    return Batch(
        views=(View(image, label, warp, origin, fields, maps),),
        index=torch.tensor(rows),
        stream=torch.zeros(count, dtype=torch.int64),
        trusted=torch.zeros(count, dtype=torch.bool),
        cases={},
    )


class Training:
    """An epoch of a training as a method sees it: the real look-ahead, and trusted cases that are always the same."""

    def __init__(
        self,
        *,
        ndim: int = 2,
        classes: int = 3,
        epoch: int = 10,
        epochs: int = 100,
        step: int = 0,
        store: LabelState | None = None,
        trusted: Batch | None = None,
    ) -> None:
        self.epoch, self.epochs, self.step, self.store, self.learning_rate = epoch, epochs, step, store, RATE
        label = random_labels(2, *(5, 4, 6)[:ndim], classes=classes, seed=4)
        self.trusted_cases = trusted or batch_of(label, seed=5)
        self.cases, self.trusted = 0, np.array([], np.int64)
        self.asked: list[int] = []
        self.logged: dict[str, float] = {}

    def look_ahead(self, network: Network, image: Tensor, scope: Any, derivative: Any) -> LookAhead:
        return LookAhead(network, image, scope, derivative)

    def trusted_batch(self, size: int) -> Batch:
        self.asked.append(size)
        return self.trusted_cases

    def summed(self, values: Tensor) -> Tensor:
        return values

    def log(self, **values: Tensor | float) -> None:
        self.logged.update({name: float(value) for name, value in values.items()})


# Equations 1 and 21 to 24


def labelled(label: Tensor) -> list[Pixel]:
    """The pixels (image, *position) that have a label."""
    known = label.numpy() != IGNORE
    return [where for where in np.ndindex(*known.shape) if known[where]]


def weight_at(kind: int, where: Pixel) -> Pixel:
    """Where alpha (0) or beta (1) of a pixel stands."""
    return (where[0], kind, *where[1:])


def both_at(values: Any, where: Pixel) -> Any:
    """alpha and beta of a pixel, in maps (B, 2, *S); or what is between the image and its axes of another map."""
    return values[(where[0], slice(None), *where[1:])]


def slow_pseudo(logits: Tensor, label: Tensor) -> Tensor:
    """The likeliest class of each labelled pixel (section 3.2.1)."""
    found = torch.full_like(label, IGNORE)
    for where in labelled(label):
        values = at(logits.detach().numpy(), where)
        found[where] = values.index(max(values))
    return found


def slow_bootstrapping(logits: Tensor, label: Tensor, weights: Array) -> Array:
    """Eq. 1."""
    p, pseudo = probabilities(logits), slow_pseudo(logits, label)
    loss = np.zeros(tuple(label.shape))
    for where in labelled(label):
        given, own = (-math.log(at(p, where)[int(target[where])]) for target in (label, pseudo))
        loss[where] = weights[weight_at(0, where)] * given + weights[weight_at(1, where)] * own
    return loss


class Virtual:
    """Eq. 21 as it stands: the trusted loss after a step on the weighted losses, as a function of the weights."""

    def __init__(self, network: Network, batch: Batch, training: Training, scope: str = "full") -> None:
        self.network, self.batch, self.training = copy.deepcopy(network), batch, training
        starts = {"full": ("",), "decoder": ("trunk.2.", "head."), "head": ("head.",)}[scope]
        self.parameters = dict(self.network.named_parameters())
        self.moved = [name for name in self.parameters if name.startswith(starts)]
        self.pseudo = slow_pseudo(self.network(batch.image), batch.label)
        self.count = len(labelled(batch.label))

    def value(self, weights: Tensor, create_graph: bool = False) -> Tensor:
        """The trusted cases' mean loss at theta - lr grad (1 / n) sum (alpha f + beta g)."""
        logits = self.network(self.batch.image)
        losses = [F.cross_entropy(logits, y, ignore_index=IGNORE, reduction="none") for y in (self.batch.label, self.pseudo)]
        weighted = (weights[:, 0] * losses[0] + weights[:, 1] * losses[1]).sum() / self.count
        found = torch.autograd.grad(weighted, [self.parameters[name] for name in self.moved], create_graph=create_graph)
        step = {n: self.parameters[n] - self.training.learning_rate * g for n, g in zip(self.moved, found, strict=True)}
        trusted = self.training.trusted_cases
        after = functional_call(self.network, {**self.parameters, **step}, (trusted.image,))
        return F.cross_entropy(after, trusted.label, ignore_index=IGNORE)

    def gradient(self, weights: Tensor | None) -> Array:
        """The derivative by each weight / n, by differentiation through the virtual step; no weights are zeros."""
        place = torch.zeros(len(self.batch), 2, *self.batch.label.shape[1:], dtype=torch.float64)
        place = (place if weights is None else weights.detach().double().clone()).requires_grad_()
        (found,) = torch.autograd.grad(self.value(place, create_graph=True), place)
        derivative: Array = self.count * found.numpy()
        return derivative

    def difference(self, weights: Tensor, place: Pixel, step: float = 1e-3) -> float:
        """The same for one weight, by central differences."""
        change = torch.zeros_like(weights)
        change[place] = step
        return self.count * float((self.value(weights + change) - self.value(weights - change)).detach()) / (2 * step)


def slow_normalised(weights: Array, label: Tensor, over: str) -> Array:
    """Eq. 23 and 24 with a mean of one for a sum of one."""
    found = np.zeros_like(weights)
    pixels = labelled(label)
    groups: dict[Pixel, list[Pixel]] = {}
    for where in pixels:
        group = {"batch": (), "image": where[:1], "class": (where[0], int(label[where])), "pixel": where}[over]
        groups.setdefault(group, []).append(where)
    for group in groups.values():
        places = [weight_at(kind, where) for where in group for kind in (0, 1)]
        total = sum(max(float(weights[place]), 0.0) for place in places)
        for place in places:
            found[place] = max(float(weights[place]), 0.0) / total * len(group) if total else 0.0
    return found


# Equations 6 to 12, 46 and 47


def slow_regions(probability: Tensor, edges: Tensor, label: Tensor, image: int, kind: int, tau: float) -> list[list[Pixel]]:
    """The pixels of object, background and boundary of a class in an image (Eq. 6 to 8)."""
    regions: list[list[Pixel]] = [[], [], []]
    values, steep = probability[image, kind].detach().numpy(), edges[image].numpy()
    for where in labelled(label[image]):
        p = float(values[where])
        for region, inside in zip(regions, (p > tau, p < 1 - tau, 1 - tau <= p <= tau or bool(steep[where])), strict=True):
            if inside:
                region.append((image, *where))
    return regions


def slow_centres(features: Tensor, probability: Tensor, edges: Tensor, label: Tensor, gamma: Tensor, tau: float) -> Centres:
    """The centres (Eq. 10) of the regions that have one of their own (Eq. 47)."""
    found: Centres = {}
    for image in range(len(label)):
        for kind in range(1, probability.shape[1]):
            for number, region in enumerate(slow_regions(probability, edges, label, image, kind, tau)):
                total = sum(float(gamma[where]) for where in region)
                if len(region) >= OWN_CENTRE and total > 0:
                    parts = [float(gamma[where]) * both_at(features, where) for where in region]
                    found[image, kind, number] = torch.stack(parts).sum(dim=0) / total
    return found


def slow_boundary(
    features: Tensor,
    probability: Tensor,
    edges: Tensor,
    label: Tensor,
    gamma: Tensor,
    loss: Tensor,
    tau: float,
    temperature: float,
    defaults: dict[tuple[int, int], Tensor] | None = None,
) -> Tensor:
    """The sums of Eq. 13's second term, as a mean over images and classes; ``defaults`` are c_default by class and region."""
    centres = slow_centres(features, probability, edges, label, gamma, tau)
    sums = []
    for image in range(len(label)):
        for kind in range(1, probability.shape[1]):
            boundary = slow_regions(probability, edges, label, image, kind, tau)[2]
            chosen = [centres.get((image, kind, number), (defaults or {}).get((kind, number))) for number in range(3)]
            scores = []
            for where in boundary:
                pixel = both_at(features, where)
                if any(centre is None for centre in chosen):
                    scores.append(pixel.new_zeros(()))
                    continue
                fg, bg, bd = ((pixel - centre).square().sum().sqrt() for centre in chosen if centre is not None)
                scores.append((fg * bg / (bd + 1e-8)).clamp(max=100) / temperature)
            if not boundary:
                sums.append(loss.new_zeros(()))
                continue
            powers = torch.stack(scores).exp()
            weights = powers / powers.sum()
            sums.append(torch.stack([w * loss[where] for w, where in zip(weights, boundary, strict=True)]).sum())
    return torch.stack(sums).mean()


def slow_dice(p: Array, label: Tensor) -> float:
    """1 - (2 sum p y + 1) / (sum p + sum y + 1), as a mean over images and foreground classes."""
    losses = []
    for image in range(len(label)):
        pixels = [where for where in labelled(label) if where[0] == image]
        for kind in range(1, p.shape[1]):
            hits = sum(at(p, where)[kind] for where in pixels if label[where] == kind)
            both = sum(at(p, where)[kind] + int(label[where] == kind) for where in pixels)
            losses.append(1 - (2 * hits + 1) / (both + 1))
    return sum(losses) / len(losses)


def near(found: Tensor | Array, expected: Tensor | Array, tolerance: float = 1e-9) -> None:
    """Equal within ``tolerance`` of the largest value."""
    one, other = np.asarray(torch.as_tensor(found).detach()), np.asarray(torch.as_tensor(expected).detach())
    assert one.shape == other.shape
    scale = float(np.abs(other).max())
    np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * scale + 1e-300)


def random_weights(*size: int, seed: int = 0) -> Tensor:
    """Weights (B, 2, *S) in float64, a third of them zero."""
    found = 3 * torch.rand((size[0], 2, *size[1:]), generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 1
    return found.clamp(min=0)
