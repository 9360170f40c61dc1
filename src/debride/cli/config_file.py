"""The file of ``--config``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from debride.types import DataError


def read_config(file: Path | None) -> dict[str, dict[str, Any]]:
    """The sections training, augmentation and method of a configuration file, those that it has; none without a file."""
    if file is None:
        return {}
    from debride.files import read_yaml

    sections = read_yaml(file)
    if not isinstance(sections, dict) or not all(isinstance(section, dict) for section in sections.values()):
        raise DataError(
            file, "is not a YAML mapping of sections", "Write training:, augmentation:, method:, each with its settings below."
        )
    unknown = set(sections) - {"training", "augmentation", "method"}
    if unknown:
        names = ", ".join(sorted(map(str, unknown)))
        raise DataError(file, f"has the unknown section {names}", "Use training, augmentation and method.")
    return sections
