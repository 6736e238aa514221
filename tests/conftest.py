"""Test-wide settings: one torch thread (the thread count changes float results), no hub, no parallel tokenizers."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["MPLBACKEND"] = "Agg"

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
# Deadlines measure the machine, not the code; reproducible runs matter more than new examples.
settings.register_profile("house", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("house")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest of all comes first, so that of several processes none is left alone with it at the end."""
    items.sort(key=lambda item: "test_the_tutorial_runs_as_printed" not in item.name)
