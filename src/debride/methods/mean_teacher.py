"""Mean teacher: what is trusted is learnt, and on all else student and teacher must agree. Other labels are not looked at."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from debride.batch import Batch
from debride.losses.pixel import full_precision
from debride.losses.region import segmentation_loss
from debride.methods.base import Paper, Run
from debride.methods.parts.teacher import DEVIATIONS, TeacherConfig, TeachingMethod, consistency, ramp_up


class MeanTeacher(TeachingMethod):
    """The trusted loss, and from noisy views of the other cases a growing consistency with a moving average of the network."""

    paper = Paper(
        title="Mean teachers are better role models",
        authors="Tarvainen, Valpola",
        year=2017,
        reference="NeurIPS 2017, arXiv:1703.01780; on volumes after Yu et al., UA-MT, MICCAI 2019, arXiv:1907.07034",
        sections="Section 2; ALC, Table II, and Eq. 1, 2 and 10",
        needs=frozenset({"trusted"}),
        trusted="the only cases whose labels are learnt",
        unlabelled="learnt from like all that are not trusted",
        deviations=(
            *DEVIATIONS,
            "The student sees the view as it is, the teacher under noise and dropout, in one pass. The student predicts.",
            "Consistency is the squared distance of probabilities (Tarvainen) on the cases that are not trusted (ALC, Eq. 10).",
        ),
    )

    trusted_labels_only = True

    @dataclass(frozen=True, kw_only=True)
    class Config(TeacherConfig):
        """The teacher."""

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        """The mean loss of the trusted cases (ALC, Eq. 1), and the consistency of the others."""
        config, unverified, taught = self.config, ~batch.trusted, None
        if unverified.any():
            taught = self.teacher.passes(batch.image[unverified], 1, config.noise, config.at_once)[0]
        logits = full_precision(self.network(batch.image))
        losses = segmentation_loss(logits[batch.trusted], batch.label[batch.trusted])
        terms = {"trusted": losses.sum() / max(1, len(losses))}
        if taught is not None:
            rate = config.weight * ramp_up(run, config.ramp)
            terms["consistency"] = rate * consistency(logits[unverified].softmax(dim=1), taught)
        return terms
