"""How distances from class centres become weights of images: what DCD and its form for masks share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from debride.losses.hardness import importance, standardised, temperature_for
from debride.settings import setting

DEVIATIONS = (
    "Features are scaled to length one: raw distances are of the order of ten, and a batch would hang on its farthest image "
    "(`--features raw` as printed).",
    "Eq. 9 has no temperature. With features of length one nearly all images then weigh the same. `--spread none` takes, for "
    "each batch, the temperature that leaves an `effective` part of it.",
    "With `--spread none` a distance is measured from the mean of its class in the class's deviations, both of the epoch "
    "before. A class whose features scatter would else have most of the weight.",
)
"""The departures that both list."""


@dataclass(frozen=True, kw_only=True)
class CentreConfig:
    """How sharply distances become weights."""

    features: Literal["unit", "raw"] = setting("unit", "Scaled to length one, or as they are", paper="raw")
    spread: float | None = setting(
        1.0, "Temperature of Eq. 9, which has none; none: the one that leaves an `effective` share", above=0
    )
    effective: float = setting(
        0.6, "Share of a batch that weights leave in effect, (sum w)^2 / (n sum w^2), our choice", above=0, most=1
    )

    def gamma(self, distance: Tensor) -> Tensor:
        """Gamma (B,) of distances (B,) (Eq. 9)."""
        return importance(distance, temperature_for(self.effective, distance) if self.spread is None else self.spread)

    def scaled(self, features: Tensor, axis: int = 1) -> Tensor:
        """Features, of length one along an ``axis`` if they are to be, in float32."""
        features = features.detach().float()
        return F.normalize(features, dim=axis) if self.features == "unit" else features

    def measured(self, distance: Tensor, target: Tensor, moments: Tensor) -> Tensor:
        """Distances (B,) as Gamma takes them: in the deviations of their class by ``moments`` (2, K), or as they are with a
        given spread."""
        return standardised(distance, target, moments) if self.spread is None else distance
