"""What trainings and calibrations give back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from debride.api.result import Result, Row
from debride.types import DataError

if TYPE_CHECKING:
    from debride.training.fitted_bias import Calibrated


@dataclass(frozen=True, repr=False)
class CalibrationResult(Result):
    """A bias that was measured on verified cases: how masks or classes are corrected is in calibration.json.

    Of predictions in a folder ``count`` corrected masks were written, None for a run, and those ``left_out`` could not be read.
    """

    calibrated: Calibrated
    count: int | None = None
    left_out: tuple[DataError, ...] = ()

    def said(self) -> Sequence[str]:
        """What was found, and what it is worth."""
        from debride.calibration.bias_record import FILE
        from debride.training.bias_kinds import in_words, verified_by

        done = self.calibrated
        replaced = ", in place of an earlier one" if done.replaced else ""
        return [*in_words(done.record), "", *done.own_words, f"{self.out / FILE}: {verified_by(done.record)}{replaced}"]


@dataclass(frozen=True, repr=False)
class TrainResult(Result):
    """A trained network: its folder is what ``predict`` takes. ``calibration`` is None where none was asked for."""

    calibration: CalibrationResult | None = None

    @property
    def summary(self) -> dict[str, Any]:
        """All that determined the training, as run.json has it."""
        from debride.training.description import read_description

        return read_description(self.out / "run.json")

    @property
    def best_epoch(self) -> int | None:
        """The epoch with the best validation; None where there are no validation cases."""
        best = self._recorded()[-1]["best"]["epoch"]
        return None if best is None else int(best)

    def said(self) -> Sequence[str]:
        """The method, the epochs, and the best one."""
        epochs = self._recorded()
        early = " (stopped early)" if epochs[-1].get("stopped_early") else ""
        said = f"{self.summary['method']}, {len(epochs)} epoch{'s' if len(epochs) > 1 else ''}{early}"
        best = {name: value for name, value in epochs[-1]["best"].items() if value is not None}
        measure = "".join(f", {name} {value:.3f}" for name, value in best.items() if name != "epoch")
        return [f"{said}, best {int(best['epoch'])}{measure}" if best else said]

    def rows(self) -> Sequence[Row]:
        """A row for each epoch: losses, the learning rate, and what validation measured."""
        return [
            {
                **{name: row[name] for name in ("epoch", "step", "learning_rate", "seconds") if name in row},
                **{f"train_{name}": value for name, value in row["train"].items()},
                **{f"val_{name}": value for name, value in (row.get("val") or {}).items() if isinstance(value, int | float)},
            }
            for row in self._recorded()
        ]

    def pictures(self) -> Sequence[tuple[str, bytes]]:
        """The curves of validation and of the loss."""
        from debride.training.run_curves import curves_png
        from debride.training.run_list import summary_of

        return [("Validation on labels as given, and the training loss", curves_png([summary_of(self.out)]))]

    def _recorded(self) -> list[dict[str, Any]]:
        from debride.training.recorded import recorded_rows

        if not (rows := list(recorded_rows(self.out / "metrics.jsonl"))):
            raise DataError(self.out, "holds no epoch of a training", "Train again.")
        return rows
