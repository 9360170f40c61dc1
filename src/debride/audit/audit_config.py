"""The settings of an audit."""

from __future__ import annotations

from dataclasses import dataclass

from debride.settings import setting
from debride.types import DataError


@dataclass(frozen=True, kw_only=True)
class AuditConfig:
    """The settings of an audit."""

    planted: int = setting(300, "cases into which errors are planted to learn what errors look like")
    least: float = setting(0.1, "least confidence of a finding, 0 to 1")
    pictures: int = setting(200, "findings with a picture in the report, the surest first")
    seed: int = setting(0, "of the planted errors and of cross-validation")

    def __post_init__(self) -> None:
        for name, least in (("planted", 1), ("pictures", 0)):
            if getattr(self, name) < least:
                raise DataError(f"--{name}", f"is {getattr(self, name)}", f"Give a number of at least {least}.")
        if not 0 < self.least <= 1:
            raise DataError("--least", f"is {self.least}", "Give a confidence above 0 and up to 1.")
