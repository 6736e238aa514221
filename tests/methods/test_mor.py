from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensordict import TensorDict

import answerers
import helpers
from aligned import SETTINGS, TASTES, aligning, aligning_bench, ready, tastes, words_said
from rooms import play, same, serve
from synoptic.adapters.stack import expand, leaves
from synoptic.core import SynopticError
from synoptic.experiment.recipe import Recipe, load_recipe
from synoptic.experiment.runner import run
from synoptic.federation.bench import Bench
from synoptic.federation.message import Each, Field, Replies
from synoptic.federation.personal import Personal
from synoptic.federation.server import RoundFailed, Server
from synoptic.learning.answer_policy import Judged
from synoptic.learning.answering import AnswerLoss
from synoptic.learning.batches import zip_steps
from synoptic.learning.judges import JudgeSpec
from synoptic.methods.aligning import drawn
from synoptic.methods.base import Cohort, task
from synoptic.methods.held_out import Pairs
from synoptic.methods.judging import FEWEST, read_texts
from synoptic.methods.mor import MoR, packed, spread_out, unpacked


def small(output: Path, *changes: str) -> Recipe:
    """A run of three rounds."""
    settings = [f"method.{name}={json.dumps(value)}" for name, value in SETTINGS.items()]
    return load_recipe("mor", [*TASTES, *settings, f"model={answerers.folder('llava')}", "compute.threads=1",
                               "federation.stack=2", "rounds=3", f"output={output}", *changes])  # fmt: skip


def texts_of(rows: int, group: int) -> list[list[str]]:
    said = ["red circle", "a star", "it is blue", "no", "yes ."]
    return [[said[(row + place) % len(said)] for place in range(group)] for row in range(rows)]


def watched(server: Server) -> list[tuple[str, dict[str, Any], list[Replies]]]:
    """Everything that crosses the boundary from now on."""
    seen: list[tuple[str, dict[str, Any], list[Replies]]] = []
    deliver = server._federation.deliver

    def noting(name: str, clients: Any, round_: int, payload: dict[str, Field | Each]) -> list[Replies]:
        parts = deliver(name, clients, round_, payload)
        seen.append((name, dict(payload), parts))
        return parts

    server._federation.deliver = noting  # type: ignore[method-assign]
    return seen


# -- equations ------------------------------------------------------------------------------------


def test_the_reward_is_the_equation() -> None:
    """R(x, y) = sum_k w_k(x) clip((RM_k(x, y) - mu_k) / s_k, -3, 3), from what clients keep."""
    method = aligning(MoR, router="discriminant")
    server, store = ready(method)
    rows, said = np.array([3, 0, 7]), texts_of(3, 3)
    found = method._judged(server, rows, said, set())
    weights, pool, judges = method.weigh(server, rows), server.bench.data.pool, server.bench.judges
    assert pool is not None and torch.allclose(weights.sum(1), torch.ones(3).double())
    mixture = torch.zeros(3, 3)
    for client in range(3):
        kept = store.load(client)
        judge, (mu, s) = kept["judge"], kept["calibration"]
        assert isinstance(judge, TensorDict)
        raw = judges.scorer(JudgeSpec(), pool).scores(leaves(expand(judge, 1)), rows, said)[0]
        mixture += weights[:, client, None].float() * ((raw - mu) / s).clamp(-3, 3)
    torch.testing.assert_close(found.reward, mixture, rtol=0, atol=1e-4)
    assert mixture.std() > 0.01


@pytest.mark.parametrize(("rows", "few"), [(40, False), (12, True)])
def test_calibration_is_of_pairs_that_were_not_trained_on_unless_these_are_few(rows: int, few: bool) -> None:
    method = aligning(MoR, router="uniform")
    server, store = ready(method, aligning_bench(tastes(validation=0.4, train=rows)))
    cohort = Cohort([0, 1, 2], server.bench, Personal(store, [0, 1, 2]), 0)
    own = Pairs(cohort, method.settings.held_out, "refuse")
    for client in range(3):
        kept = store.load(client)
        judge, held = kept["judge"], own.held[client]
        assert isinstance(judge, TensorDict) and (len(held) < FEWEST) == few
        held = np.concatenate([held, own.positions[client]]) if few else held
        scorer = server.bench.judges.scorer(JudgeSpec(), server.bench.data.train)
        both = torch.cat(scorer.pairs(leaves(expand(judge, 1)), held)).flatten()
        expected = torch.stack([both.mean(), both.std(correction=0)])
        torch.testing.assert_close(kept["calibration"], expected, rtol=0, atol=1e-5)
    assert ((server.state.accuracy >= 0) & (server.state.accuracy <= 1)).all()


