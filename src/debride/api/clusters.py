"""The cluster that a function is to use, by its options ``cluster`` and ``cluster_option``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from debride.execute.cluster import Cluster, make_cluster


def cluster_of(cluster: str | None, option: Mapping[str, Any] | None, *names: object) -> Cluster | None:
    """The cluster of these options, None where none is named.

    Raises DataError as ``make_cluster`` does, and where one of the ``names``, or a kind of file that is read, is in the user's
    script itself.
    """
    chosen = make_cluster(cluster, option)
    if chosen is not None:
        from debride.data.pixels import outside_pixels
        from debride.spawning import refuse_script

        refuse_script(*names, *outside_pixels())
    return chosen
