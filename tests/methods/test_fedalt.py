from __future__ import annotations

from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rooms import HEAD, bench, digits, furthest, play, reference, same, serve
from synoptic.adapters.peft_io import export_peft, import_peft
from synoptic.adapters.stack import adapter, names, size_bytes
from synoptic.core import SynopticError
from synoptic.experiment.recipe import load_recipe
from synoptic.federation.bench import Bench
from synoptic.federation.cohort import Cohort, PersonalLeak
from synoptic.federation.message import Replies
from synoptic.federation.personal import Personal, PersonalStore
from synoptic.learning.batches import plan
from synoptic.methods.base import task
from synoptic.methods.fedalt import FedALT, rest_of_world
from synoptic.methods.local import Local


def fedalt(**settings: Any) -> FedALT:
    return FedALT(FedALT.Settings(**settings))


def played(method: Any, on: Bench, rounds: int, **options: Any) -> tuple[Any, PersonalStore]:
    store = PersonalStore()
    return play(method, serve(method, on, store=store, **options), rounds), store


def kept(store: PersonalStore, client: int, name: str = "own") -> TensorDict:
    found = store.load(client)[name]
    assert isinstance(found, TensorDict)
    return found


def test_the_rest_of_the_world_is_the_mean_of_the_others_who_have_sent_something() -> None:
    x = torch.randn(4, 3, 2)
    latest = adapter({"v/lora/p/A": x, "v/lora/p/B": x.mT.contiguous(), "v/lora/p/scale": torch.ones(4)})
    rest = rest_of_world(latest, torch.tensor([True, True, False, True]), [0, 2])
    torch.testing.assert_close(rest["v/lora/p/A"][0], (x[1] + x[3]) / 2)
    torch.testing.assert_close(rest["v/lora/p/A"][1], (x[0] + x[1] + x[3]) / 3)
    alone = rest_of_world(latest, torch.tensor([False, True, False, False]), [1])
    assert not alone["v/lora/p/B"].any()


def test_a_round_is_the_equation() -> None:
    """Plain gradient descent on the own pair and a mixer of dense, token-wise shares is too long for ten lines, so the
    share is fixed: W0 + a B_k A_k + (1 - a) B_r A_r with the rest of the world frozen."""
    on = bench(digits(), optimizer="sgd", lr=0.05, steps=1)
    server, store = played(fedalt(mixer=0.6), on, 3)
    fresh = on.new_adapter()
    stems = [name[:-2] for name in names(fresh) if name.endswith("/A")]
    mine = [{name: fresh[name].clone() for name in names(fresh)} for _ in range(4)]
    for t in range(3):
        sent = [{name: tensor.clone() for name, tensor in one.items()} for one in mine]
        for k in range(4):
            moved = [tensor.requires_grad_() for name, tensor in mine[k].items() if not name.endswith("/scale")]
            worn: dict[str, torch.Tensor] = {}
            for stem in stems:
                rest = [sum(sent[j][f"{stem}/{part}"] for j in range(4) if j != k) / 3 for part in "AB"]
                worn[f"{stem}/A"] = torch.cat([mine[k][f"{stem}/A"], rest[0]])  # type: ignore[list-item]
                worn[f"{stem}/B"] = torch.cat([0.6 * mine[k][f"{stem}/B"], 0.4 * rest[1]], dim=1)
                worn[f"{stem}/scale"] = torch.tensor(1.0)
            (batch,) = plan(on.data.clients.train(k), on.train, 0, t, k)
            grads = torch.autograd.grad(reference(on.data).loss(worn, batch), moved)
            with torch.no_grad():
                for tensor, grad in zip(moved, grads, strict=True):
                    tensor.sub_(0.05 * grad)
            mine[k] = {name: tensor.detach() for name, tensor in mine[k].items()}
    for k in range(4):
        assert furthest(kept(store, k), adapter(mine[k])) < 2e-5
        assert same(TensorDict({name: server.state.latest[name][k] for name in names(fresh)}, []), kept(store, k))


def test_with_a_share_of_one_it_is_local_bit_for_bit() -> None:
    on = bench(digits(), optimizer="sgd", lr=0.05)
    _, ours = played(fedalt(mixer=1.0), on, 2)
    _, theirs = played(Local(), on, 2)
    assert all(same(kept(ours, k), kept(theirs, k, "adapter")) for k in range(4))


def test_mixers_learn_by_token_and_never_leave() -> None:
    on = bench(digits(), lr=0.01)
    server, store = played(fedalt(), on, 2)
    mixer = [name for name in names(kept(store, 0)) if "/mixer/" in name]
    assert len(mixer) == 3
    assert all(kept(store, 0)[name].abs().max() > 1e-4 for name in mixer)
    assert not any("/mixer/" in name for name in names(server.state.latest))

    class Leaking(FedALT):
        @task
        def train(self, cohort: Cohort, others: TensorDict) -> Replies:
            return cohort.reply(own=self._own(cohort))

    with pytest.raises(PersonalLeak, match="mixer"):
        play(Leaking(), serve(Leaking(), on), 1)


@pytest.mark.parametrize("participation", [1.0, 2])
def test_a_pair_up_and_a_pair_of_ones_own_down(participation: float) -> None:
    on = bench(digits())
    server, _ = played(fedalt(), on, 3, participation=participation)
    messages, size = 3 * (4 if participation == 1.0 else 2), size_bytes(on.new_adapter())
    assert server.ledger.total("down") == messages * size
    assert server.ledger.total("up") == messages * (size + 8)


def test_the_server_remembers_absent_clients_and_leaves_what_is_theirs_alone() -> None:
    on = bench(digits(), lr=0.01)
    method = fedalt()
    server, store = played(method, on, 1)
    before = {k: kept(store, k).clone() for k in range(4)}
    server.round = 1
    server._spec = server._spec.model_copy(update={"participation": 2})
    method.round(server, 1)
    absent = [k for k in range(4) if k not in server.sampled]
    assert {same(before[k], kept(store, k)) for k in absent} == {True}
    first = server.sampled[0]
    others = [before[k] for k in range(4) if k != first]
    rest = kept(store, first, "others")
    for name in names(rest):
        torch.testing.assert_close(rest[name], torch.stack([one[name] for one in others]).mean(0))


def test_stacked_is_one_by_one() -> None:
    on = bench(digits(), optimizer="sgd", lr=0.05)
    (_, first), (_, second) = (played(fedalt(), on, 2, stack=stack) for stack in (1, 4))
    assert max(furthest(kept(first, k), kept(second, k)) for k in range(4)) < 1e-5


def test_a_personal_model_comes_back_from_its_folder(tmp_path: Any) -> None:
    on = bench(digits(), lr=0.01)
    method = fedalt()
    _, store = played(method, on, 2)
    model = method.personal_model(Cohort([2], on, Personal(store, [2]), 2), None)
    assert model is not None
    export_peft(model[0], tmp_path / "two", on.model)
    assert furthest(import_peft(tmp_path / "two", on.model), model[0]) < 1e-6


def test_bad_input_is_one_sentence() -> None:
    with pytest.raises(SynopticError, match="has none"):
        play(fedalt(), serve(fedalt(), bench(digits(), HEAD)), 1)
    for share in ("-1", "0", "1.5"):
        with pytest.raises(SynopticError, match="above 0 and at most 1, or token"):
            load_recipe("fedalt", [f"method.mixer={share}"])