# -- reductions -----------------------------------------------------------------------------------


def policy(method: MoR, on: Bench | None = None, rounds: int = 3, **options: Any) -> TensorDict:
    adapter: TensorDict = play(method, serve(method, on or aligning_bench(), **options), rounds).state.adapter
    return adapter


def test_an_untrained_router_is_the_uniform_mean() -> None:
    """M7: with the same logits for everybody, bit for bit."""
    on, method = aligning_bench(), aligning(MoR, router="discriminant")
    server, _ = ready(method, on)
    router = unpacked(server.state.router)
    server.state.router = packed(replace(router, weight=torch.zeros_like(router.weight), bias=torch.zeros(3).double()))
    rows, said = np.arange(4), texts_of(4, 3)
    even = aligning(MoR, router="uniform")._judged(server, rows, said, set())
    assert torch.equal(method._judged(server, rows, said, set()).reward, even.reward)


def test_all_three_asked_is_fusion_and_one_is_dispatch() -> None:
    method = aligning(MoR, router="discriminant", top=1)
    server, _ = ready(method)
    rows = np.arange(8)
    weights = method.weigh(server, rows)
    assert ((weights > 0).sum(1) == 1).all()
    whole = aligning(MoR, router="discriminant", top=3).weigh(server, rows)
    assert ((whole > 0).sum(1) == 3).all()
    assert torch.equal(whole.argmax(1), weights.argmax(1))


def test_with_one_client_every_router_is_that_client() -> None:
    on = aligning_bench(tastes(1))
    one, two = (policy(aligning(MoR, router=router), on) for router in ("uniform", "single"))
    assert same(one, two)


def test_pooled_rewards_are_one_client_with_everybodys_pairs(tmp_path: Path) -> None:
    summary = run(small(tmp_path, "method.rewards=pooled", "rounds=2")).summary
    assert np.isfinite(summary["metrics"]["shared/local/utility/mean"])


def test_an_averaged_reward_model_is_held_by_the_server_and_asks_nobody() -> None:
    method = aligning(MoR, rewards="average")
    server = serve(method, aligning_bench())
    method.begin(server)
    seen = watched(server)
    for t in range(2):
        server.round = t
        method.round(server, t)
    assert [name for name, *_ in seen] == ["learn", "calibrate"]
    with pytest.raises(SynopticError, match="of different kinds cannot be averaged"):
        play(aligning(MoR, rewards="average", judges=[{}, {"hidden": 3}]), serve(method, aligning_bench()), 1)


# -- what every method must keep ------------------------------------------------------------------


@pytest.mark.parametrize("router", ["gates", "discriminant", "index"])
def test_stacked_is_one_by_one(router: str) -> None:
    on = aligning_bench(optimizer="sgd")
    method = aligning(MoR, router=router, index_rounds=3)
    one, three = (ready(method, on, stack=stack)[0] for stack in (1, 3))
    rows, said = np.arange(5), texts_of(5, 3)
    first, second = (method._judged(server, rows, said, set()).reward for server in (one, three))
    torch.testing.assert_close(first, second, rtol=0, atol=1e-4)


def test_the_byte_form_of_messages_changes_nothing() -> None:
    plain, wired = (policy(aligning(MoR), aligning_bench(), wire=wire) for wire in (False, True))
    assert same(plain, wired)


def test_the_policy_learns_what_the_clients_like() -> None:
    """A scripted taste, so that what is to be learned is plain: few words."""
    method = aligning(
        MoR, judges=[{"script": "aligned_script:likes_short"}], reward_rounds=0, steps=12, router="uniform", prompts=8,
        policy={"group": 6, "tokens": 3, "lr": 0.03, "temperature": 1.5, "beta": 0.0},
    )  # fmt: skip
    server = play(method, serve(method, aligning_bench(rounds=1)), 1)
    before, after = (words_said(method, server, one) for one in (server.state.reference, server.state.adapter))
    assert after < before - 0.5


def test_the_policy_first_imitates_the_servers_answers() -> None:
    method = aligning(MoR, demonstrate={"epochs": 2, "lr": 0.05, "batch_size": 4})
    server = serve(method, aligning_bench())
    method.begin(server)
    rows = server.bench.pool_rows
    loss = AnswerLoss(rows.model, rows)
    (batch,) = zip_steps([[np.arange(12)]])
    before, after = (
        float(loss(leaves(expand(one, 1)), batch).mean()) for one in (server.new_adapter(), server.state.adapter)
    )
    assert after < before - 0.1
    assert same(server.state.adapter, server.state.reference)
    assert server.work["server_steps"] == 6


