"""Settings of all tests: examples are never timed, since speed is measured in benchmarks/ and machines are busy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("untimed", parent=settings(), deadline=None)  # in CI the parent is derandomised
settings.load_profile("untimed")


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Several threads on so small a model wait for each other: on a busy machine thirty times as long."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
