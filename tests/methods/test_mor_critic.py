from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from aligned import aligning, aligning_bench, ready, tastes
from rooms import play, same, serve
from synoptic.core import SynopticError
from synoptic.experiment.recipe import load_recipe
from synoptic.federation.message import Failure, Replies
from synoptic.federation.server import Server
from synoptic.learning.critic import Critic
from synoptic.methods.critic import features
from synoptic.methods.mor import MoR


def server_of(method: MoR, stack: int = 3) -> Server:
    """Right before its policy's first step."""
    return ready(method, aligning_bench(tastes(validation=0.4, train=24)), stack=stack)[0]


def sent(server: Server) -> list[tuple[list[list[int]], list[list[list[str]]]]]:
    """What clients are asked to score from now on: numbers of questions and texts."""
    seen: list[Any] = []
    deliver = server._federation.deliver

    def noting(name: str, clients: Any, round_: int, payload: Any) -> list[Replies]:
        if name == "score":
            rows = [one.tolist() for one in payload["rows"].values]
            seen.append((rows, [json.loads(one) for one in payload["texts"].values]))
        return deliver(name, clients, round_, payload)

    server._federation.deliver = noting  # type: ignore[method-assign]
    return seen


SAID = [["red circle", "a star", "red circle"], ["it is blue", "no", "yes ."], ["a star", "a star", "a star"]]
ROWS = np.array([3, 0, 7])


def test_a_threshold_of_zero_is_no_critic_bit_for_bit() -> None:
    without, asking = (
        play(method, serve(method, aligning_bench()), 3)
        for method in (aligning(MoR, router="uniform"), aligning(MoR, router="uniform", critic=0))
    )
    assert same(without.state.adapter, asking.state.adapter)
    assert asking.log["asked"] == asking.log["asked_so_far"] == 1.0 and "asked" not in without.log
    assert without.ledger.dump() == asking.ledger.dump()


def test_what_is_unsure_is_asked_and_the_rest_is_predicted() -> None:
    plain = aligning(MoR, router="uniform")
    true, _ = plain.asked(server_of(plain), ROWS, SAID, {client: np.arange(3) for client in range(3)})
    method = aligning(MoR, router="uniform", critic=1.0)
    server = server_of(method)
    seen = sent(server)
    which = {0: np.array([0, 2]), 1: np.arange(3), 2: np.array([1])}
    phi = features(server.bench, ROWS, SAID, 256)
    unsure = {client: Critic.unpacked(server.state.critic).unsure(client, phi[own].flatten(0, 1), 1.0).view(-1, 3)
              for client, own in which.items()}  # fmt: skip
    scores, answered = method.asked(server, ROWS, SAID, which)
    assert answered == [0, 1, 2]
    ((rows, texts),) = seen
    critic = Critic.unpacked(server.state.critic)
    for client, own in which.items():
        expected = [(int(ROWS[row]), [SAID[row][member]]) for place, row in enumerate(own) for member in range(3)
                    if unsure[client][place, member]]  # fmt: skip
        assert list(zip(rows[client], texts[client], strict=True)) == expected
        assert 0 < len(expected) < 3 * len(own) or client == 2, "equal answers are asked about once"
        guess = critic.mean(client, phi[own].flatten(0, 1)).view(-1, 3).float().clamp(-3, 3)
        found = torch.where(unsure[client], true[client, own], guess)
        torch.testing.assert_close(scores[client, own], found, rtol=0, atol=1e-4)
    assert not scores[2, [0, 2]].any()
    assert critic.count.tolist() == [int(unsure[client].sum()) for client in range(3)]


def test_of_whom_all_is_known_nothing_is_asked() -> None:
    method = aligning(MoR, router="uniform", critic=1e9)
    server = server_of(method)
    seen = sent(server)
    _, answered = method.asked(server, ROWS, SAID, {client: np.arange(3) for client in range(3)})
    assert answered == [0, 1, 2] and not seen
    assert server.state.queries.tolist() == [27, 0]


def test_who_does_not_answer_is_neither_asked_nor_guessed() -> None:
    method = aligning(MoR, router="uniform", critic=0.5, judges=[{}, {"script": "aligned_script:breaks_later"}, {}])
    server = server_of(method)
    gone: set[int] = set()
    said = [["red circle", "a star", "no"], ["it is blue", "no", "yes ."], ["a star", "no", "yes ."]]
    method._judged(server, ROWS, said, gone)
    assert gone == {1}
    assert Critic.unpacked(server.state.critic).count[1] == 0


def test_when_only_the_unsure_one_is_gone_the_others_are_guessed() -> None:
    method = aligning(MoR, router="uniform", critic=0.5)
    server = server_of(method)
    critic, phi = Critic.unpacked(server.state.critic), features(server.bench, ROWS, SAID, 256).flatten(0, 1)
    for client in (0, 2):
        critic = critic.seen(client, phi.repeat(200, 1), torch.ones(1800))
    server.state.critic = critic.packed()
    server._federation.deliver = lambda name, clients, round_, _: [  # type: ignore[method-assign]
        Replies([], {}, [Failure(client, round_, name, "the line is dead") for client in clients])
    ]
    gone: set[int] = set()
    found = method._judged(server, ROWS, SAID, gone)
    assert gone == {1}
    torch.testing.assert_close(found.reward, torch.ones(3, 3), rtol=0, atol=0.05)


def test_with_few_features_they_are_mixed() -> None:
    on = aligning_bench()
    wide, narrow = (features(on, ROWS, SAID, most) for most in (256, 4))
    assert narrow.shape == (3, 3, 5) and wide.shape[2] > 5
    assert (wide[..., -1] == 1).all() and (narrow[..., -1] == 1).all()
    assert torch.equal(narrow, features(on, ROWS, SAID, 4))
    torch.testing.assert_close(narrow[0, 0], narrow[0, 2], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (["method.critic.threshold=-1"], r"method\.critic\.threshold' cannot be -1"),
        (["method.critic=0.3", "method.rewards=average"], "critic is about clients' own reward models"),
    ],
)
def test_bad_input(changes: list[str], sentence: str) -> None:
    with pytest.raises(SynopticError, match=sentence):
        load_recipe("mor", changes)


def test_without_any_of_it_a_recipe_reads_as_before() -> None:
    written = load_recipe("mor").resolved()["method"]
    assert not {"weights", "objective", "own_rank", "critic", "audit", "late"} & set(written)
    assert load_recipe("mor", ["method.critic=0.3"]).resolved()["method"]["critic"]["threshold"] == 0.3
