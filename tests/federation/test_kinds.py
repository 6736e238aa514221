from __future__ import annotations

from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rooms import bench, digits, same, serve
from synoptic.adapters.algebra import product_mean
from synoptic.adapters.blocks import block_of, blocks_of
from synoptic.adapters.stack import names
from synoptic.core import SynopticError
from synoptic.federation.kinds import ask_kinds, averaged, mean_loss
from synoptic.federation.server import RoundFailed
from synoptic.methods.base import Cohort, Replies, task
from synoptic.methods.fedavg import FedAvg
from synoptic.methods.fedprox import FedProx
from tasking import task_bench


class Odd(FedAvg):
    """The client who has both tasks counts its rows wrongly; whoever is in ``broken`` does not answer."""

    rows = torch.tensor([[1.0, -1.0]])
    broken = ()

    @task
    def train(self, cohort: Cohort, adapter: TensorDict) -> Replies:
        if set(cohort.clients) & set(self.broken):
            raise RuntimeError("out of memory")
        fitted = cohort.fit(adapter)
        rows = self.rows if cohort.clients == [2] and self.rows is not None else cohort.rows["rows"]
        return cohort.reply(adapter=fitted.stack, examples=cohort.examples, loss=fitted.loss, rows=rows)


def test_clients_of_one_task_are_asked_once() -> None:
    on = bench(digits())
    server = serve(FedAvg(), on)
    (replies,) = ask_kinds(server, "train", adapter=on.new_adapter())
    plain = serve(FedAvg(), on).ask("train", adapter=on.new_adapter())
    assert same(replies.adapter, plain.adapter)
    assert set(replies.fields) == {"adapter", "examples", "loss"}


def test_everybody_gets_the_blocks_of_its_tasks() -> None:
    on = task_bench(groups=2)
    parts = ask_kinds(serve(FedAvg(), on), "train", adapter=on.new_adapter())
    assert [part.clients for part in parts] == [[0, 3], [1, 4], [2, 5]]
    assert [set(blocks_of(part.adapter)) for part in parts] == [
        set(on.tasking.model.blocks(tasks))  # type: ignore[union-attr]
        for tasks in (["shapes"], ["colours"], ["shapes", "colours"])
    ]
    assert [part.rows.tolist() for part in parts] == [[[8.0]] * 2, [[8.0]] * 2, [[8.0, 8.0]] * 2]
    losses, examples = torch.cat([part.loss for part in parts]), torch.tensor([8.0, 8, 8, 8, 16, 16])
    assert mean_loss(parts) == pytest.approx(float((losses * examples).sum() / examples.sum()))


def test_blocks_are_averaged_over_whoever_has_them() -> None:
    on = task_bench()
    server, before = serve(FedAvg(), on), on.new_adapter()
    parts = ask_kinds(server, "train", adapter=before)
    after = averaged(server, before, parts)
    shares = {"head/shapes": {0: 8, 2: 8}, "expert/text": {1: 8, 2: 8}, "mote/shared": {0: 8, 1: 8, 2: 16}}
    for block, weight in shares.items():
        for name in blocks_of(after)[block]:
            expected = sum(n / sum(weight.values()) * parts[client].adapter[name][0] for client, n in weight.items())
            assert torch.allclose(after[name], expected, atol=1e-6), name


def test_blocks_that_nobody_trained_stay() -> None:
    on = task_bench()
    server, before = serve(FedAvg(), on), on.new_adapter()
    after = averaged(server, before, ask_kinds(server, "train", to=[0], adapter=before))
    for name in names(before):
        if "text" in block_of(name) or "colours" in block_of(name):
            assert torch.equal(after[name], before[name])
    assert not torch.equal(after["head/shapes/weight"], before["head/shapes/weight"])


@pytest.mark.parametrize("rows", [[[1.0, -1.0]], [[0.0, 0.0]], [[1.0]], [[1.0, 1.0, 1.0]]])
def test_counts_that_make_no_sense_are_refused(rows: list[list[float]]) -> None:
    on, method = task_bench(), Odd()
    method.rows = torch.tensor(rows)
    server = serve(method, on)
    parts = ask_kinds(server, "train", adapter=on.new_adapter())
    assert [part.clients for part in parts] == [[0], [1]]
    assert "does not tell how many examples it has of each of its tasks shapes, colours" in server.failures[0].reason


@pytest.mark.parametrize(("broken", "enough"), [((2,), True), ((1, 2), False)])
def test_a_kind_may_be_missing_as_long_as_enough_of_all_answer(broken: tuple[int, ...], enough: bool) -> None:
    on, method = task_bench(), Odd()
    method.rows, method.broken = None, broken  # type: ignore[assignment]
    server = serve(method, on)
    if enough:
        assert [part.clients for part in ask_kinds(server, "train", adapter=on.new_adapter())] == [[0], [1]]
    else:
        with pytest.raises(RoundFailed, match="1 valid replies of 3 and needs 2"):
            ask_kinds(server, "train", adapter=on.new_adapter())


def test_clients_of_different_tasks_own_nothing_together() -> None:
    on = task_bench()
    with pytest.raises(SynopticError, match=r"clients \[0, 1\] have different tasks; ask them kind by kind"):
        on.new_adapter([0, 1])
    with pytest.raises(SynopticError, match=r"averaged factor by factor; set method\.mean=factor"):
        averaged(serve(FedAvg(), on), on.new_adapter(), [], product_mean)


def test_fedprox_holds_each_kind_near_its_start() -> None:
    on = task_bench()

    def apart(mu: float) -> float:
        method: Any = FedProx(FedProx.Settings(mu=mu))
        server = serve(method, on)
        method.begin(server)
        before = server.state.adapter
        method.round(server, 0)
        return sum(float((server.state.adapter[name] - before[name]).square().sum()) for name in names(before))

    assert apart(2.0) < apart(0.0)