# -- what leaves ----------------------------------------------------------------------------------


def test_only_scores_leave() -> None:
    """M10: no parameter, label or picture goes up, and scores take 4 B x N x G bytes for each client."""
    method = aligning(MoR, router="uniform")
    server = serve(method, aligning_bench())
    seen = watched(server)
    play(method, server, 3)
    up = {name: {field for part in parts for field in part.fields} for name, _, parts in seen}
    assert up == {
        "learn": {"examples", "loss"},
        "calibrate": {"accuracy", "pairs"},
        "meet": {"met"},
        "score": {"scores"},
    }
    steps = [(payload, parts) for name, payload, parts in seen if name == "score"]
    assert len(steps) == 4
    for payload, parts in steps:
        assert set(payload) == {"rows", "texts"}
        for part in parts:
            for scores in part.fields["scores"]:
                assert scores.numel() * scores.element_size() == 4 * 4 * 3
    ledger = server.ledger.dump()
    assert sum(amount for key, amount in _flat(ledger) if "up" in key and "scores" in key) == 4 * 3 * 4 * 4 * 3


def _flat(tree: Any, key: str = "") -> list[tuple[str, float]]:
    if isinstance(tree, dict):
        return [found for name, part in tree.items() for found in _flat(part, f"{key}/{name}")]
    return [(key, tree)]


def test_pictures_are_shown_once() -> None:
    method = aligning(MoR)
    server = serve(method, aligning_bench(rounds=4))
    seen = watched(server)
    play(method, server, 4)
    assert [name for name, *_ in seen].count("meet") == 1


def test_fewer_bits_take_fewer_bytes_and_say_nearly_the_same() -> None:
    rows, said, found, sizes = np.arange(4), texts_of(4, 3), [], []
    for bits in (None, 4):
        method = aligning(MoR, router="uniform", bits=bits)
        server, _ = ready(method)
        seen = watched(server)
        found.append(method._judged(server, rows, said, set()).reward)
        sizes.append([one.numel() * one.element_size() for one in seen[-1][2][0].fields["scores"]])
    assert (found[0] - found[1]).abs().max() <= 6 / 15 / 2 + 1e-4
    assert sizes == [[48, 48, 48], [6, 6, 6]]


# -- clients who differ, fail or lie --------------------------------------------------------------


def test_reward_models_may_be_of_any_kind() -> None:
    kinds = [{}, {"base": str(helpers.clip_folder()), "hidden": 4}, {"script": "aligned_script:likes_red"}]
    method = aligning(MoR, router="discriminant", judges=kinds)
    server, store = ready(method, stack=3)
    assert not server.failures
    assert server.state.there.tolist() == [1, 1, 1]
    found = method._judged(server, np.arange(4), texts_of(4, 3), set())
    assert torch.isfinite(found.reward).all()
    assert "judge" not in store.load(2)
    play(method, serve(method, aligning_bench()), 2)


@pytest.mark.parametrize(
    ("script", "reason"),
    [("gives_nan", "not finite"), ("too_few", "gave 1 scores for 3 texts"), ("breaks", "failed")],
)
def test_a_client_whose_scores_are_none_is_left_out_and_the_others_take_over(script: str, reason: str) -> None:
    method = aligning(MoR, router="uniform", judges=[{}, {"script": f"aligned_script:{script}_later"}, {}])
    server, _ = ready(method)
    rows, said, gone = np.arange(4), texts_of(4, 3), set[int]()
    found = method._judged(server, rows, said, gone)
    assert gone == {1} and reason in str(server.failures[-1])
    without = aligning(MoR, router="uniform", judges=[{}, {}, {}])
    weights = torch.tensor([[0.5, 0.0, 0.5]]).expand(4, -1).double()
    without.weigh = lambda *_: weights  # type: ignore[method-assign]
    torch.testing.assert_close(found.reward, without._judged(server, rows, said, set()).reward, rtol=0, atol=1e-5)


def test_a_constant_reward_model_says_nothing() -> None:
    method = aligning(MoR, router="uniform", judges=[{"script": "aligned_script:constant"}], reward_rounds=0)
    server, _ = ready(method)
    assert not method._judged(server, np.arange(3), texts_of(3, 3), set()).advantage.any()


