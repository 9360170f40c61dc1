"""The settings of an audit."""

from __future__ import annotations

from dataclasses import dataclass

from debride.settings import setting


@dataclass(frozen=True, kw_only=True)
class AuditConfig:
    """The settings of an audit."""

    planted: int = setting(300, "cases into which errors are planted to learn what errors look like", least=1)
    least: float = setting(0.1, "least confidence of a finding", above=0, most=1)
    pictures: int = setting(200, "findings with a picture in the report, the surest first", least=0)
    seed: int = setting(0, "of the planted errors and of cross-validation")
