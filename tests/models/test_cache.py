from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from synoptic.core import SynopticError
from synoptic.core.seeds import numpy_generator
from synoptic.data import digits
from synoptic.models.cache import BLOCK, Budget, PrefixCache, parse_bytes
from synoptic.models.load import shared_dual_encoder

ROW = 6
"""Values per cached row in the tests without a model."""


class Source:
    """A computation that counts, and whose last bits depend on what is computed together, as real kernels' do."""

    def __init__(self) -> None:
        self.calls: list[NDArray[np.int64]] = []

    def __call__(self, positions: NDArray[np.int64]) -> Tensor:
        self.calls.append(positions)
        rows = torch.from_numpy(positions).float()[:, None] + torch.arange(ROW) / 10
        return rows + 1e-6 * len(positions)


def cache_of(source: Source, count: int = 100, memory: int = 2**30, folder: Path | None = None) -> PrefixCache:
    order = numpy_generator(0, "order").permutation(count)
    return PrefixCache("key", source, order, Budget(memory, folder))


def test_rows_come_in_the_order_asked_for_repeats_included() -> None:
    cache = cache_of(Source())
    asked = np.array([7, 3, 7, 99, 0])
    assert torch.allclose(cache.fetch(asked)[:, 0], torch.from_numpy(asked).float(), atol=1e-3)


@given(st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=40), min_size=1, max_size=8), st.integers(0, 3))
def test_values_do_not_depend_on_the_order_of_requests(requests: list[list[int]], blocks_in_memory: int) -> None:
    whole = cache_of(Source()).fetch(np.arange(100))
    cache = cache_of(Source(), memory=blocks_in_memory * BLOCK * ROW * 4)
    for asked in requests:
        assert torch.equal(cache.fetch(np.array(asked)), whole[asked])


def test_each_block_is_computed_once_and_only_when_needed() -> None:
    source = Source()
    cache = cache_of(source)
    cache.fetch(source_order := numpy_generator(0, "order").permutation(100)[:3])
    assert (cache.misses, len(source.calls)) == (1, 1)
    cache.fetch(source_order)
    for _ in range(2):
        cache.fetch(np.arange(100))
    assert cache.misses == len(source.calls) == 4
    assert sorted(np.concatenate(source.calls)) == list(range(100))


def test_what_the_budget_does_not_hold_is_spilled_exactly(tmp_path: Path) -> None:
    everything = cache_of(Source()).fetch(np.arange(100))
    source = Source()
    cache = cache_of(source, memory=2 * BLOCK * ROW * 4 + 8, folder=tmp_path)
    assert torch.equal(cache.fetch(np.arange(100)), everything)
    assert cache.spilled == 100 - 2 * BLOCK
    assert torch.equal(cache.fetch(np.arange(99, -1, -1)), everything.flip(0))
    assert len(source.calls) == 4, "the disk is read, not computed anew"


def test_caches_share_one_budget() -> None:
    budget = Budget(3 * BLOCK * ROW * 4)
    first = PrefixCache("a", Source(), np.arange(2 * BLOCK), budget)
    second = PrefixCache("b", Source(), np.arange(2 * BLOCK), budget)
    first.fetch(np.array([0]))
    second.fetch(np.array([0]))
    assert (first.spilled, second.spilled) == (0, BLOCK)
    assert budget.free == 0


def test_a_budget_never_goes_below_zero() -> None:
    budget = Budget(5)
    cache = PrefixCache("a", Source(), np.arange(40), budget)
    assert torch.equal(cache.fetch(np.arange(40)), cache_of_range(40).fetch(np.arange(40)))
    assert (cache.spilled, budget.free) == (40, 5)


def cache_of_range(count: int) -> PrefixCache:
    return PrefixCache("a", Source(), np.arange(count), Budget(2**30))