class Vanishing(MoR):
    """Clients that are gone for a while."""

    gone: tuple[int, ...] = ()

    @task
    def score(self, cohort: Cohort, rows: Any, texts: Any) -> Replies:
        if any(client in self.gone for client in cohort.clients):
            raise SynopticError("the line is dead", "wait")
        return super().score(cohort, rows, texts)


def test_a_client_that_is_gone_is_asked_again_in_the_next_round() -> None:
    method = aligning(Vanishing, router="uniform")
    server, _ = ready(method)
    seen = watched(server)
    method.gone = (1,)  # type: ignore[attr-defined]
    method.align(server)
    asked = [len(payload["rows"].values) for name, payload, _ in seen if name == "score"]
    assert asked == [3, 2]
    method.gone = ()  # type: ignore[attr-defined]
    method.align(server)
    assert [len(payload["rows"].values) for name, payload, _ in seen if name == "score"][2:] == [3, 3]


def test_a_wrong_number_of_scores_is_refused() -> None:
    class Short(MoR):
        @task
        def score(self, cohort: Cohort, rows: Any, texts: Any) -> Replies:
            told = super().score(cohort, rows, texts)
            return replace(told, fields={"scores": [one[:-1] for one in told.fields["scores"]]})

    method = aligning(Short, router="uniform")
    server, _ = ready(method)
    with pytest.raises(RoundFailed, match="11 scores where 12 answers were to be judged"):
        method._judged(server, np.arange(4), texts_of(4, 3), set())


def test_a_round_without_any_score_has_failed() -> None:
    method = aligning(MoR, router="uniform")
    server, _ = ready(method)
    server.state.there = torch.zeros(3)
    with pytest.raises(RoundFailed, match="nobody is left to score"):
        method.align(server)


# -- bad input ------------------------------------------------------------------------------------


def test_what_cannot_be_aligned_is_said() -> None:
    with pytest.raises(SynopticError, match="the server holds no questions of its own"):
        serve(method := aligning(MoR), aligning_bench(replace(tastes(), pool=None)))
        method.begin(serve(method, aligning_bench(replace(tastes(), pool=None))))
    method = aligning(MoR, router="single", client=7)
    with pytest.raises(SynopticError, match=r"method\.client=7, and there are 3 clients"):
        ready(method)
    with pytest.raises(SynopticError, match="give base or script"):
        load_recipe("mor", ["method.judges=[{base: tiny-clip, script: x:y}]"])


def test_a_client_whose_pairs_are_all_the_same_answer_is_left_out() -> None:
    data = tastes()
    words = data.train.words
    assert words is not None and words.rejected is not None
    own = set(data.clients.train(1).tolist())
    rejected = tuple(words.answers[row] if row in own else text for row, text in enumerate(words.rejected))
    same_twice = replace(data, train=replace(data.train, words=replace(words, rejected=rejected)))
    for tied, sentence in (("refuse", "have the same answer twice"), ("drop", "has no pair to learn from")):
        method = aligning(MoR, router="uniform", judges=[{"ties": tied}])
        server = serve(method, aligning_bench(same_twice))
        method.begin(server)
        method.round(server, 0)
        assert [(one.client, sentence in one.reason) for one in server.failures] == [(1, True)]


def test_texts_that_are_none_are_refused() -> None:
    assert read_texts('[["a", ""]]', 1) == [["a", ""]]
    for content in ("[", '[["a"], ["b"]]', "[[1]]", "7"):
        with pytest.raises(SynopticError, match=r"to score are no JSON|other answers than"):
            read_texts(content, 1)


def test_questions_come_pass_after_pass() -> None:
    turns = np.concatenate([drawn(5, begin, 4, 0) for begin in range(0, 20, 4)])
    assert all(sorted(turns[start : start + 5].tolist()) == [0, 1, 2, 3, 4] for start in range(0, 20, 5))
    assert turns[:5].tolist() != turns[5:10].tolist()


def test_a_router_of_some_clients_never_trusts_the_others() -> None:
    method = aligning(MoR, router="discriminant")
    server, _ = ready(method)
    router = unpacked(server.state.router)
    part = spread_out(replace(router, weight=router.weight[:2], bias=router.bias[:2]), [0, 2], 3)
    logits = part.logits(torch.randn(6, router.weight.shape[1]))
    assert (logits.softmax(1)[:, 1] == 0).all() and torch.allclose(logits.softmax(1).sum(1), torch.ones(6).double())
    assert isinstance(Judged(logits), Judged)


def test_classes_have_nothing_to_align() -> None:
    with pytest.raises(SynopticError, match=r"mor aligns a generative model .* data\.source=digits asks no questions"):
        load_recipe("mor", ["data=digits"])
