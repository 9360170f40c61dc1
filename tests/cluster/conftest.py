"""A SLURM for a file of tests."""

from collections.abc import Iterator

import pytest
from tests.cluster.slurm_here import Slurm, why_not


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    """With both nodes as they were begun; a test that loses one adds it again."""
    if reason := why_not():
        pytest.skip(reason)
    with Slurm() as running:
        yield running
