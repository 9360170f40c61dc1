"""How many cores this process may use."""

from __future__ import annotations


def cores() -> int:
    """The cores that this process may use: as the system, a container's limit and the scheduler of a cluster say."""
    from joblib.externals.loky import cpu_count

    many: int = cpu_count()
    return many
