"""The bias of predictions, measured on verified cases and taken out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from debride.api.checked import DEVICES, group_of, one_of
from debride.api.datasets import Folder, opened, processes
from debride.api.given import read_settings
from debride.api.training_results import CalibrationResult
from debride.notes import tell
from debride.plugins import Trust
from debride.types import DataError, Dataset

if TYPE_CHECKING:
    from debride.calibration.calibration_config import CalibrationConfig
    from debride.training.fitted_bias import Calibrated

FORMS = "Give a run and a data set, or a data set with `predictions` and `out`."


def calibrate(
    run: Folder | None = None,
    dataset: Dataset | Folder | None = None,
    *,
    checkpoint: str | int | None = None,
    by: str | None = None,
    device: str | None = None,
    predictions: Folder | None = None,
    out: Folder | None = None,
    resume: bool = False,
    keep_going: bool = False,
    jobs: int | None = None,
    method: str | None = None,
    network: str | None = None,
    trust_code: bool = False,
    **settings: Any,
) -> CalibrationResult:
    """Measures the bias of predictions on the trusted cases of a data set, and takes it out.

    Of a ``run`` the calibration is written into its folder, and ``predict`` applies it. ``checkpoint`` is last (the default),
    best or an epoch's number, and ``by`` names groups of cases that may get their own, as "site". Of ``predictions`` in a
    folder, by any network, masks without the bias are written to ``out``; ``resume`` goes on with these, ``keep_going`` leaves
    out what cannot be read, and ``jobs`` processes share the work. ``settings`` are those of the calibration. A ``method`` or
    ``network`` of one's own that the run names is imported where it is named again, or with ``trust_code``.

    Raises DataError where there is neither a run nor predictions, or both, and without trusted cases.
    """
    from debride.calibration.calibration_config import CalibrationConfig

    if dataset is None:
        raise DataError("`dataset`", "is missing", FORMS)
    config = read_settings(CalibrationConfig, settings)
    of_a_run = {
        "by": by,
        "checkpoint": checkpoint,
        "device": device,
        "trust_code": trust_code,
        "method": method,
        "network": network,
    }
    if predictions is not None:
        _refuse("a run", {"run": run, **of_a_run})
        if out is None:
            raise DataError("`out`", "is missing: masks are written there", FORMS)
        return _calibrate_folder(opened(dataset, jobs), Path(predictions), Path(out), config, resume, keep_going, jobs)
    if run is None:
        raise DataError("`run`", "is missing, and `predictions` too", FORMS)
    _refuse("predictions in a folder", {"out": out, "resume": resume, "keep_going": keep_going})
    from debride.training.calibrate import calibrate_run

    done = calibrate_run(
        Path(run),
        opened(dataset, jobs),
        config=config,
        by=group_of("by", by),
        checkpoint=str(checkpoint or "last"),
        device=one_of("device", device, DEVICES) or "auto",
        trust=Trust(trust_code, frozenset(name for name in (method, network) if name)),
    )
    tell_warnings(done)
    return CalibrationResult(Path(run), done)


def tell_warnings(done: Calibrated) -> None:
    """Says on standard error what is to be doubted of a calibration."""
    for warning in done.warnings:
        tell(f"warning: {warning}")


def _calibrate_folder(
    dataset: Dataset, predictions: Path, out: Path, config: CalibrationConfig, resume: bool, keep_going: bool, jobs: int | None
) -> CalibrationResult:
    from debride.audit.calibrate_folder import calibrate_folder

    moved = calibrate_folder(
        dataset, predictions, out, config=config, resume=resume, keep_going=keep_going, jobs=processes(jobs)
    )
    tell_warnings(moved.calibrated)
    return CalibrationResult(out, moved.calibrated, moved.count, moved.left_out)


def _refuse(form: str, options: dict[str, Any]) -> None:
    """Raises DataError for options that are those of the other form."""
    if given := [name for name, value in options.items() if value]:
        raise DataError(f"`{given[0]}`", f"is for {form}", "Leave it out.")
