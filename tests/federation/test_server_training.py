"""What a server does itself: it trains and counts it, and refuses what only a method can judge."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict

from rooms import bench, digits, serve
from synoptic.adapters.stack import leaves
from synoptic.federation.server import RoundFailed
from synoptic.learning.batches import plan
from synoptic.learning.fit import fit
from synoptic.learning.spec import TrainSpec
from synoptic.methods.fedavg import FedAvg


def quadratic(worn: dict[str, torch.Tensor], batch: object) -> torch.Tensor:
    return (worn["head"][:, 0, None] - torch.from_numpy(batch.rows).float()).square()


def test_training_on_the_server_is_fit_and_is_counted_apart() -> None:
    server = serve(FedAvg(), bench(digits(), rounds=4))
    start = TensorDict({"head": torch.zeros(2)}, [])
    spec = TrainSpec(optimizer="sgd", lr=0.1, batch_size=4, epochs=2, schedule="linear")
    server.round = 2
    fitted = server.fit(start, 10, quadratic, spec)
    counted = {name: count for name, count in server.work.items() if count}
    assert counted == {"server_steps": 6.0, "server_examples": 20.0}
    steps = plan(torch.arange(10).numpy(), spec, 0, 2, -1)
    wanted = fit(start.unsqueeze(0), [steps], quadratic, spec, 0.05)
    assert torch.equal(fitted.stack["head"], wanted.stack["head"])
    assert start["head"].tolist() == [0, 0]


def test_what_a_method_refuses_is_a_failure_and_the_others_go_on() -> None:
    on = bench(digits())
    server = serve(FedAvg(), on)
    server.round = 3
    replies = server.ask("train", adapter=on.new_adapter())
    kept = server.refuse(
        replies, "train", lambda client, told: "too eager" if told["examples"] == replies.examples[1] else None
    )
    assert kept.clients == [0, 2, 3]
    assert len(leaves(kept.adapter)) > 0
    assert [str(failure) for failure in server.failures] == ["client 1, round 3, task 'train': too eager"]
    assert server.refuse(replies, "train", lambda client, told: None) is replies


def test_a_round_fails_when_too_many_are_refused() -> None:
    on = bench(digits())
    server = serve(FedAvg(), on, min_replies=0.5)
    replies = server.ask("train", adapter=on.new_adapter())
    with pytest.raises(RoundFailed, match="0 valid replies of 4"):
        server.refuse(replies, "train", lambda client, told: "no")
