from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict
from torch import Tensor

import aligned_script
import answerers
from aligned import aligning, aligning_bench, ready, tastes, words_said
from rooms import furthest, play, same, serve
from synoptic.adapters.stack import expand, leaves
from synoptic.core import SynopticError
from synoptic.core.seeds import generator
from synoptic.data.federated import FederatedData
from synoptic.experiment.recipe import load_recipe
from synoptic.federation.cohort import Cohort, task
from synoptic.federation.message import Replies
from synoptic.learning.answer_policy import step
from synoptic.learning.fusion import fused
from synoptic.learning.inputs import input_embeddings
from synoptic.learning.judges import JudgeSpec
from synoptic.learning.objectives.grpo import group_advantages
from synoptic.learning.optim import no_moments
from synoptic.methods.aligning import drawn
from synoptic.methods.fedgrpo import FedGRPO, auxiliary, competence, experts

FEW: dict[str, Any] = {"auxiliary": 8, "nearest": 4, "top": 2}
SAID = ["red circle", "a star", "it is blue", "no", "yes ."]


def fedgrpo(**changes: Any) -> FedGRPO:
    return aligning(FedGRPO, **(FEW | changes))  # type: ignore[return-value]


def scripted(*names: str, **changes: Any) -> FedGRPO:
    """Client k judges by the k-th of these functions."""
    judges = [{"script": f"aligned_script:{name}"} for name in names]
    return fedgrpo(**({"judges": judges, "reward_rounds": 0} | changes))


def texts_of(rows: int, group: int) -> list[list[str]]:
    return [[SAID[(row + place) % len(SAID)] for place in range(group)] for row in range(rows)]


@pytest.fixture
def truth() -> Iterator[FederatedData]:
    """One client's data, of which `aligned_script.knows` knows all right answers."""
    data = tastes(1)
    for table in (data.train, data.pool):
        assert table is not None and table.words is not None
        pictures = table.images.load(np.arange(len(table)))
        for picture, question, answer in zip(pictures, table.words.questions, table.words.answers, strict=True):
            aligned_script.TRUTH[np.asarray(picture).tobytes(), question] = answer
    yield data
    aligned_script.TRUTH.clear()


# -- equations ------------------------------------------------------------------------------------


@given(
    st.integers(1, 5), st.integers(1, 4), st.integers(1, 9), st.integers(1, 9), st.integers(1, 5), st.integers(0, 99)
)
@settings(max_examples=40, deadline=None)
def test_the_most_often_right_about_the_nearest_judge(
    clients: int, questions: int, known: int, nearest: int, top: int, seed: int
) -> None:
    """Competence is the share right among the L nearest by cosine; the top M judge in proportion to it."""
    nearest, top, rng = min(nearest, known), min(top, clients), generator(seed, "test")
    asked, held = torch.randn(questions, 6, generator=rng), torch.randn(known, 6, generator=rng)
    right = (torch.rand(clients, known, generator=rng) < 0.6).float()
    found = experts(competence(asked, held, right, nearest), top)
    for n in range(questions):
        cosine = [float(asked[n] @ one / asked[n].norm() / one.norm()) for one in held]
        near = sorted(range(known), key=lambda place: -cosine[place])[:nearest]
        share = [float(np.mean([float(right[k, place]) for place in near])) for k in range(clients)]
        best = sorted(range(clients), key=lambda k: -share[k])[:top]
        total = sum(share[k] for k in best)
        expected = [share[k] / total if k in best and total else 0.0 for k in range(clients)]
        assert found[n].tolist() == pytest.approx(expected, abs=1e-9)


def test_who_is_right_is_asked_once_of_the_clients_own_reward_models() -> None:
    method = fedgrpo()
    server, store = ready(method)
    pool, judges = server.bench.pool_rows.table, server.bench.judges
    rows, pairs = auxiliary(pool, 8, 0)
    for client in range(3):
        judge = store.load(client)["judge"]
        assert isinstance(judge, TensorDict)
        raw = judges.scorer(JudgeSpec(), pool).scores(leaves(expand(judge, 1)), rows, pairs)[0]
        assert server.state.right[client].tolist() == (raw[:, 0] > raw[:, 1]).float().tolist()
    asked = np.array([5, 0, 9])
    inputs, near = (
        input_embeddings(server.bench.pool_rows.model, server.bench.pool_rows, some) for some in (asked, rows)
    )
    expected = experts(competence(inputs, near, server.state.right, 4), 2)
    torch.testing.assert_close(method.weigh(server, asked), expected)
    assert ((expected > 0).sum(1) <= 2).all()


