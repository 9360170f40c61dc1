"""Whether nnU-Net is here in a version that finds and runs debride's trainers."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from debride.notes import note
from debride.types import DataError

TESTED = "2.8"
"""The minor version of nnunetv2 that the tests run with."""

INSTALL = "Install it into the environment of debride: pip install 'debride[nnunet]'."


def trainer_folder() -> Path:
    """The folder for nnU-Net's ``nnUNet_extTrainer``. Raises DataError where nnU-Net is missing, or too old to look there."""
    try:
        found = version("nnunetv2")
    except PackageNotFoundError:
        raise DataError("nnunetv2", "is not installed beside debride, whose trainers import it", INSTALL) from None
    if _minor(found) < _minor(TESTED):
        raise DataError(f"nnunetv2 {found}", "does not look for trainers of others, as it does from 2.8 on", INSTALL)
    if _minor(found) > _minor(TESTED):
        note(f"nnunetv2 {found}", f"is newer than {TESTED}, with which debride's trainers are tested")
    return Path(__file__).parent / "ext"


def _minor(text: str) -> tuple[int, int]:
    """The first two numbers of a version."""
    first, second, *_ = (*text.split("."), "0")
    return int(first), int("".join(letter for letter in second if letter.isdigit()) or 0)
