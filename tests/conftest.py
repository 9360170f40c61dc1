"""One thread: tests run beside each other, and sums in one order are the same everywhere. The home folder is left alone."""

from collections.abc import Iterator

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def cache_in_a_temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEBRIDE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
