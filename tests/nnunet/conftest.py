"""What needs nnU-Net: `make nnunet-env` makes its environment, and `make test-nnunet` runs these."""

import importlib.util
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests here are run by hand; where nnU-Net is not installed they say so."""
    missing = importlib.util.find_spec("nnunetv2") is None
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.system)
            if missing:
                item.add_marker(pytest.mark.skip(reason="nnU-Net is not installed: `make test-nnunet` runs this test"))
