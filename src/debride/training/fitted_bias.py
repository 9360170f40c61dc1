"""A calibration fitted on verified cases, with what a user is to be told of it. No network is needed here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from debride.calibration.bias_record import Record, record_of
from debride.calibration.calibration_config import CalibrationConfig
from debride.calibration.fitting import Fitted, Verified
from debride.calibration.group_biases import fit_by_group
from debride.calibration.refuted import unless_refuted
from debride.files import writing
from debride.progress import track
from debride.temporaries import temporary_folder
from debride.training.bias_kinds import AnyRecord
from debride.training.gained import measure_of
from debride.training.verified import keep, unit_of
from debride.types import Case
from debride.version import __version__

PLAIN = CalibrationConfig()
"""The settings where none are given."""


@dataclass(frozen=True)
class Calibrated:
    """A record that was written, whether it ``replaced`` another, and what a user is to be warned of."""

    record: AnyRecord
    replaced: bool = False
    warnings: tuple[str, ...] = ()
    own_words: tuple[str, ...] = ()


def fitted_records(
    seen: Iterable[Verified],
    classes: Sequence[str],
    config: CalibrationConfig,
    cases: Sequence[Case],
    beside: Path,
    *,
    checkpoint: str | None = None,
    weights: str | None = None,
    groups: Sequence[str | None] | None = None,
) -> tuple[Record, dict[str, Record]]:
    """What is fitted on verified cases as they are ``seen``, each read once and kept ``beside`` a file or folder until then: of
    all of them, and of the ``groups`` (N,) for which that is surely better, by group."""
    groups = groups or [None] * len(cases)

    def shown() -> Iterator[Verified]:
        with track("reading verified cases", len(cases)) as show:
            for number, case in enumerate(seen):
                yield case
                show(number + 1)

    with writing(beside), temporary_folder(beside) as folder:
        kept, measure = keep(shown(), folder), measure_of(config.metric, len(classes))
        common, own = fit_by_group(kept, groups, classes, config, unit_of(cases), measure)

    def record(fitted: Fitted, whose: Sequence[Case]) -> Record:
        patients = [case.patient for case in whose]
        return record_of(unless_refuted(fitted), patients, version=__version__, checkpoint=checkpoint, weights=weights)

    members = {name: [case for case, group in zip(cases, groups, strict=True) if group == name] for name in own}
    return record(common, cases), {name: record(fitted, members[name]) for name, fitted in own.items()}


def warnings_of(cases: Sequence[Case], learnt: int, remedy: str = "") -> Iterator[str]:
    """What a user should know of verified cases: how many were ``learnt``, with what helps, and that there are test cases."""
    if learnt:
        said = f"The network was trained on {learnt} of these {len(cases)} verified cases"
        yield f"{said}, and what it predicts of them may hide the bias.{remedy}"
    if tested := sum(case.split == "test" for case in cases):
        yield f"{tested} of these {len(cases)} verified cases are test cases: results on them look better than they are."
