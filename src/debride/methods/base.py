"""What a method is: a paper, a configuration, networks, and a step.

A method writes ``loss``, or ``step`` where one loss on one batch does not describe it. It sees the training through ``Run``
alone and knows nothing of files, devices or processes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from debride.batch import Batch
from debride.geometry.pixel_map import PixelMap
from debride.networks.network import Derivative, Network, Scope
from debride.state import Field, LabelState
from debride.types import IGNORE, DataError

MakeNetwork = Callable[[], Network]
"""Makes a freshly initialised network; each call gives another initialisation, the same for the same seed."""


ChangeGradients = Callable[[Sequence[nn.Parameter]], None]
"""Changes the gradients of parameters in place: those of the whole batch, averaged across processes, in their true scale."""


BOTH_TASKS = frozenset({"segmentation", "classification"})
"""Of methods that weigh labelled elements, whether these are pixels or images."""


@dataclass(frozen=True, kw_only=True)
class Paper:
    """Where a method comes from and how ours differs.

    ``needs`` names what a user must supply beyond images and labels: "noise_rate", "trusted". ``trusted`` says what the
    method does with the cases whose label was verified, ``unlabelled`` what it does with training images that have no label;
    empty: it takes none. ``deviations`` lists every departure from the paper, and every
    choice where it is silent.
    """

    title: str
    authors: str
    year: int
    reference: str
    sections: str
    needs: frozenset[str] = frozenset()
    trusted: str = "trained on like every other case"
    unlabelled: str = ""
    deviations: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stream:
    """Which cases a batch draws from and how many of them: ``cases`` are rows (None: all), ``size`` per step (None: the
    batch size)."""

    cases: npt.NDArray[np.int64] | None = None
    size: int | None = None


@dataclass(frozen=True)
class Look:
    """How one view of a batch is made: the intensity changes, and whether it has a warp of its own or shares the first
    view's."""

    intensity: Literal["none", "weak", "strong"] = "weak"
    own_warp: bool = False


@dataclass(frozen=True)
class Phase:
    """One pass: the first stream is gone through once, shorter ones start again. A batch holds the streams one after the
    other.

    With ``length`` the pass has as many full batches as that many cases of the first stream make, however many it has.
    """

    name: str = "train"
    streams: tuple[Stream, ...] = (Stream(),)
    looks: tuple[Look, ...] = (Look(),)
    length: int | None = None


@dataclass(frozen=True)
class Swept:
    """What a sweep gives of B cases: ``rows`` (B,), working images (B, C, *S), given labels (B, *S) int64, probabilities
    (B, K, *S), and features (B, F, *S) where they were asked for."""

    rows: npt.NDArray[np.int64]
    image: Tensor
    label: Tensor
    probability: Tensor
    features: Tensor | None = None


class LookAhead(Protocol):
    """A training batch's pass forward, ``logits`` (B, K, *S) and ``features`` (B, F, *S), with its graph, and a look ahead."""

    logits: Tensor
    features: Tensor | None

    def tangent(
        self, trusted_image: Tensor, trusted_loss: Callable[[Tensor], Tensor], learning_rate: float, virtual: Tensor | None
    ) -> Tensor:
        """How the logits change per unit of step along the trusted loss's gradient after a virtual step on ``virtual``."""


