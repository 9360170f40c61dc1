"""MetaDCSeg's boundary term: dynamic centres of features, and more weight where a pixel lies between them (Eq. 5 to 12)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from debride.losses.centres import BOUNDARY, boundary_weights, centre_distance, decompose, doubt_of, weighted_centres
from debride.losses.pixel import full_precision
from debride.networks.network import Network

DCD_MAX = 100.0
"""DCD_max of Eq. 46."""
TAU_MIN = 10
"""tau_min of Eq. 47: a region of fewer pixels takes the default centre."""


class BoundaryTerm(nn.Module):
    """The weighted loss of boundary pixels, and the default centres: the means of the last epoch's centres (Eq. 47).

    Sums and counts of centres are buffers: saved and resumed with the weights, averaged over processes. Before there is a
    default for a region that needs one, all boundary pixels of that class weigh the same.
    """

    last: Tensor
    current: Tensor

    def __init__(
        self, network: Network, classes: int, tau: float | None, share: float, temperature: float, through_weights: bool
    ) -> None:
        super().__init__()
        self.tau, self.share, self.temperature, self.through_weights = tau, share, temperature, through_weights
        for name in ("last", "current"):
            self.register_buffer(name, torch.zeros(classes - 1, 3, network.channels + 1))

    def forward(
        self, features: Tensor, probability: Tensor, edges: Tensor, valid: Tensor, gamma: Tensor, loss: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The mean over images and foreground classes of sum w L over the boundary (second term of Eq. 13), and the share of
        them that is active: where object, background and boundary have centres of their own.

        ``features`` (B, D, *S), ``probability`` (B, K, *S), ``edges`` and ``valid`` (B, *S) bool, ``gamma`` and ``loss`` (B,
        *S).
        """
        with torch.set_grad_enabled(self.through_weights):
            features = full_precision(features)
            foreground = probability[:, 1:].detach()
            doubt = 1 - self.tau if self.tau is not None else doubt_of(foreground, valid, self.share)
            regions = decompose(foreground, edges, valid, doubt)
            centres, own = self._centres(features, regions, gamma)
            known = (own | (self.last[..., -1] > 0)).all(dim=2)
            distance = centre_distance(features, centres, DCD_MAX)
            distance = distance.where(known.reshape(*known.shape, *(1,) * (valid.ndim - 1)), 0)
            weights = boundary_weights(distance, regions[:, :, BOUNDARY], self.temperature)
        return (weights * loss[:, None]).flatten(2).sum(dim=2).mean(), own.all(dim=2).to(loss).mean()

    def end_epoch(self) -> None:
        """The centres of this epoch become the next one's defaults."""
        self.last.copy_(self.current)
        self.current.zero_()

    def _centres(self, features: Tensor, regions: Tensor, gamma: Tensor) -> tuple[Tensor, Tensor]:
        """Centres (B, C, 3, D) by Eq. 47, and which of them are the image's own (B, C, 3)."""
        centres, total = weighted_centres(features, regions, gamma)
        own = (regions.flatten(3).sum(dim=3) >= TAU_MIN) & (total > 0)
        counted = torch.cat((centres.detach(), torch.ones_like(total)[..., None]), dim=3)
        self.current += counted.where(own[..., None], 0).sum(dim=0)
        default = self.last[..., :-1] / self.last[..., -1:].clamp(min=1)
        return centres.where(own[..., None], default), own
