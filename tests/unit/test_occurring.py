"""The numbers that occur in an array are found as NumPy finds them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from debride.data.pixels.occurring import occurring


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int64])
@pytest.mark.parametrize("shape", [(7, 9), (3, 7, 9), (0, 4)])
def test_as_unique_says(kind: Any, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).choice(np.array([0, 3, 200, 255]), shape).astype(kind)
    assert occurring(values) == np.unique(values).tolist()
    assert occurring(values.T[::-1]) == np.unique(values).tolist()


def test_negative_numbers() -> None:
    assert occurring(np.array([[4, -2], [-2, 9]])) == [-2, 4, 9]