class Run(Protocol):
    """All that a method sees of the training. Epochs and steps count from 0; rows index the training set."""

    epoch: int
    epochs: int
    step: int
    phase: str
    store: LabelState
    trusted: npt.NDArray[np.int64]
    cases: int

    @property
    def learning_rate(self) -> float:
        """The learning rate of the current epoch."""

    @property
    def kinds(self) -> tuple[int, int]:
        """How many trusted and how many other cases make a batch of both."""

    @property
    def generator(self) -> torch.Generator:
        """A CPU generator that is seeded anew for every step: draws depend on (seed, epoch, step) only."""

    def optimise(
        self, loss: Tensor, networks: Sequence[nn.Module] | None = None, change: ChangeGradients | None = None
    ) -> None:
        """Backward, averaging across processes, clipping and one optimiser step, for all parameters or those of
        ``networks``. ``change`` may change their gradients before they are clipped."""

    @property
    def own(self) -> npt.NDArray[np.int64]:
        """The rows that this process answers for, in sweeps that change label state: all of them where there is one."""

    def summed(self, values: Tensor) -> Tensor:
        """The sum of a tensor over processes."""

    def sweep(self, rows: npt.NDArray[np.int64], network: Network | None = None) -> Iterator[Swept]:
        """Rows of the training set, un-augmented, in evaluation mode, batch by batch. Probabilities are the method's, or with
        one ``network`` of it that network's, and its features with them."""

    def trusted_batch(self, size: int) -> Batch:
        """A batch of trusted cases, drawn anew for every step."""

    def look_ahead(self, network: Network, image: Tensor, scope: Scope, derivative: Derivative) -> LookAhead:
        """Passes images forward through a network; the virtual step of the look-ahead moves the part named by ``scope``."""

    def log(self, **values: Tensor | float) -> None:
        """Records scalars; the epoch's mean goes to ``metrics.jsonl``, beside that of every optimised loss."""


def trusted(run: Run) -> npt.NDArray[np.int64]:
    """The rows of the training cases that are trusted; DataError where there are none."""
    if not len(run.trusted):
        remedy = "List verified cases, or train a method that needs none, such as gsd-net or self-cleansing."
        raise DataError("`trusted`", "names no case of the training set", remedy)
    return run.trusted


def untrusted(run: Run) -> npt.NDArray[np.int64]:
    """The rows of the training cases that are not trusted; DataError where there are none."""
    rows = np.setdiff1d(np.arange(run.cases), run.trusted)
    if not len(rows):
        raise DataError("`trusted`", "names every training case", "Trust fewer: what is trained on are the others.")
    return rows


def two_kinds(run: Run) -> tuple[Phase, ...]:
    """One pass over the cases that are not trusted, with trusted ones in every batch (ALC, section III.B); trusted ones alone
    where there is no other. DataError where none is trusted."""
    verified, unverified = trusted(run), np.setdiff1d(np.arange(run.cases), run.trusted)
    if not len(unverified):
        return (Phase(streams=(Stream(verified),)),)
    few, many = run.kinds
    return (Phase(streams=(Stream(unverified, many), Stream(verified, few))),)


def first_after(part: float, run: Run) -> int:
    """The first epoch after a ``part`` (0 to 1) of the training."""
    return math.ceil(round(part * run.epochs, 6))  # rounded: 0.55 * 100 is above 55


def in_first(part: float, run: Run) -> bool:
    """Whether the epoch lies in the first ``part`` (0 to 1) of the training."""
    return run.epoch < first_after(part, run)


def mean_probability(networks: Iterable[nn.Module], image: Tensor) -> Tensor:
    """The mean of several networks' class probabilities (B, K, *S) of images (B, C, *S), in float32."""
    return torch.stack([network(image).float().softmax(dim=1) for network in networks]).mean(dim=0)


def label_losses(run: Run) -> Tensor:
    """The mean cross-entropy (N,) of each training case's labelled pixels, by the method's probabilities; 0 without labels."""
    losses = torch.zeros(run.cases)
    for swept in run.sweep(run.own):
        valid = swept.label != IGNORE
        loss = -swept.probability.gather(1, swept.label.where(valid, 0)[:, None])[:, 0].clamp(min=1e-12).log()
        loss, valid = loss.where(valid, 0).reshape(len(loss), -1), valid.reshape(len(loss), -1)  # one element in classification
        per_case = loss.sum(dim=1) / valid.sum(dim=1).clamp(min=1)
        losses[swept.rows] = per_case.cpu()
    return run.summed(losses)


