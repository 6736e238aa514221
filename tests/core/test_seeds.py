from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from synoptic.core.seeds import generator, numpy_generator, stream_seed

names = st.lists(st.one_of(st.text(max_size=5), st.integers(-5, 10**6)), max_size=4)


@given(st.integers(0, 2**31), names, st.integers(0, 2**31), names)
def test_streams_are_equal_only_when_seed_and_names_are(seed: int, one: list, other_seed: int, two: list) -> None:  # type: ignore[type-arg]
    first, second = stream_seed(seed, *one), stream_seed(other_seed, *two)
    assert 0 <= first < 2**63
    assert (first == second) == ((seed, one) == (other_seed, two))


def test_numbers_and_words_and_groupings_are_different_names() -> None:
    seeds = [
        stream_seed(0, 1), stream_seed(0, "1"), stream_seed(0, 1, 1), stream_seed(0, 11), stream_seed(0),
        stream_seed(1), stream_seed(0, "a", "b"), stream_seed(0, "ab"), stream_seed(0, "b", "a"),
    ]  # fmt: skip
    assert len(set(seeds)) == len(seeds)


def test_streams_never_change_between_versions() -> None:
    """A changed value here means that no old run can be resumed or repeated."""
    assert stream_seed(0, "batches", 3, 7) == 7401281702289635416


def test_drawing_from_one_stream_leaves_the_others_and_the_global_state_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = torch.rand(3, generator=generator(0, "a"))
    torch.rand(100, generator=generator(0, "b"))
    assert torch.equal(torch.rand(3, generator=generator(0, "a")), first)
    assert np.array_equal(numpy_generator(0, "a").random(3), numpy_generator(0, "a").random(3))
    assert torch.equal(torch.get_rng_state(), before)