def test_two_runs_with_one_key_and_folder_do_not_meet(tmp_path: Path) -> None:
    first = cache_of(Source(), memory=0, folder=tmp_path)
    before = first.fetch(np.arange(100)).clone()
    second = cache_of(Source(), memory=0, folder=tmp_path)
    second.fetch(np.array([1]))
    assert torch.equal(first.fetch(np.arange(100)), before)


def test_the_spill_leaves_nothing_behind_even_when_killed(tmp_path: Path) -> None:
    cache = cache_of(Source(), memory=0, folder=tmp_path)
    cache.fetch(np.array([1]))
    assert cache.spilled == 100
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("position", [-1, 5, 11, 10**6])
def test_examples_outside_the_table(position: int) -> None:
    cache = PrefixCache("a", Source(), np.array([0, 1, 10]), Budget(2**20))
    with pytest.raises(SynopticError, match=f"example {position} is outside the cache's table; ask only"):
        cache.fetch(np.array([0, position]))


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = cache_of(Source(), memory=0, folder=tmp_path / "file")
    with pytest.raises(SynopticError, match=r"the prefix cache cannot spill to its folder .*set compute\.cache_dir"):
        cache.fetch(np.array([0]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("1000", 1000), (12, 12), ("2KiB", 2048), ("500 MB", 500 * 10**6), (" 1.5gib ", 3 * 2**29), ("7b", 7)],
)
def test_parse_bytes(text: str | int, expected: int) -> None:
    assert parse_bytes(text) == expected


@pytest.mark.parametrize("text", ["", "lots", "-1", "2 XB", "1e9", "GiB", "1.2.3MB"])
def test_parse_bytes_of_something_else(text: str) -> None:
    with pytest.raises(SynopticError, match="is not a size; write it like 500MB or 2GiB"):
        parse_bytes(text)


@pytest.mark.parametrize("depth", [0, 2, "ready"])
@pytest.mark.parametrize("memory", [2**30, 0])
def test_cached_equals_uncached_on_the_embedded_checkpoint(depth: int | str, memory: int) -> None:
    model, images = shared_dual_encoder("tiny-clip"), digits.load()[0]
    order = np.arange(70)
    compute = lambda positions: model.image_prefix(model.pixels(images[positions]), depth)  # noqa: E731
    cache, again = (PrefixCache("k", compute, order, Budget(memory)) for _ in range(2))
    asked = np.array([5, 61, 2, 69, 33])
    rows = cache.fetch(asked)
    assert torch.allclose(rows, compute(asked), atol=1e-5)
    with torch.no_grad():
        cached, plain = (model.image_suffix(some, depth) for some in (rows, compute(asked)))
    assert torch.allclose(cached, plain, atol=1e-6)
    for position in asked[::-1]:
        again.fetch(np.array([position]))
    assert torch.equal(again.fetch(asked), rows), "the order of requests must not reach a single bit"


def test_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    cache = PrefixCache("k", lambda p: torch.zeros(len(p), 4), np.arange(64), Budget(0, tmp_path))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(SynopticError, match="filled the disk"):
        cache.fetch(np.arange(3))


@given(st.lists(st.integers(1, 3 * BLOCK), min_size=1, max_size=6))
def test_no_block_reaches_across_clients(sizes: list[int]) -> None:
    starts = np.cumsum([0, *sizes])[:-1]
    asked: list[list[int]] = []

    def compute(positions: NDArray[np.int64]) -> Tensor:
        asked.append(positions.tolist())
        return torch.from_numpy(positions).float()[:, None]

    total = sum(sizes)
    cache = PrefixCache("k", compute, np.arange(total), Budget(2**20), starts)
    positions = numpy_generator(0, "order").permutation(total)
    assert torch.equal(cache.fetch(positions)[:, 0], torch.from_numpy(positions).float())
    owner = np.repeat(np.arange(len(sizes)), sizes)
    assert all(len(block) <= BLOCK and len(set(owner[block])) == 1 for block in asked)
    assert sorted(row for block in asked for row in block) == list(range(total))
