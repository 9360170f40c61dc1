"""A training as files that need no debride."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from debride.api.datasets import Folder
from debride.api.result import Result, Row
from debride.plugins import Trust

if TYPE_CHECKING:
    from debride.export.run_export import Form


@dataclass(frozen=True, repr=False)
class ExportResult(Result):
    """A model with what is done to an image: its ``files`` by name, and ``notes``, as on how it was checked."""

    files: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def said(self) -> Sequence[str]:
        """The files, then the notes."""
        return [", ".join(self.files), *self.notes]

    def rows(self) -> Sequence[Row]:
        """A row for each file."""
        return [{"file": name, "bytes": (self.out / name).stat().st_size} for name in self.files]

    @property
    def preprocessing(self) -> dict[str, Any]:
        """What is done to an image before the network and after it, as preprocessing.json has it."""
        from debride.files import read_json

        told: dict[str, Any] = read_json(self.out / "preprocessing.json")
        return told


def export_run(
    run: Folder,
    out: Folder,
    *,
    to: Form,
    checkpoint: str | int | None = None,
    raw: bool = False,
    method: str | None = None,
    network: str | None = None,
    trust_code: bool = False,
) -> ExportResult:
    """Writes a ``run`` to the new folder ``out`` as ``to`` says: torchscript, onnx or monai-bundle.

    ``checkpoint`` is best, last or an epoch's number; None is the one that was calibrated, or best. Offsets of the run's
    calibration are a part of the model, unless ``raw``. A ``method`` or ``network`` of one's own that the run names is imported
    where it is named again, or with ``trust_code``.

    Raises DataError for a run that cannot be used or exported, and for ``out`` where it holds something.
    """
    from debride.export.run_export import export_run as export

    trust = Trust(trust_code, frozenset(name for name in (method, network) if name))
    which = None if checkpoint is None else str(checkpoint)
    exported = export(Path(run), to, Path(out), checkpoint=which, raw=raw, trust=trust)
    return ExportResult(exported.out, exported.files, exported.notes)