def test_whoever_does_not_say_yes_or_no_is_no_expert() -> None:
    class Odd(FedGRPO):
        @task
        def examine(self, cohort: Cohort, rows: Tensor, texts: str) -> Replies:
            told = super().examine(cohort, rows, texts)
            right = told.fields["right"]
            assert isinstance(right, Tensor)
            return replace(told, fields={"right": right + 2 * torch.tensor(cohort.clients, dtype=torch.uint8)[:, None]})

    method = aligning(Odd, **FEW)
    server, _ = ready(method)  # type: ignore[arg-type]
    assert server.state.there.tolist() == [1, 0, 0]
    assert {one.client for one in server.failures} == {1, 2}
    assert "it did not say yes or no to each of 8 auxiliary examples" in server.failures[0].reason


def test_the_advantage_is_the_equation() -> None:
    """z_kj = (r_kj - mean_j) / std_j; r_j = sum_k c_k z_kj / sum_k c_k; A_j = (r_j - mean) / std."""
    method = scripted("likes_short_steadily", "likes_red", "likes_short_steadily", nearest=8, top=3)
    server, _ = ready(method)
    rows, said = np.array([3, 0, 7]), texts_of(3, 4)
    weights = method.weigh(server, rows)
    found = method._judged(server, rows, said, set())
    which = {client: np.arange(3) for client in range(3)}
    scores, _ = method.asked(server, rows, said, which)
    for n in range(3):
        mixture = np.zeros(4)
        for client in range(3):
            raw = scores[client, n].double().numpy()
            if raw.std() > 0:
                mixture += float(weights[n, client]) * (raw - raw.mean()) / raw.std()
        expected = (mixture - mixture.mean()) / (mixture.std() or 1.0)
        assert found.advantage is not None
        assert found.advantage[n].tolist() == pytest.approx(expected.tolist(), abs=1e-3)
    assert found.advantage is not None and found.advantage.abs().max() > 0.5


SCALES = {"clients": st.integers(2, 4), "group": st.integers(3, 6), "seed": st.integers(0, 99)}


def mixed(clients: int, group: int, seed: int) -> tuple[Tensor, Tensor]:
    rng = generator(seed, "scores")
    scores = torch.randn(clients, 5, group, generator=rng)
    return scores, torch.rand(5, clients, generator=rng, dtype=torch.float64).softmax(1)


@given(**SCALES, scale=st.floats(0.2, 20), origin=st.floats(-5, 5))
@settings(max_examples=30, deadline=None)
def test_no_scale_and_no_origin_of_an_expert_matters(
    clients: int, group: int, seed: int, scale: float, origin: float
) -> None:
    scores, weights = mixed(clients, group, seed)
    changed = scores.clone()
    changed[0] = scale * changed[0] + origin
    before, after = (fused(some, weights, "candidates") for some in (scores, changed))
    torch.testing.assert_close(before.reward, after.reward, rtol=0, atol=2e-3)
    assert before.advantage is not None and after.advantage is not None
    # Where experts all but cancel out, what is left is rounding, and it is brought to the same size as all else.
    clear = before.reward.std(1) > 0.05
    torch.testing.assert_close(before.advantage[clear], after.advantage[clear], rtol=0, atol=0.05)


@given(**SCALES, constant=st.floats(-3, 3))
@settings(max_examples=30, deadline=None)
def test_an_expert_who_says_the_same_to_all_adds_nothing(clients: int, group: int, seed: int, constant: float) -> None:
    scores, weights = mixed(clients, group, seed)
    scores[-1] = constant
    both, without = fused(scores, weights, "candidates"), fused(scores[:-1], weights[:, :-1], "candidates")
    assert both.advantage is not None and without.advantage is not None
    trust = weights[:, :-1].sum(1, keepdim=True).float()
    torch.testing.assert_close(both.advantage, without.advantage / trust, rtol=1e-3, atol=1e-3)