class Method(nn.Module):
    """The base of all methods: one network trained on one loss. Subclasses override what their paper changes.

    ``config`` is an instance of the class's ``Config``; ``classes`` is K, background included.
    """

    paper: ClassVar[Paper]
    Config: ClassVar[type[Any]]
    tasks: ClassVar[frozenset[str]] = frozenset({"segmentation"})
    """What the method can be trained for: "segmentation", "classification"."""
    one_process: ClassVar[bool] = False
    """Whether a case may come twice in an epoch of a method that keeps label state, which several processes must not write."""
    trusted_labels_only: ClassVar[bool] = False
    """Whether labels of other cases are not looked at, not even to place patches on their foreground."""
    holds_out_trusted: ClassVar[bool] = False
    """Whether trusted cases are not trained on: the run is calibrated on them afterwards."""

    def __init__(self, config: Any, make_network: MakeNetwork, classes: int) -> None:
        super().__init__()
        self.config = config
        self.classes = classes
        self.build(make_network)

    def build(self, make_network: MakeNetwork) -> None:
        """Makes the networks; one by default, as ``self.network``."""
        self.network = make_network()

    def fields(self) -> tuple[Field, ...]:
        """The label state that the method keeps from epoch to epoch; none by default."""
        return ()

    def pictured(self, store: LabelState, rows: npt.NDArray[np.int64]) -> dict[str, Tensor]:
        """Maps of the label state that are worth looking at, by name, each (B, *S) in the working images' geometry; none by
        default."""
        return {}

    def doubt(self, run: Run) -> Tensor | None:
        """How doubtful the given labels are to the trained method, one number per training case (N,) in any unit, larger where
        they are more doubtful; None, by default, where it does not say."""
        return None

    @classmethod
    def refuses(cls, task: str, config: Any) -> DataError | None:
        """Why the method, so configured, cannot be trained for a task; None where it can.

        By default that is for ``tasks`` to say. Who asks knows the method's name and what there is instead: an empty ``where``
        stands for the one, an empty ``remedy`` for the other.
        """
        return None if task in cls.tasks else DataError("", f"is not for {task}, which this data set is for", "")

    def look_ahead_cases(self, trusted: int) -> int:
        """How many of so many trusted cases a look-ahead takes at most; 0 where the method, so configured, never looks."""
        return 0

    @classmethod
    def relabels(cls, config: Any) -> bool:
        """Whether the method, so configured, has labels of its own and defines ``cleansed``."""
        return False

    def cleansed(self, swept: Swept, store: LabelState) -> Tensor:
        """The class ids (B, *S) int64 that the method takes for right, of cases in the working images' geometry."""
        raise TypeError(f"{type(self).__name__} has no labels of its own")

    def maps(self) -> dict[str, PixelMap]:
        """Maps by name that views carry beside image and label, made once from either; none by default."""
        return {}

    def plan(self, run: Run) -> tuple[Phase, ...]:
        """What data the next epoch wants; one pass over all cases by default."""
        return (Phase(),)

    def start_epoch(self, run: Run) -> None:
        """Called before the plan of an epoch is made."""

    def end_epoch(self, run: Run) -> None:
        """Called after the last step of an epoch, before validation."""

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        """The named terms of the loss, each a scalar; their sum is minimised."""
        raise TypeError(f"{type(self).__name__} defines neither loss nor step")

    def step(self, batch: Batch, run: Run) -> None:
        """One update: by default the sum of the loss terms is minimised over all parameters."""
        terms = self.loss(batch, run)
        run.optimise(torch.stack(list(terms.values())).sum())
        if len(terms) > 1:
            run.log(**terms)

    def predict(self, image: Tensor) -> Tensor:
        """Class probabilities (B, K, *S) of images (B, C, *S), in float32."""
        logits: Tensor = self.network(image)
        return logits.float().softmax(dim=1)
