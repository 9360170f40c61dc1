"""Trusted cases for nnU-Net's trainings: a text file of ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from debride.nnunet.environment import PREFIX
from debride.types import DataError
from debride.words import listed

WHERE = PREFIX + "TRUSTED"


def trusted_cases(file: str | None, training: Sequence[str], known: Sequence[str], say: Callable[[str], object]) -> list[str]:
    """The trusted ones of a fold's ``training`` cases, as a file lists them, one id a line; none without a file.

    What is listed and is not trained on in this fold is told to ``say``. DataError where a listed case is not ``known``.
    """
    if file is None:
        return []
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(WHERE, f"names {file}, which cannot be read ({error})", "Give a text file of case ids.") from None
    ids = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if unknown := sorted(set(ids) - set(known)):
        raise DataError(WHERE, f"lists {listed(unknown[:5])}, no case of the data set", "Give ids as in labelsTr, one a line.")
    used = [name for name in ids if name in set(training)]
    say(f"{len(used)} trusted cases; {len(ids) - len(used)} of the list are not trained on in this fold.")
    return used