def test_neither_changes_what_a_run_learns() -> None:
    """A loud expert is heard as a quiet one is; one who tells nothing apart is never competent."""
    rows, said = np.arange(6), texts_of(6, 4)
    found = []
    for names in (("likes_short_steadily", "likes_red", "constant"), ("likes_short_loudly", "likes_red", "constant")):
        method = scripted(*names, nearest=8, top=3)
        server, _ = ready(method)
        assert not server.state.right[2].any()
        assert not method.weigh(server, rows)[:, 2].any()
        advantage = method._judged(server, rows, said, set()).advantage
        assert advantage is not None and advantage.abs().max() > 0.5
        found.append(advantage)
    torch.testing.assert_close(*found, rtol=0, atol=1e-4)


# -- reductions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("fuse", ["candidates", "scores"])
def test_one_expert_who_knows_the_truth_is_central_grpo(truth: FederatedData, fuse: str) -> None:
    on = aligning_bench(truth, rounds=1)
    method = scripted("knows", top=1, fuse=fuse, steps=3)
    server = play(method, serve(method, on), 1)
    rows, adapter, moments = on.pool_rows, server.state.reference, no_moments()
    assert rows.table.words is not None

    def reward(positions: np.ndarray, texts: list[list[str]]) -> Tensor:
        pictures = rows.table.images.load(positions)
        asked = [rows.table.words.questions[row] for row in positions]  # type: ignore[union-attr]
        return torch.tensor([aligned_script.knows(*one) for one in zip(pictures, asked, texts, strict=True)])

    for place in range(3):
        chosen = drawn(12, 4 * place, 4, on.seed)
        stream = generator(on.seed, "policy", 0, place)
        done = step(rows.model, adapter, rows, chosen, reward, method.settings.policy, moments, stream,
                    reference=leaves(expand(server.state.reference, 1)))  # fmt: skip
        adapter, moments = done.adapter, done.moments
    assert furthest(adapter, server.state.reference) > 0.01
    assert furthest(adapter, server.state.adapter) < (1e-3 if fuse == "candidates" else 1e-6)


def test_the_nearest_of_all_are_all_so_competence_is_the_same_everywhere() -> None:
    method = fedgrpo(nearest=8, top=3)
    server, _ = ready(method)
    weights = method.weigh(server, np.arange(12))
    share = server.state.right.mean(1).double()
    torch.testing.assert_close(weights, (share / share.sum()).expand(12, -1))


def test_with_one_reward_model_for_all_data_it_is_the_only_expert() -> None:
    method = scripted("likes_short_steadily", rewards="pooled", nearest=8)
    server, _ = ready(method, aligning_bench(tastes(1)))
    assert method.weigh(server, np.arange(4)).tolist() == [[1.0]] * 4


# -- what every method must keep ------------------------------------------------------------------


def test_stacked_is_one_by_one() -> None:
    on = aligning_bench(optimizer="sgd")
    servers = [ready(fedgrpo(), on, stack=stack)[0] for stack in (1, 3)]
    assert torch.equal(servers[0].state.right, servers[1].state.right)
    rows, said = np.arange(5), texts_of(5, 3)
    first, second = (fedgrpo()._judged(server, rows, said, set()).reward for server in servers)
    torch.testing.assert_close(first, second, rtol=0, atol=1e-3)


def test_the_byte_form_of_messages_changes_nothing() -> None:
    plain, wired = (play(fedgrpo(), serve(fedgrpo(), aligning_bench(), wire=wire), 2) for wire in (False, True))
    assert same(plain.state.adapter, wired.state.adapter)


def test_the_policy_learns_what_the_experts_like() -> None:
    """A scripted taste, so that what is to be learned is plain: few words."""
    method = scripted("likes_short_steadily", nearest=8, steps=12, prompts=8,
                      policy={"group": 6, "tokens": 3, "lr": 0.03, "temperature": 1.5, "beta": 0.0})  # fmt: skip
    server = play(method, serve(method, aligning_bench(rounds=1)), 1)
    before, after = (words_said(method, server, one) for one in (server.state.reference, server.state.adapter))
    assert after < before - 0.5


