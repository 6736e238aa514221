from __future__ import annotations

import torch
from tensordict import TensorDict

from rooms import bench, digits, final, furthest, play, pooled, reference, same, serve
from synoptic.federation.bench import Bench
from synoptic.federation.personal import PersonalStore
from synoptic.learning.batches import plan
from synoptic.methods.centralized import Centralized
from synoptic.methods.local import Local


def kept(on: Bench, rounds: int, stack: int = 99) -> dict[int, TensorDict]:
    store = PersonalStore()
    play(Local(), serve(Local(), on, stack=stack, store=store), rounds)
    result = {}
    for client in store.clients():
        own = store.load(client)["adapter"]
        assert isinstance(own, TensorDict)
        result[client] = own
    return result


def test_every_client_trains_on_alone_from_where_it_was() -> None:
    on = bench(digits(), optimizer="sgd", lr=0.05)
    ours = kept(on, 2)
    assert sorted(ours) == [0, 1, 2, 3]
    for k, own in ours.items():
        w = on.new_adapter()
        for t in range(2):
            batches = plan(on.data.clients.train(k), on.train, 0, t, k)
            w = TensorDict(reference(on.data).train(w, batches, lambda p: torch.optim.SGD(p, 0.05)), [])
        assert furthest(own, w) < 2e-5
    assert furthest(ours[0], ours[1]) > 1e-3


def test_one_client_with_all_data_ends_where_centralized_does() -> None:
    on = bench(pooled(digits()), lr=1e-3)
    assert same(kept(on, 3)[0], final(Centralized(), on, rounds=3))


def test_nothing_but_losses_travels() -> None:
    on = bench(digits())
    server = play(Local(), serve(Local(), on), 2)
    assert server.ledger.summary()["by_kind"] == {
        "train.examples": {"up": 2 * 4 * 4, "down": 0},
        "train.loss": {"up": 2 * 4 * 4, "down": 0},
    }
    assert list(server.state) == []


def test_personal_models_are_the_same_whatever_the_stack() -> None:
    on = bench(digits(), optimizer="sgd", lr=0.05)
    together, alone = kept(on, 2), kept(on, 2, stack=1)
    assert max(furthest(together[k], alone[k]) for k in together) < 1e-5
