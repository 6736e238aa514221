"""What FedDTL makes of clients, names and schedules at the edge, and of clients that fail or lie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torch import Tensor

from rooms import BOTH, bench, digits, furthest, play, same, serve, shared_out, world
from runs import small
from synoptic.adapters.stack import leaves
from synoptic.core import SynopticError
from synoptic.data.federated import FederatedData
from synoptic.experiment.evaluate import evaluate
from synoptic.experiment.events import read_events
from synoptic.experiment.runner import run
from synoptic.federation.cohort import Cohort, task
from synoptic.federation.message import Replies
from synoptic.federation.server import RoundFailed, Server
from synoptic.methods.base import registry
from synoptic.methods.feddtl import FedDTL

UPLINKS = ["embeddings", "capped", "prototypes"]


def played(data: FederatedData, rounds: int = 3, kind: type[FedDTL] = FedDTL, **settings: Any) -> Server:
    method = kind(kind.Settings.model_validate({"warm_up": 1, "noise": 1.5, **settings}))
    return play(method, serve(method, bench(data, BOTH, lr=0.01)), rounds)


def finite(server: Server) -> bool:
    model = FedDTL().shared_model(server)
    return all(bool(torch.isfinite(tensor).all()) for tensor in leaves(model).values())


def of_classes(data: FederatedData, wanted: list[list[int]], most: int = 6) -> FederatedData:
    """The same examples, client k holding only some of the classes ``wanted[k]``."""
    rows, sizes = [], []
    for classes in wanted:
        mine = np.flatnonzero(np.isin(data.train.labels, data.base_classes[classes]))[:most]
        rows.append(mine)
        sizes.append(len(mine))
    shared = shared_out(data, sizes)
    train = replace(shared.clients.train_rows, positions=np.concatenate(rows))
    return replace(shared, clients=replace(shared.clients, train_rows=train))


@pytest.mark.parametrize("uplink", UPLINKS)
@pytest.mark.parametrize("gradient", ["sampled", "exact"])
def test_clients_of_a_single_class_or_a_single_image(uplink: str, gradient: str) -> None:
    data = of_classes(digits(3, 72), [[0], [3], [1, 2]])
    one = shared_out(digits(), [1, 9, 2])
    for some in (data, one):
        server = played(some, uplink=uplink, policy_gradient=gradient)
        assert finite(server)
        assert server.failures == []


def test_more_classes_than_examples() -> None:
    data = shared_out(world(), [1, 1])
    assert len(data.base_classes) > 2
    assert finite(played(data))


@pytest.mark.parametrize("uplink", UPLINKS)
def test_an_image_of_no_base_class_is_a_failure_of_that_client(uplink: str) -> None:
    """Nobody's partition does this; a site's own data may."""
    data = digits()
    held = data.clients.train(2)
    labels = data.train.labels.copy()
    labels[held[0]] = data.novel_classes[0]
    data = replace(data, train=replace(data.train, labels=labels))
    on = bench(data, BOTH)
    method = FedDTL(FedDTL.Settings.model_validate({"uplink": uplink}))
    server = serve(method, on, stack=99)
    method.begin(server)
    method.round(server, 0)
    (failure,) = server.failures
    assert failure.client == 2
    assert "which is no base class; leave examples of novel classes out" in failure.reason
    assert finite(server)


@pytest.mark.parametrize("name", ["", "  "])
def test_a_class_name_of_which_the_tokeniser_keeps_nothing_is_one_sentence(name: str) -> None:
    data = digits()
    names = tuple(name if place == data.base_classes[1] else word for place, word in enumerate(data.class_names))
    mute = replace(data, train=replace(data.train, class_names=names))
    with pytest.raises(SynopticError, match=r"keeps nothing of the class name ' *'; give the class a name in"):
        played(mute, 1)


@pytest.mark.parametrize(("warm_up", "tasks"), [(0, {"rl"}), (3, {"sft"}), (99, {"sft"}), (None, {"sft", "rl"})])
def test_a_warm_up_of_nothing_or_of_everything(warm_up: int | None, tasks: set[str]) -> None:
    server = played(digits(), warm_up=warm_up)
    asked = {kind.partition(".")[0] for kind in server.ledger.summary()["by_kind"]}
    assert asked == tasks
    assert finite(server)


def test_a_warm_up_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        FedDTL.Settings.model_validate({"warm_up": -1})


class FailsInRl(FedDTL):
    """Client 2 runs out of memory as soon as it is to be reinforced."""

    @task
    def rl(self, cohort: Cohort, adapter: TensorDict, anchor: TensorDict, text: Tensor | None = None) -> Replies:
        if 2 in cohort.clients:
            raise MemoryError("no room")
        return super().rl(cohort, adapter, anchor, text)


def test_a_client_that_fails_in_the_second_stage_only_is_left_out_there() -> None:
    server = played(digits(), 1, FailsInRl)
    assert server.failures == []
    server.round = 1
    method = FailsInRl(FailsInRl.Settings(warm_up=1))
    method.round(server, 1)
    assert [(failure.client, failure.task, failure.reason) for failure in server.failures] == [(2, "rl", "no room")]
    assert finite(server)


def tampering(change: Callable[[dict[str, Any]], None], *tasks: str) -> type[FedDTL]:
    """A FedDTL whose client 1 changes its reply."""

    class Tampering(FedDTL):
        def _pack(self, cohort: Cohort, worn: TensorDict | None) -> dict[str, list[Tensor]]:
            fields = super()._pack(cohort, worn)
            if 1 in cohort.clients:
                place = cohort.clients.index(1)
                own = {name: values[place].clone() for name, values in fields.items()}
                change(own)
                for name, values in fields.items():
                    values[place] = own[name]
            return fields

    return Tampering


def nan(own: dict[str, Any]) -> None:
    own["embedding"][0, 0] = float("nan")


def no_class(own: dict[str, Any]) -> None:
    own["label"][-1] = 99


def too_few(own: dict[str, Any]) -> None:
    own["label"] = own["label"][:-1]


def nothing(own: dict[str, Any]) -> None:
    own["embedding"], own["label"] = own["embedding"][:0], own["label"][:0]


@pytest.mark.parametrize("pairing", ["local", "averaged"])
@pytest.mark.parametrize(
    ("change", "reason"),
    [(nan, "not finite"), (no_class, "names a class outside"), (too_few, "do not fit"), (nothing, "do not fit")],
)
def test_embeddings_that_cannot_be_used_are_refused_with_a_reason(
    change: Callable[[dict[str, Any]], None], reason: str, pairing: str
) -> None:
    server = played(digits(), 1, tampering(change), pairing=pairing)
    (failure,) = server.failures
    assert failure.client == 1
    assert reason in failure.reason
    assert finite(server)


def test_when_everybodys_embeddings_are_refused_the_round_changes_nothing() -> None:
    class Liars(FedDTL):
        def _pack(self, cohort: Cohort, worn: TensorDict | None) -> dict[str, list[Tensor]]:
            return {name: [value[:0] for value in values] for name, values in super()._pack(cohort, worn).items()}

    for pairing in ("local", "averaged"):
        method = Liars(Liars.Settings.model_validate({"pairing": pairing}))
        server = serve(method, bench(digits(), BOTH))
        method.begin(server)
        before = server.state.adapter.clone()
        with pytest.raises(RoundFailed, match="0 valid replies of 4"):
            method.round(server, 0)
        assert same(server.state.adapter, before)


def test_a_run_with_a_client_that_fails_in_the_second_stage_goes_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "feddtl" in registry()
    sound = FedDTL.rl

    @task
    def rl(method: FedDTL, cohort: Cohort, **payload: Any) -> Replies:
        if 2 in cohort.clients:
            raise MemoryError("no room")
        return sound(method, cohort, **payload)

    monkeypatch.setattr(FedDTL, "rl", rl)
    result = run(small(tmp_path, "feddtl"))
    failures = [event for event in read_events(result.folder / "events.jsonl") if event["type"] == "failure"]
    assert [(event["round"], event["client"], event["reason"]) for event in failures] == [
        (2, 2, "no room"), (3, 2, "no room"),
    ]  # fmt: skip


def test_evaluation_wears_both_parts() -> None:
    server = played(world(), 2)
    method = FedDTL()
    whole = evaluate(method, server, True, None).metrics
    assert furthest(server.state.adapter, server.state.anchor) > 0
    server.state.text = TensorDict({name: 0 * tensor for name, tensor in leaves(server.state.text).items()}, [])
    assert evaluate(method, server, True, None).metrics["shared/novel/loss/mean"] != whole["shared/novel/loss/mean"]