def test_the_ledger_counts_competence_once_and_scores_of_experts_only() -> None:
    method, weighed = fedgrpo(), []
    weigh = method.weigh
    method.weigh = lambda server, rows: weighed.append(weigh(server, rows)) or weighed[-1]  # type: ignore[assignment, func-returns-value, method-assign]
    server = play(method, serve(method, aligning_bench()), 3)
    assert len(weighed) == 4
    asked = sum(int((weights > 0).sum()) for weights in weighed)
    assert 0 < asked <= 4 * 4 * 2, "two experts for each of four questions in four steps"
    up = {kind: ways["up"] for kind, ways in server.ledger.summary()["by_kind"].items() if ways["up"]}
    assert up.pop("score.scores") == 4 * asked * 3
    assert up.pop("examine.right") == 3 * 8
    assert up == {
        "learn.examples": 12,
        "learn.loss": 12,
        "calibrate.accuracy": 12,
        "calibrate.pairs": 12,
        "meet.met": 3,
    }
    down = {kind: ways["down"] for kind, ways in server.ledger.summary()["by_kind"].items() if ways["down"]}
    assert (down["examine.rows"], down["score.rows"]) == (3 * 4 * 8, 4 * asked)
    assert down["examine.texts"] == 3 * len(json.dumps(auxiliary(server.bench.pool_rows.table, 8, 0)[1]).encode())
    told = {"pictures", "ends", "shows", "questions"}
    assert set(down) == {"examine.rows", "examine.texts", "score.rows", "score.texts", *(f"meet.{one}" for one in told)}


# -- auxiliary examples and bad input -------------------------------------------------------------


def test_an_auxiliary_example_has_a_right_and_a_wrong_answer() -> None:
    asked = answerers.table()
    assert asked.words is not None and asked.words.rejected is not None
    rows, pairs = auxiliary(asked, 5, 0)
    assert len(set(rows.tolist())) == 5
    assert pairs == [[asked.words.answers[row], asked.words.rejected[row]] for row in rows]
    plain = answerers.table(rejected=False)
    rows, pairs = auxiliary(plain, 8, 1)
    assert sorted(rows) == list(range(8))
    for row, (right, wrong) in zip(rows, pairs, strict=True):
        assert right == asked.words.answers[row] != wrong
        assert wrong in asked.words.answers
    assert auxiliary(plain, 8, 2)[0].tolist() != rows.tolist()
    alike = replace(plain, words=replace(plain.words, answers=("red",) * 8))  # type: ignore[type-var]
    with pytest.raises(SynopticError, match="all 8 auxiliary examples of asked have the same answer, so none is wrong"):
        auxiliary(alike, 8, 0)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"auxiliary": 13},
            r"^method\.auxiliary=13, and the server holds 12 questions; set fewer, or more data\.quest",
        ),
        ({"top": 4}, r"^method\.top=4 experts, and there are 3 clients; set fewer\.$"),
    ],
)
def test_more_than_there_are_is_refused_before_anything_is_trained(changes: dict[str, Any], sentence: str) -> None:
    method = fedgrpo(**changes)
    server = serve(method, aligning_bench())
    with pytest.raises(SynopticError, match=sentence):
        method.begin(server)
    assert server.ledger.total("down") == 0 and not any(server.work.values())


def test_recipes_are_checked_before_there_is_a_run() -> None:
    with pytest.raises(SynopticError, match="nearest=20 of auxiliary=5 examples: ask for fewer"):
        load_recipe("fedgrpo", ["method.auxiliary=5"])
    with pytest.raises(SynopticError, match="fedgrpo aligns a generative model"):
        load_recipe("fedgrpo", ["data=digits"])


def test_without_anybody_competent_a_question_teaches_nothing() -> None:
    method = scripted("constant")
    server, _ = ready(method)
    assert not server.state.right.any()
    assert not method.weigh(server, np.arange(4)).any()
    assert group_advantages(torch.zeros(1, 3)).abs().max() == 0
