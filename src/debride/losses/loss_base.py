"""What all losses that are modules share: the conventions of ``monai.losses``, and every form that a target may have.

The formulas are not here: ``pixel`` and ``region`` have them. ``forward`` can be scripted, so it uses nothing that TorchScript
does not know; what checks arguments runs in Python alone, and looks at values on the CPU alone, where that waits for nothing.
"""

from __future__ import annotations

import inspect
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from debride.losses.reduce import masked_mean
from debride.losses.soft_labels import one_hot
from debride.types import IGNORE, DataError

REDUCTIONS = ("mean", "sum", "none")
CLOSE = 1e-2
"""How far the probabilities of a target may sum from one: half precision rounds them."""


class Options(TypedDict, total=False):
    """The options of ``LabelLoss``, which all losses take by name."""

    softmax: bool | None
    sigmoid: bool
    include_background: bool
    to_onehot_y: bool
    ignore_index: int
    reduction: str


class LabelLoss(nn.Module):
    """A loss that takes logits (B, K, *S) and a target that is one of

    - class ids (B, *S) or (B, 1, *S), of any type; ``ignore_index`` marks pixels without a label;
    - one-hot labels or probabilities (B, K, *S), where a pixel whose target sums to 0 has no label.

    S is one to three axes, or none in classification. ``softmax``, the default, makes probabilities of the logits. ``sigmoid``
    does so for regions that may overlap: each channel is a problem of two classes. The target is then 0 to 1 (B, K, *S) with
    ``ignore_index`` where nothing is known, or class ids with ``to_onehot_y``, channel k being class k against the rest. With
    both False the input is probabilities that sum to one.

    ``to_onehot_y`` says that the target is class ids; without it, shapes say so. Of one region it says nothing, as in MONAI.
    ``include_background`` False leaves out channel 0 where channels are apart. ``reduction`` "mean" is over labelled pixels,
    "sum" their sum, and "none" leaves zeros at the others. Half precision is raised to float32, inside autocast too.

    Raises DataError, a ValueError, for options that contradict each other and for targets that could mean two things. In
    TorchScript nothing is checked.
    """

    def __init_subclass__(cls, **more: Any) -> None:
        """Shows in the signature of each loss, and so in help and notebooks, what ``**options`` stands for."""
        super().__init_subclass__(**more)
        own = [each for each in inspect.signature(cls.__init__).parameters.values() if each.name != "self"]
        shared = [each for each in inspect.signature(LabelLoss.__init__).parameters.values() if each.kind is each.KEYWORD_ONLY]
        named = [each for each in own if each.kind is not each.VAR_KEYWORD]
        cls.__signature__ = inspect.Signature(named + shared if named != own else own)  # type: ignore[attr-defined]

    def __init__(
        self,
        *,
        softmax: bool | None = None,
        sigmoid: bool = False,
        include_background: bool = True,
        to_onehot_y: bool = False,
        ignore_index: int = IGNORE,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        self.name = type(self).__name__
        self.softmax = not sigmoid if softmax is None else softmax
        self.sigmoid, self.include_background, self.to_onehot_y = sigmoid, include_background, to_onehot_y
        self.ignore_index, self.reduction = ignore_index, str(getattr(reduction, "value", reduction))
        if self.reduction not in REDUCTIONS:
            raise DataError(self.name, f"does not know the reduction {reduction!r}", f"Give one of {', '.join(REDUCTIONS)}.")
        if self.softmax and sigmoid:
            raise DataError(self.name, "cannot have both softmax and sigmoid", "Give one of them.")
        if sigmoid and not to_onehot_y and ignore_index in (0, 1):
            problem = f"cannot ignore {ignore_index}, which is a value of a region's target"
            raise DataError(self.name, problem, "Mark pixels without a label by another number, such as 255.")

    def extra_repr(self) -> str:
        """The options, as ``print`` shows them."""
        activation = "softmax" if self.softmax else "sigmoid" if self.sigmoid else "probabilities"
        return f"{activation}, ignore_index={self.ignore_index}, reduction={self.reduction!r}"

    def has_ids(self, input: Tensor, target: Tensor) -> bool:
        """Whether a target is class ids, as its shape says."""
        if self.sigmoid or self.to_onehot_y:
            return self.to_onehot_y and input.shape[1] > 1
        return target.ndim != input.ndim or target.shape[1] == 1

    def class_ids(self, input: Tensor, target: Tensor) -> Tensor:
        """Class ids (B, *S) int64 of a target of ids, ``IGNORE`` where it has ``ignore_index``."""
        label = target.long()
        if target.ndim == input.ndim:
            label = label.squeeze(1)
        return label if self.ignore_index == 255 else label.masked_fill(label == self.ignore_index, 255)

    def soft_target(self, input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Target probabilities (B, K, *S), zeros without a label, and what is labelled (B, K, *S) or (B, 1, *S) bool."""
        if self.has_ids(input, target):
            label = self.class_ids(input, target)
            return one_hot(label, input.shape[1]).to(input.dtype), (label != 255).unsqueeze(1)
        known = (target if target.ndim == input.ndim else target.unsqueeze(1)).to(input.dtype)
        if not self.sigmoid:
            return known, known.sum(dim=1, keepdim=True) > 0
        labelled = known != self.ignore_index
        return known.masked_fill(~labelled, 0.0), labelled

    def reduced(self, loss: Tensor, labelled: Tensor, weight: Tensor | None) -> Tensor:
        """A loss (B, C, *S) with its weights, zero but where ``labelled`` (B, C, *S), and its mean, sum or itself."""
        loss = loss.masked_fill(~labelled, 0.0)
        if weight is not None:
            loss = loss * (weight if weight.ndim == loss.ndim else weight.unsqueeze(1))
        if self.reduction == "none":
            return loss
        return loss.sum() if self.reduction == "sum" else masked_mean(loss, labelled)

    def check(self, input: Tensor, target: Tensor, weight: Tensor | None = None) -> None:
        """Raises DataError where input, target and weight do not go together."""
        if not_now():
            return
        for name, each in (("input", input), ("target", target), ("weight", weight)):
            if each is not None and not isinstance(each, Tensor):
                raise DataError(name, f"is a {type(each).__name__}", "Give a tensor, such as `torch.as_tensor(array)`.")
        shape, classes = tuple(input.shape), input.shape[1] if input.ndim > 1 else 0
        ids = {(shape[0], *shape[2:]), (shape[0], 1, *shape[2:])} if classes else set()
        if not input.is_floating_point() or not classes:
            raise DataError("input", f"is {input.dtype} of shape {shape}", "Give floating-point numbers (B, K, *S).")
        if classes == 1 and not self.sigmoid:
            raise DataError("input", "has one channel, whose softmax is one everywhere", "Use `sigmoid=True`, or two channels.")
        if classes > IGNORE:
            raise DataError("input", f"has {classes} classes", f"Give at most {IGNORE}.")
        if self.sigmoid and (classes == 1 or not self.to_onehot_y):
            wanted = {shape} | (ids if classes == 1 else set())
        else:
            wanted = ids if self.to_onehot_y else {shape} | ids
        if tuple(target.shape) not in wanted:
            remedy = f"Give {' or '.join(map(str, sorted(wanted, key=len)))}."
            if self.sigmoid and tuple(target.shape) in ids:
                remedy += " With `to_onehot_y=True` class ids are taken for one region each."
            raise DataError("target", f"is {tuple(target.shape)} for an input of {shape}", remedy)
        if weight is not None and tuple(weight.shape) not in ids | ({shape} if self.sigmoid else set()):
            raise DataError("weight", f"is {tuple(weight.shape)} for an input of {shape}", "Give a number for each pixel.")
        given = not (self.softmax or self.sigmoid)
        if target.device.type == "cpu" and not torch.compiler.is_compiling():
            self._check_values(target, classes, self.has_ids(input, target))
            if given:
                self._check_probabilities(input.detach().as_subclass(Tensor))

    def _check_probabilities(self, p: Tensor) -> None:
        """Looks at the numbers of an input that is probabilities."""
        if p.numel() and not 0 <= float(p.min()) <= float(p.max()) <= 1 + CLOSE:
            raise DataError("input", "has values that are no probabilities", "For logits use `softmax=True`.")
        if not ((p.sum(dim=1, dtype=torch.float32) - 1).abs() <= CLOSE).all():
            problem = "has pixels whose probabilities do not sum to 1"
            raise DataError("input", problem, "For regions that overlap give logits and `sigmoid=True`.")

    @torch.no_grad()
    def _check_values(self, target: Tensor, classes: int, ids: bool) -> None:
        """Looks at the numbers of a target."""
        if target.dtype is torch.bool and not ids and self.sigmoid:
            return
        known = target.as_subclass(Tensor)  # a subclass takes longer
        known = known if known.is_floating_point() else known.long()
        if ids:
            known = known.masked_fill(known == self.ignore_index, 0)
            if known.numel() and not 0 <= float(known.min()) <= float(known.max()) < classes:
                problem = f"has class ids from {float(known.min()):g} to {float(known.max()):g} for {classes} classes"
                raise DataError("target", problem, f"Give 0 to {classes - 1}, or the `ignore_index` {self.ignore_index}.")
            if known.is_floating_point() and not torch.equal(known, known.round()):
                raise DataError("target", "has fractions of class ids", "Interpolate labels by their nearest neighbour.")
            return
        if self.sigmoid:
            known = known.masked_fill(known == self.ignore_index, 0)
        if known.numel() and not 0 <= float(known.min()) <= float(known.max()) <= 1:
            raise DataError("target", "has values outside of 0 to 1", "Give one-hot labels, probabilities or class ids.")
        if not self.sigmoid:
            sums = known.sum(dim=1, dtype=torch.float32)
            if not ((sums - 1).abs() <= CLOSE).logical_or_(sums == 0).all():
                remedy = "Use `sigmoid=True` for regions that overlap; without a label all are 0."
                raise DataError("target", "has pixels whose probabilities do not sum to 1", remedy)


def not_now() -> bool:
    """Whether ``torch.jit.trace`` is at work, for which shapes are tensors."""
    return not torch.compiler.is_compiling() and torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]


def full_background(name: str, softmax: bool, include_background: bool) -> None:
    """Refuses to leave out the background of a loss of pixels, from which it is learnt."""
    if not include_background and softmax:
        problem = "cannot leave out the background of a softmax: no other pixels teach what is none"
        raise DataError(name, problem, "Use `ignore_index=0` if that is meant, or `sigmoid=True`.")
