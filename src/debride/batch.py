"""What a training step receives: views of images, and batches of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from debride.warp import Warp


@dataclass(frozen=True)
class View:
    """One augmented look at a batch: what a network reads, and the geometry that label state follows.

    ``image`` (B, C, *S) float; ``label`` (B, *S) int64 with ``IGNORE``; ``warp`` maps the view's pixels to those of a
    region of the working images that starts at ``origin`` (B, dims), or to the whole images where it is None; ``fields``
    are the LabelState's per-pixel fields (B, ..., *S) carried through the same warp, class ids as int64; ``maps`` the method's
    maps (B, *S): lengths in pixels of the view, or int64 ids.
    """

    image: torch.Tensor
    label: torch.Tensor
    warp: Warp
    origin: torch.Tensor | None
    fields: dict[str, torch.Tensor]
    maps: dict[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """What a method's step receives: one or several views of the same B cases.

    ``index`` (B,) int64 is the row of each case in the training set and in the LabelState. ``stream`` (B,) int64 tells which of
    the plan's streams a case came from. ``trusted`` (B,) bool. ``cases`` holds per-case fields of the store (B, ...).
    The clean label behind a simulated corruption never enters a batch.
    """

    views: tuple[View, ...]
    index: torch.Tensor
    stream: torch.Tensor
    trusted: torch.Tensor
    cases: dict[str, torch.Tensor]

    @property
    def image(self) -> torch.Tensor:
        """The first view's image (B, C, *S)."""
        return self.views[0].image

    @property
    def label(self) -> torch.Tensor:
        """The first view's given label (B, *S)."""
        return self.views[0].label

    @property
    def fields(self) -> dict[str, torch.Tensor]:
        """The first view's per-pixel label state."""
        return self.views[0].fields

    @property
    def maps(self) -> dict[str, torch.Tensor]:
        """The first view's maps."""
        return self.views[0].maps

    def __len__(self) -> int:
        return int(self.index.shape[0])
