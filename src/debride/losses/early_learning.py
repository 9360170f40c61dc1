"""Early-learning regularisation as a module: it remembers what was predicted of each case."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor

from debride.losses.loss_base import LabelLoss, Options, not_now
from debride.losses.pixel import cross_entropy_to, early_learning, full_precision
from debride.losses.pixel_modules import within
from debride.types import DataError


class EarlyLearningRegularizationLoss(LabelLoss):
    """Cross-entropy, and lam log(1 - <p, t>): predictions are held to their running mean t (ELR, Liu et al., NeurIPS 2020).

    ``cases`` is the number N of all cases, ``classes`` K, and ``size`` the spatial axes in segmentation. What is remembered is
    the buffer ``remembered`` (N, K, *size), saved in ``state_dict``. It takes N K prod(size) numbers of ``dtype``: 1.3 GB in
    float32 for 1,000 images of two classes with 400 x 400 pixels, half of it in float16. It may lie on another
    device than the logits.

    ``forward(input, target, index)`` takes the places (B,) int64 of the cases in that buffer. In training mode they are brought
    up to date first (Eq. 9), as in the published code; in evaluation mode nothing changes. A pixel must mean the same in every
    epoch, so that crops and flips are not possible in segmentation. Each process remembers the cases that it sees. Of a case
    that a batch has twice one prediction is remembered.

    ``lam`` >= 0 is lambda (Eq. 6), ``beta`` in [0, 1) that of the running mean. Of ``LabelLoss``'s options ``sigmoid`` is
    refused: <p, t> is the agreement of two distributions over classes.
    """

    def __init__(
        self,
        cases: int,
        classes: int,
        size: Sequence[int] = (),
        *,
        lam: float = 3.0,
        beta: float = 0.7,
        dtype: torch.dtype = torch.float32,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(**options)
        if self.sigmoid or not self.include_background:
            raise DataError(self.name, "is for classes that share a softmax, background included", "Leave out that option.")
        self.lam, self.beta = within(self.name, "lam", lam, 0), within(self.name, "beta", beta, 0, 1)
        if beta == 1:
            raise DataError(self.name, "has beta = 1, which remembers nothing", "Give a number below 1.")
        self.register_buffer("remembered", torch.zeros(cases, classes, *size, dtype=dtype))
        self.remembered: Tensor

    @staticmethod
    def bytes_for(cases: int, classes: int, size: Sequence[int] = (), dtype: torch.dtype = torch.float32) -> int:
        """The memory that such a loss takes."""
        return cases * classes * math.prod(size) * dtype.itemsize

    def forward(self, input: Tensor, target: Tensor, index: Tensor, weight: Tensor | None = None) -> Tensor:
        """The mean or the sum (), or the losses (B, *S) or (B, 1, *S), of an input (B, K, *S).

        ``target`` is class ids (B, *S) or (B, 1, *S), or probabilities (B, K, *S); ``index`` (B,) int64 the cases' places.
        ``weight`` (B, *S) or (B, 1, *S) multiplies the losses. Raises DataError for what does not go together.
        """
        if not torch.jit.is_scripting():  # type: ignore[attr-defined]
            self.check(input, target, weight)
            self._check_index(input, index)
        input = full_precision(input)
        p = input.softmax(dim=1) if self.softmax else input
        place = index.to(self.remembered.device)
        remembered = self.remembered[place].to(p)
        if self.training:
            remembered = self.beta * remembered + (1 - self.beta) * p.detach()
            self.remembered[place] = remembered.to(self.remembered)
        known, labelled = self.soft_target(input, target)
        given = cross_entropy_to(known, input if self.softmax else input.clamp(min=1e-30).log())
        loss = self.reduced((given + self.lam * early_learning(p, remembered)).unsqueeze(1), labelled, weight)
        return loss.squeeze(1) if self.reduction == "none" and target.ndim < input.ndim else loss

    def _check_index(self, input: Tensor, index: Tensor) -> None:
        """Raises DataError where cases cannot be found in the buffer."""
        if not_now():
            return
        if not isinstance(index, Tensor):
            raise DataError("index", f"is a {type(index).__name__}", "Give a tensor of the places of the batch's cases, int64.")
        if tuple(index.shape) != tuple(input.shape[:1]) or index.dtype != torch.int64:
            raise DataError("index", f"is {index.dtype} of shape {tuple(index.shape)}", f"Give {input.shape[0]} places, int64.")
        if index.device.type == "cpu" and not torch.compiler.is_compiling():
            cases = len(self.remembered)
            if len(index) and not 0 <= int(index.min()) <= int(index.max()) < cases:
                problem = f"has places from {int(index.min())} to {int(index.max())} for {cases} cases"
                raise DataError("index", problem, f"Give 0 to {cases - 1}, each case's place in the data set.")
        if input.shape[1:] != self.remembered.shape[1:]:
            problem = f"is {tuple(input.shape[1:])}, and what is remembered of a case is {tuple(self.remembered.shape[1:])}"
            raise DataError("input", problem, "Make the loss with the classes and the size that batches have.")
