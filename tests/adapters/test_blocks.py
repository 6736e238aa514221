from __future__ import annotations

from itertools import permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tensordict import TensorDict
from torch import Tensor

from helpers import randomised
from synoptic.adapters.blocks import Upload, block_of, blocks_of, mean_per_block, owned, touched
from synoptic.adapters.stack import expand, names
from synoptic.core import SynopticError
from synoptic.federation.message import decode, encode
from tasking import TASKS, multitask

PATHS = {"a": ("all/x", "own/a"), "b": ("all/x", "own/b"), "c": ("all/x", "own/c")}


def server() -> TensorDict:
    return TensorDict({"all/x/w": torch.ones(2, 3), "own/a/w": torch.ones(4), "own/b/w": torch.ones(4),
                       "own/c/w": torch.ones(4)}, batch_size=[])  # fmt: skip


def upload(clients: list[int], counts: dict[str, list[float]], seed: int = 0) -> Upload:
    """Random blocks of clients with the tasks of ``counts``."""
    mine = owned(server(), {block for task in counts for block in PATHS[task]})
    stack = torch.stack([randomised(mine, 100 * seed + client) for client in clients])
    return Upload(clients, stack, touched(PATHS, {task: torch.tensor(count) for task, count in counts.items()}))


def test_blocks_are_the_first_two_parts() -> None:
    assert block_of("head/shapes/attention/query") == "head/shapes"
    assert blocks_of(server())["own/a"] == ["own/a/w"]


def test_owned_is_a_selection_without_copy() -> None:
    whole = server()
    part = owned(whole, ["own/b"])
    assert names(part) == ["own/b/w"]
    assert part["own/b/w"].data_ptr() == whole["own/b/w"].data_ptr()
    with pytest.raises(SynopticError, match="block 'own/z' is not there; there are: all/x, own/a"):
        owned(whole, ["own/z"])


def test_examples_count_for_every_block_on_their_path() -> None:
    found = touched(PATHS, {"a": torch.tensor([3.0, 1.0]), "b": torch.tensor([2.0, 0.0])})
    assert {block: count.tolist() for block, count in found.items()} == {
        "all/x": [5.0, 1.0], "own/a": [3.0, 1.0], "own/b": [2.0, 0.0]
    }  # fmt: skip


counts = st.floats(0, 50).map(lambda value: float(round(value)))


@given(st.lists(counts, min_size=2, max_size=2), st.lists(counts, min_size=3, max_size=3))
def test_each_block_is_the_mean_over_whom_it_was_touched_by(first: list[float], second: list[float]) -> None:
    one = upload([4, 1], {"a": first})
    two = upload([3, 0, 2], {"a": second, "b": [2.0, 1.0, 5.0]}, seed=1)
    result, before = mean_per_block(server(), [one, two]), server()
    for block in blocks_of(before):
        top, bottom = torch.zeros(before[f"{block}/w"].shape, dtype=torch.float64), 0.0
        for each in (one, two):
            weights = each.touched.get(block, torch.zeros(len(each.clients)))
            for place, weight in enumerate(weights.tolist()):
                if weight:
                    top += weight * each.stack[f"{block}/w"][place].double()
                    bottom += weight
        expected = (top / bottom).float() if bottom else before[f"{block}/w"]
        assert torch.allclose(result[f"{block}/w"], expected, atol=1e-6)


def test_what_nobody_touched_keeps_its_value_bit_for_bit() -> None:
    whole = randomised(server(), 7)
    result = mean_per_block(whole, [upload([0, 1], {"a": [2.0, 3.0], "b": [0.0, 0.0]})])
    for name in ("own/b/w", "own/c/w"):
        assert torch.equal(result[name], whole[name])
    assert not torch.equal(result["own/a/w"], whole["own/a/w"])
    assert all(torch.equal(mean_per_block(whole, [])[name], whole[name]) for name in names(whole))


def test_grouping_and_order_change_no_bit() -> None:
    parts = [upload([client], {"a": [float(client + 1)], "b": [2.0]}) for client in range(3)]
    together = upload([0, 1, 2], {"a": [1.0, 2.0, 3.0], "b": [2.0, 2.0, 2.0]})
    expected = mean_per_block(server(), [together])
    for order in permutations(parts):
        found = mean_per_block(server(), order)
        assert all(torch.equal(found[name], expected[name]) for name in names(expected))


def test_r1_after_aggregation_every_client_holds_the_servers_tensors() -> None:
    model = multitask()
    kinds = {("shapes", "colours"): [0, 3], ("questions",): [1], ("captions", "pictures"): [2]}
    whole = model.new_adapter(TASKS, 0)
    uploads = []
    for tasks, clients in kinds.items():
        trained = randomised(expand(owned(whole, model.blocks(tasks)), len(clients)), clients[0])
        examples = {task: torch.arange(1.0, len(clients) + 1) for task in tasks}
        uploads.append(Upload(clients, trained, touched({task: model.path(task) for task in tasks}, examples)))
    whole = mean_per_block(whole, uploads)
    for tasks in kinds:
        sent = owned(whole, model.blocks(tasks))
        received = decode(encode({"adapter": sent}))["adapter"]
        assert isinstance(received, TensorDict)
        assert {block_of(name).split("/")[0] for name in names(received)} == {
            "encoder",
            "mote",
            "expert",
            "mome",
            "head",
        }
        assert names(received) == names(sent)
        assert all(torch.equal(received[name], whole[name]) for name in names(received))


@pytest.mark.parametrize(
    ("uploads", "what"),
    [
        ([upload([1, 2], {"a": [1.0, 1.0]}), upload([2], {"b": [1.0]})], "client 2 is in two uploads"),
        ([upload([1, 2], {"a": [1.0, -1.0]})], "no counts of the examples that 2 clients"),
        ([upload([1, 2], {"a": [1.0, float("nan")]})], "no counts of the examples"),
    ],
)
def test_uploads_that_cannot_be_averaged(uploads: list[Upload], what: str) -> None:
    with pytest.raises(SynopticError, match=what):
        mean_per_block(server(), uploads)


def test_a_block_that_the_server_lacks_is_refused() -> None:
    count: dict[str, Tensor] = {"own/a": torch.tensor([1.0])}
    odd = Upload([0], TensorDict({"own/a/extra": torch.ones(1, 2)}, batch_size=[1]), count)
    with pytest.raises(SynopticError, match="sent own/a/extra, which the server does not have"):
        mean_per_block(server(), [odd])
