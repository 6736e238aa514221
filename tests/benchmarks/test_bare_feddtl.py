"""The plain FedDTL is the yardstick of its benchmark: both sides must train the same weights in both stages."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rooms import world

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.cases.feddtl import Sides, sides
from benchmarks.cases.overhead import agreement
from benchmarks.workload import tiny_clip

from synoptic.adapters.stack import leaves


@pytest.fixture(scope="module")
def both() -> Sides:
    return sides(tiny_clip(), "tiny-clip", world(3, 6), 5)


@pytest.mark.parametrize("stage", ["sft", "rl"])
def test_both_sides_train_the_same_weights(both: Sides, stage: str) -> None:
    theirs = both.bare(stage)()
    for stack in (1, 3):
        ours = both.server(stack, stage)()
        after = {**leaves(ours.state.adapter), **leaves(ours.state.text)}
        assert agreement(after, {**theirs.vision, **theirs.text}) < 1e-4
        before = {**leaves(both.starts[stage][0]), **leaves(both.starts[stage][1])}
        with pytest.raises(RuntimeError, match="apart"):
            agreement(before, {**theirs.vision, **theirs.text})
    assert ("reward" in ours.log) == (stage == "rl")
