"""Debias: verified cases are kept out of the training, and measure the bias of what is learnt from the others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from debride.batch import Batch
from debride.calibration.calibration_config import CalibrationConfig
from debride.calibration.fitting import choose
from debride.losses.pixel import cross_entropy, full_precision
from debride.losses.reduce import masked_mean
from debride.losses.region import segmentation_loss
from debride.methods.base import MakeNetwork, Paper, Phase, Run, Stream, Swept, first_after, in_first, trusted, untrusted
from debride.methods.parts.teacher import DEVIATIONS, TeacherConfig, TeachingMethod, consistency, ramp_up
from debride.methods.parts.transfer import draw_regions, transplant
from debride.settings import setting
from debride.state import Field, LabelState
from debride.types import IGNORE


class Debias(TeachingMethod):
    """A student of all given labels but the verified ones, and its moving average, which is calibrated on these."""

    paper = Paper(
        title="Debias: a bias measured on a handful of verified cases",
        authors="debride",
        year=2026,
        reference="docs/debias.md",
        sections="Algorithm 1, Eq. 1 to 6",
        needs=frozenset({"trusted"}),
        trusted="not trained on: the bias of what is learnt from the others is measured on them",
        deviations=(
            DEVIATIONS[0],
            "Regions move between images as in GSD-Net (Eq. 15), one class at a time.",
            "With `move`, labels are moved as far as outlines of predictions would have to be, in pixels of the working image. "
            "A move brings no lost structure back, and what was moved too far does not return: it did harm in our trials.",
        ),
    )

    holds_out_trusted = True
    shifts: Tensor

    @dataclass(frozen=True, kw_only=True)
    class Config(TeacherConfig):
        """The teacher, what the student learns, and whether labels are moved."""

        weight: float = setting(1.0, "Largest weight of the consistency with the teacher (Eq. 4)", least=0)
        dice: bool = setting(True, "Make half of the loss soft Dice (Eq. 2)")
        transfer: bool = setting(True, "Learn a second copy of each batch, between whose images regions changed places (Eq. 3)")
        start: float = setting(
            0.3, "Part of the training before regions change places and the bias is measured", least=0, most=1
        )
        move: bool = setting(False, "Move given labels by the bias that is measured (Eq. 6)")
        every: float = setting(0.1, "Part of the training after which it is measured again", above=0, most=1)

    def build(self, make_network: MakeNetwork) -> None:
        """Student and teacher, and how far labels are moved, which is saved with them."""
        super().build(make_network)
        self.register_buffer("shifts", torch.zeros(self.classes, dtype=torch.float64))

    def fields(self) -> tuple[Field, ...]:
        """The labels that are learnt, where they are not the given ones."""
        return (Field("moved", "pixel", dtype="uint8", ids=True),) if self.config.move else ()

    def plan(self, run: Run) -> tuple[Phase, ...]:
        """One pass over the cases that are not verified."""
        trusted(run)  # refuses a training without any
        return (Phase(streams=(Stream(untrusted(run)),)),)

    def start_epoch(self, run: Run) -> None:
        """Measures the bias and moves labels, where it is time."""
        if not self.config.move:
            return
        if run.epoch == 0:
            for swept in run.sweep(run.own):
                run.store.write("moved", swept.rows, swept.label)
        since = run.epoch - first_after(self.config.start, run)
        if since >= 0 and since % max(1, round(self.config.every * run.epochs)) == 0:
            self._move(run)
        run.log(**{f"moved_{number}": self.shifts[number] for number in range(1, self.classes)})

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        """The loss of the labels, that of mixed images, and the distance to the teacher (Eq. 2 to 4)."""
        config, label = self.config, batch.label
        if config.move:
            label = batch.fields["moved"].where(label != IGNORE, IGNORE)
        logits = full_precision(self.network(batch.image))
        taught = self.teacher.passes(batch.image, 1, config.noise, config.at_once)[0]
        rate = config.weight * ramp_up(run, config.ramp)
        terms = {"labels": self._fit(logits, label), "teacher": rate * consistency(logits.softmax(dim=1), taught)}
        if config.transfer and len(label) > 1 and not in_first(config.start, run):
            donor, mask = draw_regions(label, run.generator, region="class", by_chance=False)
            image, label, taught = (transplant(each, donor, mask) for each in (batch.image, label, taught))
            mixed = full_precision(self.network(image))
            terms["mixed"] = self._fit(mixed, label)
            terms["mixed_teacher"] = rate * consistency(mixed.softmax(dim=1), taught)
        return terms

    def predict(self, image: Tensor) -> Tensor:
        """The teacher's class probabilities (B, K, *S)."""
        return full_precision(self.teacher.network(image)).softmax(dim=1)

    def cleansed(self, swept: Swept, store: LabelState) -> Tensor:
        """The labels as they were moved; without ``move`` the predicted classes."""
        if not self.config.move:
            return super().cleansed(swept, store)
        return store.read("moved", swept.rows).to(swept.label)

    def _fit(self, logits: Tensor, label: Tensor) -> Tensor:
        """Half cross-entropy, half soft Dice, or cross-entropy alone (Eq. 2)."""
        if self.config.dice:
            return segmentation_loss(logits, label).mean()
        return masked_mean(cross_entropy(logits, label), label != IGNORE)

    def _move(self, run: Run) -> None:
        """Adds the shift that verified cases speak for, and moves the given labels of all others (Eq. 6)."""
        seen = [_Seen(run, int(row)) for row in trusted(run)]
        names = [str(number) for number in range(self.classes)]
        _, calibration = choose(seen, names, CalibrationConfig(offsets=False), "px")
        self.shifts += torch.tensor(calibration.shifts, dtype=torch.float64, device=self.shifts.device)
        total = replace(calibration, shifts=tuple(self.shifts.tolist()))
        for swept in run.sweep(np.intersect1d(run.own, untrusted(run))):
            moved = [total.move(label, None) for label in swept.label.byte().cpu().numpy()]
            run.store.write("moved", swept.rows, torch.from_numpy(np.stack(moved)))


@dataclass(frozen=True)
class _Seen:
    """A verified case as the method sees it now: ``calibration.fitting.Verified``."""

    run: Run
    row: int
    hard: bool = False

    @property
    def id(self) -> str:
        """Its row."""
        return str(self.row)

    @property
    def patient(self) -> str:
        """Its row: who is who is not known here."""
        return str(self.row)

    def read(self) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint8], None]:
        """Probabilities (K, *S) and the verified label (*S), in pixels."""
        (swept,) = self.run.sweep(np.array([self.row]))
        return swept.probability[0].float().cpu().numpy(), swept.label[0].byte().cpu().numpy(), None
